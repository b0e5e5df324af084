"""The house's one order of imports: each package knows what is below it, and nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
BASE = "base"
LAYERS = (
    ("stages.cli",),
    ("stages",),
    ("pipeline.studies",),
    ("pipeline.api",),
    ("pipeline.config",),
    ("pipeline.sharing", "pipeline.serving"),
    ("pipeline.reporting",),
    ("pipeline.training",),
    ("pipeline.export",),
    ("pipeline.evaluation",),
    ("pipeline.features",),
    ("pipeline.redress",),
    ("pipeline.shards",),
    ("pipeline.parsing",),
    ("pipeline.trainer", "pipeline.losses", "pipeline.datasets"),
    ("pipeline.models",),
    (BASE,),
)
"""From the top down; packages of one layer do not know each other. All other modules of ``pipeline`` are the base."""

RANKS = {package: rank for rank, packages in enumerate(LAYERS) for package in packages}
MODULES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
    for top in ("pipeline", "stages")
    for path in sorted((REPOSITORY / top).rglob("*.py"))
}


def package_of(module: str) -> str:
    """The layer's package that a module is in; ``python -m stages`` is a part of the command line."""
    if module == "stages.__main__":
        return "stages.cli"
    parts = module.split(".")
    return next((name for end in (2, 1) if (name := ".".join(parts[:end])) in RANKS), BASE)


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """Modules of the project that a file imports, anywhere in it, and whether it does so inside a function."""
    tree = ast.parse(path.read_bytes())
    outside = set(tree.body) | {node for part in tree.body if isinstance(part, ast.If) for node in part.body}
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}: imports are absolute"
            joined = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in joined]
        yield from ((name, node not in outside) for name in names if name.partition(".")[0] in ("pipeline", "stages"))


def upward(module: str, imported: str) -> bool:
    """Whether an import goes to the same layer's other package, or up."""
    here, there = package_of(module), package_of(imported)
    return here != there and RANKS[there] <= RANKS[here]


@pytest.mark.parametrize("package", RANKS)
def test_a_package_imports_only_what_is_below_it(package):
    found = [
        f"{module} -> {imported}"
        for module, path in MODULES.items()
        if package_of(module) == package
        for imported, _ in imports_of(path)
        if upward(module, imported)
    ]
    assert not found, "\n".join(found)


def test_arrows_that_run_up_or_across_are_found():
    assert upward("pipeline.models.clip", "pipeline.shards.reader")
    assert upward("pipeline.losses.cal", "pipeline.trainer.loop")
    assert upward("pipeline.files", "pipeline.config")
    assert upward("stages.parse", "stages.cli.options")
    assert not upward("stages.cli.parse", "stages.parse")
    assert not upward("pipeline.shards.making.job", "pipeline.shards.reader")
    assert not upward("pipeline.training.views", "pipeline.errors")


def test_every_package_is_in_the_order():
    packages = {module for module, path in MODULES.items() if path.name == "__init__.py" and module.count(".") == 1}
    assert packages - {"stages.study", "stages.cli"} <= RANKS.keys()


def test_outside_the_command_line_the_head_of_a_file_says_what_it_needs():
    """A command's file imports its recipe inside the function, so that ``--help`` needs no network library."""
    reasons = {
        "pipeline.shards.making.worker": "numbers of threads are set before torch is imported",
        "pipeline.parsing.detectron2.backend": "detectron2 is patched before it is imported",
    }
    found = {
        module: imported
        for module, path in MODULES.items()
        if package_of(module) != "stages.cli"
        for imported, inside in imports_of(path)
        if inside
    }
    assert found.keys() == reasons.keys(), found
