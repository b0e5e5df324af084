"""What the two ends of the declared dependencies are; make test-oldest and make test-latest install from it.

    python tests/dependency_bounds.py lowest                 constraints for pip: the lowest allowed release of each
    python tests/dependency_bounds.py newest EXTRA ...       requirements for pip: each without its upper bound
    python tests/dependency_bounds.py beyond                 what is installed here and newer than pyproject.toml allows

detectron2 is left out: it is no package of an index, and its own requirements are of its age.
"""

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROJECT = "ccaf-pipeline"
WITHOUT = ("detectron2",)
PARTS = re.compile(r"(?P<name>[\w.-]+)(?:\[(?P<extras>[\w,-]+)\])?(?P<bounds>[^;\[\]]*)")
BOUND = re.compile(r"(>=|<)([\d.]+)")


def parse(requirement: str) -> tuple[str, str, dict[str, str]]:
    """Name, extras and bounds, such as ``{">=": "2.50", "<": "2.61"}``."""
    parts = PARTS.fullmatch(requirement)
    if parts is None:
        raise ValueError(f"not understood: {requirement}")
    return parts["name"], parts["extras"] or "", dict(BOUND.findall(parts["bounds"]))


def groups(project: dict) -> dict[str, list[str]]:
    """Requirements of the package (under its name) and of each extra, but those left out."""
    extras = project["optional-dependencies"]
    return {PROJECT: project["dependencies"], **{name: extras[name] for name in extras if name not in WITHOUT}}


def as_numbers(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.match(r"\d+(\.\d+)*", release)[0].split("."))


def lowest(project: dict) -> list[str]:
    """``name==release`` of everything; where two places name a package, the higher of the two bounds."""
    found: dict[str, str] = {}
    for requirement in (each for group in groups(project).values() for each in group):
        name, _, bounds = parse(requirement)
        if name == PROJECT:
            continue
        if ">=" not in bounds:
            raise ValueError(f"{requirement} has no lower bound")
        found[name] = max(found.get(name, "0"), bounds[">="], key=as_numbers)
    return [f"{name}=={release}" for name, release in sorted(found.items())]


def newest(project: dict, wanted: list[str]) -> list[str]:
    """``name[extras]>=release`` of the package and of the extras wanted, with those that an extra names itself."""
    found, left = set(), [PROJECT, *wanted]
    while left:
        for requirement in groups(project)[left.pop()]:
            name, extras, bounds = parse(requirement)
            if name == PROJECT:
                left += extras.split(",")
            else:
                found.add(f"{name}{f'[{extras}]' if extras else ''}>={bounds['>=']}")
    return sorted(found)


def beyond(project: dict) -> list[str]:
    """A line for each installed package that is at or above its upper bound."""
    lines = set()
    for requirement in (each for group in groups(project).values() for each in group):
        name, _, bounds = parse(requirement)
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        if "<" in bounds and as_numbers(installed) >= as_numbers(bounds["<"]):
            lines.add(f"{name} {installed} is newer than pyproject.toml allows (<{bounds['<']})")
    return sorted(lines)


def main(what: str, *more: str) -> None:
    path = Path(__file__).resolve().parent.parent / "pyproject.toml"
    project = tomllib.loads(path.read_text())["project"]
    lines = {"lowest": lowest, "newest": newest, "beyond": beyond}[what](project, *([list(more)] if more else []))
    print("\n".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
