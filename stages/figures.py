"""The figures stage: the paper's pictures of one or two checkpoints, with their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.arithmetic import arithmetic
from pipeline.config import Parameters
from pipeline.datasets.catalog import load_facts
from pipeline.device import choose_device, set_threads
from pipeline.errors import InputError
from pipeline.outputs import check_writable
from pipeline.reporting.figures.page import FIGURES, PAGE_NAME, FiguresPage, Part, check_target, write_figures
from pipeline.reporting.numbers import Absent
from pipeline.reporting.origin import Fact
from pipeline.training.training_data import open_shards
from pipeline.workspace import Workspace
from stages.console import Console
from stages.device_use import fitting_figures
from stages.figure_inputs import read_subjects
from stages.figure_sections import Maker


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
    def places(self) -> list[Path]:
        """The one or two encoders."""
        return [self.checkpoint, *([] if self.against is None else [self.against])]


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
    with arithmetic(device), fitting_figures(parameters, device):
        page, facts = _make(parameters, console, workspace, asked, shards, device)
    files = write_figures(page, facts, out)
    absent = {part.key: part.section.what for part in page.parts if isinstance(part.section, Absent)}
    for key, what in absent.items():
        console.say(f"without {key}: {what}")
    console.say(f"figures of {facts['dataset']}, {len(files)} files -> {out}")
    return {
        "out": str(out),
        "page": str(out / PAGE_NAME),
        "figures": [part.key for part in page.parts if part.key not in absent],
        "absent": absent,
        "files": files,
    }


def _make(
    parameters: Parameters, console: Console, workspace: Workspace, asked: Asked, shards: Path, device: str
) -> tuple[FiguresPage, dict[str, Any]]:
    reader = open_shards(shards, parameters.data.dataset)
    data = load_facts(parameters.data.dataset)
    wanted = [key for key in FIGURES if not asked.figures or key in asked.figures]
    of_encoders = [key for key in wanted if key != "prompt-distances"]
    places: Sequence[Path] = asked.places if of_encoders else []
    subjects = read_subjects(parameters, reader, workspace, places, device, console.quiet)
    maker = Maker(parameters, reader, data, subjects, device, console.quiet)
    folders = [folder for folder in (asked.prompts or workspace.prompts, asked.against_prompts) if folder is not None]
    named = asked.prompts is not None or asked.against_prompts is not None or "prompt-distances" in asked.figures
    make = {
        "prompt-distances": lambda: maker.prompt_distances(folders, named),
        "feature-distances": maker.feature_distances,
        "tsne": lambda: maker.tsne(asked.identities),
        "ranked": maker.ranked,
        "maps": maker.maps,
    }
    page = FiguresPage(
        title=data.title,
        version=__version__,
        names=tuple(subject.name for subject in subjects) or ("prompts",),
        facts=(
            *(Fact(subject.name, subject.chosen.sha256[:12] or "random weights", True) for subject in subjects),
            Fact("shards", reader.record_sha256[:12], True),
            Fact("seed", str(parameters.seed)),
        ),
        parts=tuple(Part(key, make[key]()) for key in wanted),
    )
    facts: dict[str, Any] = {
        "dataset": data.name,
        "shards_sha256": reader.record_sha256,
        "seed": parameters.seed,
        "parameters": parameters.figures.model_dump(mode="json"),
        "checkpoints": [
            {"name": subject.name, "sha256": subject.chosen.sha256, "method": subject.chosen.method}
            for subject in subjects
        ],
    }
    return page, facts
