"""Train on a table of your own: from a CSV file and its images to scores and a report.

    python examples/train_on_your_table.py /data/my_people/people.csv --params preset:prcc
    python examples/train_on_your_table.py /data/my_people/people.csv --params my.yaml --set encoder.epochs=5

The table has a row per image with the columns file (relative to the table), part (train, query or gallery), person, cam
and outfit, all of them numbers but file and part. Results go to artifacts/<name of the table's folder>/ in the current
folder. Run it again after an interruption, and every stage goes on from where it was.
"""

import argparse
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import yaml

from stages import cli

COLUMNS = {"path": "file", "split": "part", "person_id": "person", "camera_id": "cam", "clothes_id": "outfit"}
"""The pipeline's name of each column, and the table's."""


def describe(table: Path) -> Path:
    """Write the YAML file that describes the table, beside it."""
    facts = {
        "name": table.parent.name.lower(),
        "title": f"images of {table.name}",
        "reader": "custom",
        "home": "own data",
        "access": "own data",
        "terms": "own data",
        "folder": table.parent.name,
        "layout": f"{table.name} and the images that it names",
        "markers": [table.name],
        "roles": {"train": ["train"], "query": ["query"], "gallery": ["gallery"]},
        "protocols": ["general", "cc", "sc"],
        "settings": {"table": table.name, "columns": COLUMNS},
    }
    path = table.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(facts, sort_keys=False))
    return path


def run(command: str, *options: str) -> dict[str, Any]:
    """Run one command of the pipeline and return its result; progress goes to the terminal."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        code = cli.run([command, *options, "--json"])
    if code:
        sys.exit(code)
    result: dict[str, Any] = json.loads(printed.getvalue())
    return result


def main() -> None:
    """Run all stages and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="CSV file with a row per image")
    parser.add_argument(
        "--params", help="parameter file, or preset:NAME; without it params.yaml here, else the paper's"
    )
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="KEY=VALUE")
    given = parser.parse_args()

    table = given.table.resolve()
    facts = describe(table)
    common = ["--dataset", str(facts)]
    common += [] if given.params is None else ["--params", given.params]
    for change in given.changes:
        common += ["--set", change]
    folder = Path("artifacts") / table.parent.name.lower()
    folder.mkdir(parents=True, exist_ok=True)

    run("manifest", *common, "--root", str(table.parent.parent), "--out", str(folder / "manifest.parquet"))
    run("parse", *common, "--root", str(table.parent.parent))
    run("train", *common)
    run("extract", *common)
    scores = run("evaluate", *common, "--features", str(folder / "features.parquet"))
    run("report", *common)
    for name, figures in scores["protocols"].items():
        print(f"{name}: Rank-1 {figures['rank1']:.1f}, mAP {figures['mAP']:.1f}")
    print(f"look at {folder / 'report.html'}")


if __name__ == "__main__":
    main()
