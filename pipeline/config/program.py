"""Which files of the program decide an artifact: the module that makes it, and what this imports from the program.

Imports are followed wherever they stand in a file. What is imported by its name (losses, parsers) is followed through
the two registries, and what is read as a file through :data:`READS`.
"""

import ast
import hashlib
import importlib.util
import inspect
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

from pipeline.config.deciding import Kind, counting
from pipeline.config.parameters import Parameters
from pipeline.files import sha256_of_file
from pipeline.losses.registry import LOSSES
from pipeline.parsing.backends import known_backends

MAKERS: Mapping[Kind, tuple[str, ...]] = {
    "population": ("pipeline.datasets.walkers.writer",),
    "data": ("pipeline.datasets.walkers.writer",),
    "clip": ("stages.pretrain_clip",),
    "shards": ("stages.parse",),
    "inspection": ("stages.inspect",),
    "redressed": ("stages.redress",),
    "prompts": ("stages.prompts",),
    "encoder": ("stages.encoder_run",),
    "blend": ("stages.blend",),
    "features": ("stages.extract",),
    "metrics": ("stages.evaluate",),
    "leakage": ("stages.leakage",),
    "oracle": ("stages.oracle",),
    "report": ("stages.report",),
    "tables": ("stages.study.results",),
}
"""The modules that make an artifact."""

READS: Mapping[str, tuple[str, ...]] = {
    "pipeline.models.clip": ("pipeline/models/configs",),
    "pipeline.parsing.lite.checkpoint": ("pipeline/parsing/lite/weights/lite.safetensors",),
    "pipeline.parsing.detectron2.classes": ("pipeline/parsing/detectron2/presets",),
    "pipeline.parsing.sam3.phrases": ("pipeline/parsing/sam3/phrases.yaml",),
    "pipeline.parsing.transformers.named": ("pipeline/parsing/transformers/presets",),
    "pipeline.reporting.page": ("pipeline/reporting/templates",),
    "pipeline.serving.application": ("pipeline/serving/static",),
}
"""Files that a module reads and that come with the program; a folder stands for all that is in it."""

CHOSEN: Mapping[str, str] = {
    "pipeline/models/weights": "model.pretrained names the file: the weights, and not their place, decide",
}
"""Files that come with the program and decide where a parameter names them, each with what follows them then."""

DECIDE_NOTHING: Mapping[str, str] = {
    "pipeline.__init__": "version, and names of the Python interface",
    "pipeline.config": "composes and reads parameters; their values decide, and count as such",
    "pipeline.device_faults": "words for a device that fails",
    "pipeline.errors": "kinds of errors",
    "pipeline.evaluation.cost": "says how long a ranking takes, refuses one",
    "pipeline.files": "writes and hashes files",
    "pipeline.gpu_memory": "asks how much memory there is",
    "pipeline.leftovers": "removes temporary files",
    "pipeline.location": "places of files",
    "pipeline.locks": "keeps two runs apart",
    "pipeline.outputs": "checks places of outputs",
    "pipeline.ownership": "says whose a file is",
    "pipeline.parsing.detectron2.install": "installs a library",
    "pipeline.parsing.lite.training.train": "makes lite.safetensors, which counts itself",
    "pipeline.presets": "finds parameter files",
    "pipeline.progress": "shows progress",
    "pipeline.ray_address": "checks addresses",
    "pipeline.ray_session": "starts processes",
    "pipeline.shards.making.counters": "counts what workers do",
    "pipeline.shards.making.members": "waits for processes",
    "pipeline.shards.making.placement": "says where processes run",
    "pipeline.shards.making.pool": "starts processes",
    "pipeline.shards.making.queue": "hands out work",
    "pipeline.stopping": "ends processes",
    "pipeline.storage": "reads and writes files",
    "pipeline.trainer.record": "records how a training went",
    "pipeline.trainer.state_files": "names of files",
    "pipeline.trainer.tensorboard": "shows curves",
    "pipeline.trainer.timing": "measures time",
    "pipeline.trainer.worker_report": "speaks",
    "pipeline.trainer.workers": "starts processes",
    "pipeline.training.preflight": "refuses labels that do not suffice",
    "pipeline.training.run_record": "records how a training went",
    "pipeline.workspace": "places of artifacts",
    "stages.cli": "options of commands, and what they say",
    "stages.console": "speaks",
    "stages.preflight": "refuses labels that do not suffice",
    "stages.synth": "starts processes",
}
"""Modules, and packages with all that is in them, that pass values on, speak, or run processes; each with why."""

NO_PROGRAM = ("*.md", "py.typed", "scores.json")
"""Files among the program's that no program reads."""

_LISTING = ("pipeline.datasets.builder", "pipeline.datasets.listing", "pipeline.datasets.readers")
"""How the files of a data set become rows: what comes of it is in the shards."""


