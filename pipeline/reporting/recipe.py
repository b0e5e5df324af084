"""How to make the artifacts of a report again: the parameters that made them, and the commands in their order."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.datasets.catalog import DatasetFacts
from pipeline.models.builtin import portable_name
from pipeline.reporting.origin import Inputs
from pipeline.reporting.page import Recipe
from pipeline.reporting.runs import Run
from pipeline.workspace import Workspace

RECIPE_NAME = "report-params.yaml"
RENDERED = "walkers"
DEFAULT_ROOT = "data"
PARSE_KEYS = {"settings": "parser_settings"}
"""Parse parameters whose key in the record of the shards is another."""


def _relative_root(root: str | None) -> dict[str, str]:
    """The root of the data sets if it means the same on another machine."""
    return {} if root is None or Path(root).expanduser().is_absolute() else {"root": root}


def recipe_parameters(current: Mapping[str, Any], inputs: Inputs, rendered: bool) -> dict[str, Any]:
    """Sections of a parameter file: those that made the artifacts, as far as the artifacts tell, else the current ones.

    Args:
        current: The sections of the current ones.
        inputs: What the page is made from.
        rendered: Whether the data set is rendered by synth; the sections that make it are then included.
    """
    record = inputs.reader.record.parameters
    parse = {key: record[PARSE_KEYS.get(key, key)] for key in current["parse"] if PARSE_KEYS.get(key, key) in record}
    root = _relative_root(current["data"]["root"]) or ({"root": DEFAULT_ROOT} if rendered else {})
    sections: dict[str, Any] = {
        "seed": current["seed"],
        "data": {
            "dataset": current["data"]["dataset"],
            "frames_per_tracklet": current["data"]["frames_per_tracklet"],
            **root,
        },
        **({"synth": current["synth"], "pretrain": current["pretrain"]} if rendered else {}),
        "model": current["model"],
        "parse": current["parse"] | parse,
    }
    for name, run in (("prompts", inputs.prompts), ("encoder", inputs.encoder)):
        made = run.config if isinstance(run, Run) else {}
        sections["seed"] = made.get("seed", sections["seed"])
        model = {key: value for key, value in made.get("model", {}).items() if key in sections["model"]}
        sections["model"] = sections["model"] | model
        sections[name] = current[name] | made.get("parameters", {})
    sections["model"] = sections["model"] | {"pretrained": portable_name(sections["model"]["pretrained"])}
    return sections | {"evaluate": current["evaluate"], "report": current["report"]}


def make_recipe(current: Mapping[str, Any], inputs: Inputs, facts: DatasetFacts, workspace: Workspace) -> Recipe:
    """Parameter file and commands of a page.

    Args:
        current: The sections of the current parameters.
        inputs: What the page is made from.
        facts: Of the data set.
        workspace: Default places of its artifacts.
    """
    rendered = facts.reader == RENDERED
    sections = recipe_parameters(current, inputs, rendered)
    options = f"--params {RECIPE_NAME}"
    commands = [
        f"ccaf-pipeline parse {options}",
        f"ccaf-pipeline train {options}",
        f"ccaf-pipeline extract {options}",
        f"ccaf-pipeline evaluate {options}",
        f"ccaf-pipeline extract --frozen {options}",
        f"ccaf-pipeline evaluate --features {workspace.frozen_features} "
        f"--out {workspace.frozen_metrics} --dataset {shlex.quote(sections['data']['dataset'])} {options}",
        f"ccaf-pipeline report {options}",
    ]
    if rendered:
        root, weights = sections["data"]["root"], sections["model"]["pretrained"]
        made = [f"ccaf-pipeline synth --only walkers --out {root} {options}"]
        if weights is not None and weights.endswith(".safetensors"):
            made = [f"ccaf-pipeline synth --out {root} {options}"]
            place = f"--data {root}/walkers-pretrain --out {Path(weights).parent}"
            made.append(f"ccaf-pipeline pretrain-clip {place} {options}")
        commands = made + commands
    text = yaml.safe_dump(sections, sort_keys=False, default_flow_style=None, width=100)
    return Recipe(RECIPE_NAME, text, facts.access, tuple(commands))
