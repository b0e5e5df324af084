"""Which of the known data sets are below a folder."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.catalog import DatasetFacts, find_below, missing_markers


@dataclass(frozen=True)
class Presence:
    """Whether a data set is below the root.

    Attributes:
        state: present, incomplete, absent, or unknown if there is no root.
        found: Its folder.
        missing: Which of its markers are not there.
    """

    state: str
    found: str | None = None
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = f" in {self.found}" if self.found else ""
        lacking = f"; {', '.join(self.missing)} are missing" if self.missing else ""
        return self.state + place + lacking


def find_presence(facts: DatasetFacts, top: Path | None) -> Presence:
    """Whether a data set is below ``top``; None: no root was given."""
    if top is None:
        return Presence("unknown")
    folder = find_below(facts, top)
    missing = facts.markers if folder is None else tuple(missing_markers(facts, folder))
    if len(missing) == len(facts.markers):
        return Presence("absent")
    return Presence("incomplete" if missing else "present", str(folder), missing)
