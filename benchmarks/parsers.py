"""Scores a parser on the held-out photographs of Clothing Co-Parsing and keeps the table in docs/guides/parsers.md.

    python benchmarks/parsers.py --photos ccp_parsing
    python benchmarks/parsers.py --photos ccp_parsing --parser NAME --set parse.settings.weights=FILE

A parser's row is replaced, the rows of other parsers stay. The folder holds photos/, labels/ and label_list.json
(github.com/bearpaw/clothing-co-parsing, label maps as 8-bit PNG). The held-out photographs are those whose number is
divisible by 5; the embedded parser saw none of them.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "guides" / "parsers.md"
BEGIN = "<!-- parsers: written by benchmarks/parsers.py -->"
END = "<!-- parsers: end -->"
VIEWS = {"whole photograph": None, "256x128": "256x128", "128x64": "128x64"}
"""Name of each column of clothes IoU, and the view that parse-score is asked for."""

CLASSES_VIEW = "256x128"
"""The view that classes and time are shown of."""

COLUMNS = [
    "parser", "weights", "scheme", *(f"clothes IoU, {name}" for name in VIEWS),
    "pixel accuracy", "mean IoU (classes)", "ms an image", "images",
]  # fmt: skip


def score(photos: Path, parser: str, settings: list[str], view: str | None, limit: int | None) -> dict[str, Any]:
    """What ``ccaf-pipeline parse-score --json`` says, on one thread."""
    code = "import sys; from stages.cli import main; sys.argv[0] = 'ccaf-pipeline'; main()"
    command = [
        sys.executable, "-c", code, "parse-score", "--json",
        "--images", str(photos / "photos"), "--labels", str(photos / "labels"),
        "--label-list", str(photos / "label_list.json"), "--held-out",
        "--parser", parser, "--set", "threads=1",
    ]  # fmt: skip
    for setting in settings:
        command += ["--set", setting]
    command += [] if view is None else ["--view", view]
    command += [] if limit is None else ["--limit", str(limit)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def make_row(scores: dict[str, dict[str, Any]]) -> str:
    """One line of the table from the scores by view."""
    shown = scores[CLASSES_VIEW]
    cells = [
        f"`{shown['parser']}`",
        f"`{shown['weights_sha256'][:12]}`" if shown["weights_sha256"] else "–",
        shown["label_scheme"],
        *(f"{value['clothes_iou']:.3f}" for value in scores.values()),
        f"{shown['pixel_accuracy']:.3f}",
        f"{shown['mean_iou']:.3f} ({len(shown['class_iou'])})",
        f"{shown['ms_per_image']:.0f}",
        str(shown["images"]),
    ]
    return f"| {' | '.join(cells)} |"


def merge_row(text: str, row: str) -> str:
    """The page with a row put into the table: in place of the same parser's, else in the order of names.

    Raises:
        ValueError: The page has no such table.
    """
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    rows = {line.split("|")[1]: line for line in text[start:end].splitlines() if line.startswith("| `")}
    rows[row.split("|")[1]] = row
    head = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    return text[:start] + "\n".join(["", *head, *(rows[name] for name in sorted(rows)), ""]) + text[end:]


def main() -> None:
    """Score one parser in every view and write its row."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--photos", type=Path, required=True, help="folder of Clothing Co-Parsing")
    options.add_argument("--parser", default="lite", help="default: lite")
    options.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    options.add_argument("--limit", type=int, help="score only so many photographs, and write nothing")
    given = options.parse_args()
    scores = {
        name: score(given.photos, given.parser, given.settings, view, given.limit) for name, view in VIEWS.items()
    }
    row = make_row(scores)
    print(row)
    if given.limit is None:
        PAGE.write_text(merge_row(PAGE.read_text(), row))


if __name__ == "__main__":
    main()
