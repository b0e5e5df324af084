"""Writes which files of the program DVC's stages depend on, between marks in its files.

    python -m pipeline.config.dvc_files            # from the top of the repository: write them
    python -m pipeline.config.dvc_files --check    # change nothing; exit code 1 if a list is out of date

A list has a folder where most files in it count, and single files elsewhere. Files that decide nothing stand in
``.dvcignore``, so that they do not count in folders either.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pipeline.config.deciding import Kind
from pipeline.config.program import CHOSEN, DECIDE_NOTHING, MAKERS, NO_PROGRAM, files_of, packages, program_files
from pipeline.parsing.backends import BACKENDS

DVC_FILES = (
    "dvc.yaml",
    "data_manifests/blend/dvc.yaml",
    "data_manifests/pretrain/dvc.yaml",
    "data_manifests/redress/dvc.yaml",
    "data_manifests/studies/dvc.yaml",
)
IGNORE_FILE = ".dvcignore"
STUDIES_PARSER = "lite"
"""The parser of all studies that come with the program; a test holds them to it."""

_LIST = re.compile(r"^( *)# The program for (?P<kinds>[\w, ]+):\n(?P<list>.*?)^\1# End of the program", re.M | re.S)
_IGNORED = re.compile(r"^# Of the program[^\n]*\n(?P<list>.*?)^# End of the program", re.M | re.S)
_WIDTH = 120
_MOST = 0.6
"""Of the files of a folder, so that the whole is listed: a list is to be read, and a stage may run once too often."""
_NEVER_WHOLE = {".", "pipeline", "stages", "pipeline/parsing", *(str(PurePosixPath(name).parent) for name in CHOSEN)}
"""Folders with parts that only count where a parameter names them, such as a parser that is not in use."""


def _place(name: str) -> str:
    """Path of a module or package, from the top."""
    path = name.replace(".", "/")
    return path if (packages()[path.split("/")[0]].parent / path).is_dir() else f"{path}.py"


def ignored() -> list[str]:
    """Patterns of ``.dvcignore`` for files among the program's that decide nothing."""
    places = sorted(f"/{_place(name)}" for name in DECIDE_NOTHING)
    return ["__pycache__", *(f"/{name}/**/{pattern}" for name in packages() for pattern in NO_PROGRAM), *places]


def counting_files() -> list[str]:
    """All files of the program that may decide something, by their path from the top."""
    nothing = [_place(name) for name in DECIDE_NOTHING]
    found = [
        f"{name}/{path.relative_to(folder).as_posix()}"
        for name, folder in packages().items()
        for path in files_of(folder)
    ]
    return [path for path in found if not any(path == other or path.startswith(f"{other}/") for other in nothing)]


def in_folders(files: Iterable[str]) -> list[str]:
    """Paths with the largest folders of the program in the place of their files, where most that may count is there."""
    wanted = set(files)
    there, all_files = (
        Counter(str(folder) for path in paths for folder in PurePosixPath(path).parents)
        for paths in (wanted, counting_files())
    )
    folders = {name for name, count in all_files.items() if there[name] >= _MOST * count} - _NEVER_WHOLE
    return sorted(
        {
            next((str(name) for name in reversed(PurePosixPath(path).parents) if str(name) in folders), path)
            for path in wanted
        }
    )


def dependencies(kinds: Iterable[Kind]) -> list[str]:
    """What a stage of DVC that makes some kinds of artifacts depends on.

    Of the parsers it has the folder of the one that the parameters name, in DVC's words.
    """
    files: set[str] = set()
    chosen: list[str] = []
    for kind in kinds:
        if kind == "shards":
            backends = tuple(f"{module.replace('.', '/')}/" for module in BACKENDS.values())
            all_files = {path for parser in BACKENDS for path in program_files(kind, parser)}
            files |= {path for path in all_files if not path.startswith(backends)}
            chosen.append("pipeline/parsing/${parse.parser}")
        else:
            files |= program_files(kind, STUDIES_PARSER).keys()
    return sorted([*in_folders(files), *chosen])


def _packed(paths: Iterable[str], indent: str) -> str:
    """Items of a YAML list in square brackets, as many on a line as there is room for."""
    lines: list[str] = []
    for path in paths:
        item = f'"{path}",' if "$" in path else f"{path},"
        if lines and len(lines[-1]) + len(item) < _WIDTH:
            lines[-1] += f" {item}"
        else:
            lines.append(f"{indent}{item}")
    return "".join(f"{line}\n" for line in lines)


def listed_kinds(text: str) -> list[Kind]:
    """The kinds of artifacts that a list is for, as its mark names them.

    Raises:
        ValueError: It names another.
    """
    known: dict[str, Kind] = {kind: kind for kind in MAKERS}
    names = [name.strip() for name in text.replace(" and ", ", ").split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no artifact is called {', '.join(unknown)}; there are: {', '.join(known)}")
    return [known[name] for name in names]


def with_lists(text: str) -> str:
    """The text of a file for DVC with its lists as they should be."""

    def write(match: re.Match[str]) -> str:
        return _inserted(match, _packed(dependencies(listed_kinds(match["kinds"])), match[1]))

    return _LIST.sub(write, text)


def with_ignored(text: str) -> str:
    """The text of ``.dvcignore`` with its list as it should be."""
    lines = "".join(f"{pattern}\n" for pattern in ignored())
    return _IGNORED.sub(lambda match: _inserted(match, lines), text)


def _inserted(match: re.Match[str], lines: str) -> str:
    start, end = (place - match.start() for place in match.span("list"))
    return match[0][:start] + lines + match[0][end:]


def main() -> int:
    """Write the lists, or with --check compare them; the exit code."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true", help="change nothing; exit code 1 if a list is out of date")
    check = options.parse_args().check
    stale = []
    for name in (*DVC_FILES, IGNORE_FILE):
        path = Path(name)
        if not path.is_file():
            print(f"there is no {name} here: run this at the top of the repository", file=sys.stderr)
            return 2
        text = path.read_text()
        wanted = with_ignored(text) if name == IGNORE_FILE else with_lists(text)
        if wanted != text:
            stale.append(name)
            if not check:
                path.write_text(wanted)
    if check and stale:
        print(f"out of date: {', '.join(stale)}; run `make reference`", file=sys.stderr)
        return 1
    print("\n".join(f"wrote {name}" for name in stale) or "the lists are up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
