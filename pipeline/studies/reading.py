"""Reads the files of studies: which there are, what one has from another, and what is wrong in one line."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.errors import InputError
from pipeline.location import expand_home
from pipeline.presets import packaged_files
from pipeline.studies.study import Study, merged
from pipeline.yaml_files import read_yaml

FOLDER = "studies"
INHERITED = ("parameters", "any_dataset", "clip_seed", "seeds", "protocols", "tuned", "quick", "tuning")
"""Keys that a study has from the one that it is ``like``."""
OWN_SETTING = {"parameters", "clip_seed", "any_dataset"}
"""Keys that make runs other ones than those of the study that one is ``like``."""


def study_names() -> list[str]:
    """Names of all packaged studies, sorted."""
    return sorted(packaged_files(FOLDER))


def study_name(name_or_path: str) -> str:
    """A study's name: that of its file, without the ending."""
    return Path(name_or_path).stem if name_or_path.endswith((".yaml", ".yml")) else name_or_path


def _study_file(name_or_path: str, beside: Path | None = None) -> Path:
    """The file of a study; a relative path is looked for beside the study that names it."""
    if name_or_path.endswith((".yaml", ".yml")):
        path = Path(expand_home(name_or_path))
        return path if beside is None else beside.parent / path
    files = packaged_files(FOLDER)
    if name_or_path not in files:
        raise InputError(
            f"study {name_or_path!r} is not known; known are {', '.join(sorted(files))}; "
            f"for your own give the path of a YAML file"
        )
    return files[name_or_path]


def _read_tree(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """What a study file says, over what the study says that it is like."""
    tree = expand_home(read_yaml(path, "study file"))
    if not isinstance(tree, dict):
        raise InputError(f"study file {path} must be a mapping of keys, not {type(tree).__name__}")
    like = tree.pop("like", None)
    if like is None:
        return tree
    other = _study_file(str(like), path)
    if other.resolve() in (path.resolve(), *seen):
        raise InputError(f"study file {path}: like: {like} leads back to itself")
    return _over(_read_tree(other, (*seen, path.resolve())), tree)


def runs_name(name_or_path: str) -> str:
    """Name of the study whose folder has a study's runs: the one that it is ``like``, in the end, or itself.

    Studies of one setting share what they have in common, down to whole trainings. One with parameters or a CLIP of its
    own has its own folder: its steps have the names of the others' and are not the same.

    Raises:
        InputError: A file is missing or damaged.
    """
    path, name = _study_file(name_or_path), study_name(name_or_path)
    _read_tree(path)  # a chain that leads back to itself is refused
    tree = expand_home(read_yaml(path, "study file"))
    while tree.get("like") is not None and not tree.keys() & OWN_SETTING:
        like = str(tree["like"])
        path, name = _study_file(like, path), study_name(Path(like).name)
        tree = expand_home(read_yaml(path, "study file"))
    return name


def _over(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Setting, seeds, tuned values, small form and tuning of one study, with the keys of another over them.

    A method that the other only names is made as the first says, if it has one of that name.
    """
    tree = {key: base[key] for key in INHERITED if key in base} | own
    methods, known = own.get("methods"), base.get("methods")
    if isinstance(methods, dict) and isinstance(known, dict):
        tree["methods"] = {name: known.get(name) if changes is None else changes for name, changes in methods.items()}
    for key in ("parameters", "tuned", "quick"):
        first, second = base.get(key), own.get(key)
        if isinstance(first, dict) and isinstance(second, dict):
            tree[key] = merged(first, second) if key == "parameters" else {**first, **second}
    if isinstance(base.get("quick"), dict) and isinstance(own.get("quick"), dict):
        small = (base["quick"].get("parameters"), own["quick"].get("parameters"))
        if all(isinstance(part, dict) for part in small):
            tree["quick"]["parameters"] = merged(*small)
    if isinstance(tree.get("tuned"), dict) and isinstance(methods, dict):
        kept = {*methods, *(own.get("tuned") or {})}
        tree["tuned"] = {name: values for name, values in tree["tuned"].items() if name in kept}
    for key in ("quick", "tuning"):
        if key not in own and isinstance(tree.get(key), dict):  # its methods are those of the other study
            tree[key] = {name: value for name, value in tree[key].items() if name != "methods"}
    return tree


def load_study(name_or_path: str) -> Study:
    """Read a study by its name, or from a YAML file.

    Raises:
        InputError: There is no such study, or its file is wrong.
    """
    path = _study_file(name_or_path)
    tree = _read_tree(path)
    try:
        return Study.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"study file {path}: {_explain(error)}") from None


def _explain(error: ValidationError) -> str:
    problems = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"] if part != "[key]")
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "there is no such key"
        problems.append(f"{place}: {message}" if place else message)
    return "; ".join(problems)
