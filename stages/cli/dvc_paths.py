"""``ccaf-pipeline dvc-paths``: the first stage of dvc.yaml; it refuses paths that DVC would take for other places."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.errors import InputError
from pipeline.location import expand_home
from stages.cli.options import DEFAULT_PARAMETERS, Context, shared_options

FOLLOWED = ("data.root", "data.dataset", "model.pretrained")
"""Parameters whose values stand in the dependencies of dvc.yaml."""


@shared_options()
def command(
    context: Context,
    out: Annotated[Path, typer.Option("--out", help="JSON file that says what was checked.")],
) -> None:
    """Refuse a ~ in the paths that DVC follows, for DVC takes it for a folder of that name, not for the home folder.

    They are data.root, data.dataset and model.pretrained of the parameter file. Whether anything is there is not
    checked. A parser's former name is refused, too: DVC follows the program by the names of today.
    """
    from pipeline.config import read_parameter_tree
    from pipeline.files import write_json
    from pipeline.parsing.backends import FORMER_NAMES

    if context.overrides:
        raise InputError("--set is not for this command: DVC reads the parameter file alone")
    params = context.params or DEFAULT_PARAMETERS
    tree = read_parameter_tree(params)
    for key, value in _values(tree):
        written_out = expand_home(value)
        if written_out != value:
            raise InputError(
                f"{params}: {key}: DVC takes the ~ of {value} for a folder of that name; write the absolute path, "
                f"{written_out}"
            )
    parse = tree.get("parse")
    name = parse.get("parser") if isinstance(parse, dict) else None
    if isinstance(name, str) and name in FORMER_NAMES:
        raise InputError(
            f"{params}: parse.parser: {name} is the former name of {FORMER_NAMES[name]}, by which DVC finds the "
            f"parser's program; write {FORMER_NAMES[name]}"
        )
    write_json(out, {"checked": list(FOLLOWED)})
    context.console.result({"checked": list(FOLLOWED), "out": str(out)}, f"{out}: no ~ in {', '.join(FOLLOWED)}")


def _values(tree: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in FOLLOWED:
        section, name = key.split(".")
        if isinstance(tree.get(section), dict):
            yield key, tree[section].get(name)
