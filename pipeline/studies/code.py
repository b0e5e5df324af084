"""What of the program decides a step: the files of its module, and of all that this imports from the project."""

import ast
import hashlib
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path


@cache
def _imports(path: Path) -> tuple[str, ...]:
    """Dotted names that a file imports, anywhere in it; names taken from a module may be modules themselves."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return tuple(sorted(found))


def _file_of(name: str, packages: Mapping[str, Path]) -> Path | None:
    top, *rest = name.split(".")
    if top not in packages:
        return None
    place = packages[top].joinpath(*rest)
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def source_files(
    modules: Sequence[str], packages: Mapping[str, Path], without: Collection[str] = ()
) -> dict[str, Path]:
    """Files of some modules and of all that they import from the same packages, by dotted name.

    Args:
        modules: Dotted names to start from.
        packages: Folder by name of package.
        without: Modules, and packages, that decide no result; what only they import is left out too.
    """
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or any(name == other or name.startswith(f"{other}.") for other in without):
            continue
        path = _file_of(name, packages)
        if path is not None:
            found[name] = path
            waiting += _imports(path)
    return found


def source_digest(modules: Sequence[str], packages: Mapping[str, Path], without: Collection[str] = ()) -> str:
    """Hexadecimal SHA-256 over names and bytes of the files; arguments as for :func:`source_files`."""
    digest = hashlib.sha256()
    for name, path in sorted(source_files(modules, packages, without).items()):
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
