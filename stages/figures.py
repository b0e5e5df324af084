"""The figures stage: the paper's pictures of one or two checkpoints, with their numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.arithmetic import arithmetic
from pipeline.config import Parameters
from pipeline.device import choose_device, set_threads
from pipeline.errors import InputError
from pipeline.outputs import check_writable
from pipeline.reporting.figures.groups import FigureGroups
from pipeline.reporting.figures.maker import FigureMaker
from pipeline.reporting.figures.page import FIGURES, PAGE_NAME, Part, check_target, write_figures
from pipeline.reporting.figures.section import Section
from pipeline.reporting.figures.subjects import read_subjects
from pipeline.reporting.figures.summary import make_page, what_of
from pipeline.reporting.numbers import Absent
from pipeline.shards.dataset import open_shards
from pipeline.workspace import Workspace
from stages.console import Console
from stages.device_use import fitting_figures


@dataclass(frozen=True)
class Asked:
    """What the figures are of.

    Attributes:
        checkpoint: Encoder checkpoint, or ``frozen``.
        against: The one it is compared with; None: it stands alone.
        prompts: Prompts checkpoint; None: that of the workspace, if there is one.
        against_prompts: The one they are compared with; None: they stand alone.
        figures: Names of figures; empty: all.
        identities: People on the map; empty: those with the most images.
    """

    checkpoint: Path
    against: Path | None = None
    prompts: Path | None = None
    against_prompts: Path | None = None
    figures: tuple[str, ...] = ()
    identities: tuple[int, ...] = ()

    @property
    def wanted(self) -> list[str]:
        """The figures, in the order of the page."""
        return [key for key in FIGURES if not self.figures or key in self.figures]

    @property
    def places(self) -> list[Path]:
        """The one or two encoders; none where only prompts are compared."""
        if self.wanted == ["prompt-distances"]:
            return []
        return [self.checkpoint, *([] if self.against is None else [self.against])]

    @property
    def names_prompts(self) -> bool:
        """Whether prompts, or the figure of them, were asked for: then they must be there."""
        named = self.prompts is not None or self.against_prompts is not None
        return named or "prompt-distances" in self.figures


def run(
    parameters: Parameters, console: Console, workspace: Workspace, asked: Asked, shards: Path, out: Path
) -> dict[str, Any]:
    """Make the figures and write their folder; returns a summary.

    Args:
        parameters: All of them.
        console: For remarks.
        workspace: Where prompts and features may be.
        asked: What the figures are of.
        shards: Of the data set.
        out: Folder of the figures; earlier figures there are replaced.

    Raises:
        InputError: A figure is not known, a checkpoint or the shards are wrong, or the folder holds something else.
        WorkError: Memory does not suffice.
    """
    unknown = [name for name in asked.figures if name not in FIGURES]
    if unknown:
        raise InputError(f"--figure {unknown[0]}: there is no such figure; there are: {', '.join(FIGURES)}")
    if asked.against == asked.checkpoint:
        raise InputError(f"--checkpoint and --against are both {asked.checkpoint}; give --against none for one alone")
    check_target(out)
    check_writable(out)
    set_threads(parameters.threads)
    device = choose_device(parameters.device)
    reader, facts = open_shards(shards, parameters.data.dataset)
    groups = FigureGroups(
        parameters.model, parameters.loading, parameters.evaluate, parameters.figures, parameters.seed
    )
    with arithmetic(device), fitting_figures(parameters, device):
        subjects = read_subjects(groups, reader, facts, workspace, asked.places, device=device, quiet=console.quiet)
        maker = FigureMaker(groups, reader, facts, subjects, device, console.quiet)
        parts = tuple(Part(key, _section(key, maker, asked, workspace)) for key in asked.wanted)
    page = make_page(parts, subjects, reader, facts, groups.seed)
    files = write_figures(page, what_of(subjects, reader, facts, groups), out)
    absent = {part.key: part.section.what for part in parts if isinstance(part.section, Absent)}
    for key, what in absent.items():
        console.say(f"without {key}: {what}")
    console.say(f"figures of {facts.name}, {len(files)} files -> {out}")
    return {
        "out": str(out),
        "page": str(out / PAGE_NAME),
        "figures": [part.key for part in parts if part.key not in absent],
        "absent": absent,
        "files": files,
    }


def _section(key: str, maker: FigureMaker, asked: Asked, workspace: Workspace) -> Section | Absent:
    """One figure, or why it cannot be made."""
    if key == "prompt-distances":
        folders = [folder for folder in (asked.prompts or workspace.prompts, asked.against_prompts) if folder]
        return maker.prompt_distances(folders, asked.names_prompts)
    if key == "feature-distances":
        return maker.feature_distances()
    if key == "tsne":
        return maker.tsne(asked.identities)
    return maker.ranked() if key == "ranked" else maker.maps()