def packages() -> dict[str, Path]:
    """Folder of each of the program's packages by name."""
    found = {}
    for name in ("pipeline", "stages"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            found[name] = Path(spec.origin).parent
    return found


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


@cache
def _has_code(path: Path) -> bool:
    """Whether there is more in a file than its documentation, which decides nothing."""
    return any(
        not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in ast.parse(path.read_bytes()).body
    )


def file_of(name: str, places: Mapping[str, Path]) -> Path | None:
    """File of a module; None if it is in none of the packages.

    Args:
        name: Dotted; a package's own file is that of its name.
        places: Folder by name of package; a package that is a single file is that file.
    """
    top, *rest = name.split(".")
    if top not in places:
        return None
    place = places[top].joinpath(*rest)
    candidates = (place, place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in candidates if path.suffix == ".py" and path.is_file()), None)


def source_files(
    modules: Sequence[str],
    places: Mapping[str, Path],
    without: Collection[str] = (),
    by_name: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Path]:
    """Files of some modules and of all that they import from the same packages, by dotted name.

    Args:
        modules: Dotted names to start from.
        places: Folder by name of package.
        without: Modules, and packages, that decide no result; what only they import is left out too. ``a.__init__`` is
            the package's own file alone.
        by_name: Modules that a module imports by their names, which no file shows.
    """
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or f"{name}.__init__" in without:
            continue
        if any(name == other or name.startswith(f"{other}.") for other in without):
            continue
        path = file_of(name, places)
        if path is not None:
            found[name] = path
            parent = name.rpartition(".")[0]  # importing a module executes its packages' files
            waiting += [*([parent] if parent else []), *_imports(path), *(by_name or {}).get(name, ())]
    return found


def files_of(folder: Path) -> list[Path]:
    """Files of the program below a folder, but those that no program reads."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(path for path in files if not any(path.match(pattern) for pattern in NO_PROGRAM))


def program_files(kind: Kind, parser: str | None = None) -> dict[str, Path]:
    """The files of the program that decide an artifact, by their path from the folder of the packages.

    Args:
        kind: Of the artifact.
        parser: The parser that runs, if one does: of all backends only its own counts; None: none counts.
    """
    places = packages()
    by_name: dict[str, Sequence[str]] = {}
    without = set(DECIDE_NOTHING)
    if kind in ("encoder", "tables"):
        by_name["pipeline.losses.registry"] = [f"pipeline.losses.{name}" for name in LOSSES]
    if kind in ("shards", "tables"):
        backend = known_backends().get(parser or "", "")
        by_name["pipeline.parsing.backends"] = [backend] if backend else []
        places |= _other_package(backend)
    else:
        without |= set(_LISTING)
    found = source_files([*MAKERS[kind], *_settings_modules(kind)], places, without, by_name)
    files = {
        f"{name.split('.')[0]}/{_below(name, path, places)}": path for name, path in found.items() if _has_code(path)
    }
    for module in found.keys() & READS.keys():
        for name in READS[module]:
            place = places["pipeline"].parent / name
            inside = files_of(place) if place.is_dir() else [place]
            files |= {f"{name}/{path.relative_to(place).as_posix()}".removesuffix("/."): path for path in inside}
    return dict(sorted(files.items()))


def _settings_modules(kind: Kind) -> set[str]:
    """Modules with the defaults of the parameters that count."""
    modules: set[str] = set()
    for name in counting(kind):
        section, _, key = name.rpartition(".")
        group: type = type(Parameters.model_fields[section].default) if section else Parameters
        modules |= {base.__module__ for base in group.__mro__ if key in inspect.get_annotations(base)}
    return modules


def _other_package(module: str) -> dict[str, Path]:
    """The package of a parser that is none of the program's own, which is not imported for this."""
    name = module.split(".")[0]
    spec = importlib.util.find_spec(name) if name else None
    if spec is None or spec.origin is None:
        return {}
    return {name: Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)}


def _below(name: str, path: Path, places: Mapping[str, Path]) -> str:
    place = places[name.split(".")[0]]
    return path.name if place == path else path.relative_to(place).as_posix()


def program_digest(kind: Kind, parser: str | None = None) -> str:
    """Hexadecimal SHA-256 over names and bytes of :func:`program_files`."""
    digest = hashlib.sha256()
    for name, path in program_files(kind, parser).items():
        digest.update(f"{name}\0{sha256_of_file(path)}\n".encode())
    return digest.hexdigest()


def program_digests(parser: str) -> dict[Kind, str]:
    """:func:`program_digest` of every kind of artifact, where this parser makes the shards."""
    return {kind: program_digest(kind, parser) for kind in MAKERS}
