"""The page of the figures and its folder: one HTML file, its numbers as JSON, and each picture as a file."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.files import atomic_folder, read_json, write_json
from pipeline.ownership import refuse_foreign
from pipeline.reporting.figures.section import Section
from pipeline.reporting.numbers import Absent
from pipeline.reporting.origin import Fact
from pipeline.reporting.page import write_page

PAGE_NAME = "figures.html"
NUMBERS_NAME = "figures.json"
MADE_BY = "ccaf-pipeline figures"

FIGURES = {
    "prompt-distances": "Prompts and images (Figure 5)",
    "feature-distances": "Distances of test features (Figure 6)",
    "tsne": "Map of chosen identities (Figure 7)",
    "ranked": "Ranked lists (Figure 8)",
    "maps": "Where the encoder looks",
}
"""Names of the figures on the command line, and their headings, in the order of the page."""


_FIRST_FILES = re.compile(
    rf"{re.escape(PAGE_NAME)}|{re.escape(NUMBERS_NAME)}|({'|'.join(FIGURES)})(-[\w-]+)?\.(svg|png)"
)
"""Files of figures of version 0.1.0, which do not list them."""


@dataclass(frozen=True)
class Part:
    """One figure on the page, or what is missing for it."""

    key: str
    section: Section | Absent

    @property
    def title(self) -> str:
        """Heading."""
        return FIGURES[self.key]


@dataclass(frozen=True)
class FiguresPage:
    """Everything on the page.

    Attributes:
        title: Name of the data set for people.
        version: Of this program.
        names: Of the checkpoints.
        facts: What the figures were made of.
        parts: The figures.
    """

    title: str
    version: str
    names: tuple[str, ...]
    facts: tuple[Fact, ...]
    parts: tuple[Part, ...]


def figure_files(folder: Path) -> Collection[str]:
    """The files, relative, that earlier figures list as their own.

    Raises:
        InputError: Their numbers are missing or damaged.
    """
    found = read_json(folder / NUMBERS_NAME, "figures")
    listed = found.get("files") if isinstance(found, dict) else None
    if isinstance(listed, list) and all(isinstance(name, str) and "\0" not in name for name in listed):
        return listed
    return [path.name for path in folder.iterdir() if _FIRST_FILES.fullmatch(path.name)]


def check_target(folder: Path) -> None:
    """Refuse a folder that figures may not take the place of: whatever is in it would be deleted.

    Raises:
        InputError: It is a file, or a folder that is neither empty nor of earlier figures, or holds more.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    numbers = folder / NUMBERS_NAME
    found = read_json(numbers, "figures") if numbers.is_file() else None
    if not isinstance(found, dict) or found.get("made_by") != MADE_BY:
        raise InputError(
            f"{folder} is there and holds no figures that could be replaced: choose another place, or remove it"
        )
    refuse_foreign(folder, figure_files(folder))


def write_figures(page: FiguresPage, numbers: Mapping[str, Any], folder: Path) -> list[str]:
    """Write page, numbers and pictures; earlier figures are replaced when all is there. Returns the files' names.

    Args:
        page: The page.
        numbers: What the JSON file holds beside the figures' own numbers.
        folder: Where to.

    Raises:
        InputError: See :func:`check_target`; or nothing can be written there.
    """
    check_target(folder)
    figures = {
        part.key: {"absent": part.section.what} if isinstance(part.section, Absent) else part.section.numbers
        for part in page.parts
    }
    with atomic_folder(folder, figure_files) as temporary:
        write_page(page, temporary / PAGE_NAME, "figures.html.j2")
        for part in page.parts:
            if isinstance(part.section, Absent):
                continue
            for name, content in part.section.files.items():
                data = content.encode() if isinstance(content, str) else content
                (temporary / name).write_bytes(data)
        files = sorted([NUMBERS_NAME, *(file.name for file in temporary.iterdir())])
        write_json(temporary / NUMBERS_NAME, {**numbers, "made_by": MADE_BY, "figures": figures, "files": files})
        return files
