"""Sharing encoders on the Hugging Face Hub: ours pushed with a card, a stranger's pulled and checked."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.datasets.catalog import DatasetFacts
from pipeline.errors import InputError
from pipeline.features.encoders import trained_encoder
from pipeline.limited_reading import read_limited
from pipeline.models.checkpoint import check_replaceable, read_checkpoint
from pipeline.models.clip import ClipSpec
from pipeline.outputs import check_writable
from pipeline.reporting.numbers import read_metrics
from pipeline.shards.dataset import find_facts
from pipeline.shards.record import read_record
from pipeline.sharing.card import CardSources, make_card
from pipeline.sharing.folder import SHARED_FILES, write_shared
from pipeline.sharing.hub import (
    CARD_NAME,
    MOST_CARD_BYTES,
    check_portable,
    check_repository,
    fetch_card,
    fetch_checkpoint,
    load_hub,
    push_folder,
)
from stages.console import Console


@dataclass(frozen=True)
class Shared:
    """What is pushed.

    Attributes:
        checkpoint: Encoder checkpoint.
        licence: Of the weights.
        metrics: Of evaluate; None: the card has no numbers.
        shards: That it was trained on; None: the card does not name the parser.
        card: A card that the user wrote or reviewed; None: one is made.
        private: Of a repository that is made now.
    """

    checkpoint: Path
    licence: str
    metrics: Path | None = None
    shards: Path | None = None
    card: Path | None = None
    private: bool = False


def _facts(dataset: str | None, shards: Path | None) -> DatasetFacts | None:
    try:
        return None if dataset is None else find_facts(dataset, shards)
    except InputError:
        return None


def _card(shared: Shared, sources: CardSources, repository: str) -> str:
    made = make_card(sources, repository)  # also with a card of one's own: what belongs together is checked
    if shared.card is None:
        return made
    try:
        return read_limited(shared.card, MOST_CARD_BYTES).decode()
    except (OSError, ValueError) as error:
        raise InputError(f"the card {shared.card} cannot be read: {error}") from error


def push(console: Console, repository: str, shared: Shared, dry: Path | None) -> dict[str, Any]:
    """Push an encoder with its card; or write into ``dry`` what would be pushed. Returns a summary.

    Raises:
        InputError: The checkpoint, the metrics or the shards are wrong or not of one another, nobody is logged in, or
            the model is a file of one's own.
        WorkError: The hub does not answer.
    """
    check_repository(repository)
    if dry is not None:
        if dry.resolve() == shared.checkpoint.resolve():
            raise InputError(
                f"--out {dry} is the checkpoint itself, whose other files would be lost; name another folder"
            )
        check_replaceable(dry, "encoder")
        check_writable(dry)
    else:
        load_hub()
    checkpoint = read_checkpoint(shared.checkpoint, "encoder", "ccaf-pipeline train")
    check_portable(ClipSpec.from_dict(checkpoint.field("model")), str(shared.checkpoint))
    sources = CardSources(
        checkpoint,
        shared.licence,
        None if shared.metrics is None else read_metrics(shared.metrics, "ccaf-pipeline extract --score"),
        _facts(checkpoint.config.get("dataset"), shared.shards),
        None if shared.shards is None else read_record(shared.shards),
    )
    card = _card(shared, sources, repository)
    if dry is not None:
        write_shared(dry, checkpoint, card)
        return {"repository": repository, "out": str(dry), "files": list(SHARED_FILES), "pushed": False}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "encoder"
        write_shared(place, checkpoint, card)
        console.say(f"pushing {', '.join(SHARED_FILES)} to {repository}")
        url = push_folder(place, repository, shared.private, f"Encoder of ccaf-pipeline {__version__}")
    return {"repository": repository, "url": url, "files": list(SHARED_FILES), "pushed": True}


def pull(console: Console, repository: str, revision: str | None, out: Path) -> dict[str, Any]:
    """Fetch an encoder, check it as anything of a stranger, and write it as a checkpoint. Returns a summary.

    Raises:
        InputError: There is no such repository or revision, or what it holds cannot be used.
        WorkError: The hub does not answer, and there is no copy.
    """
    check_replaceable(out, "encoder")
    check_writable(out)
    folder = fetch_checkpoint(repository, revision)
    chosen = trained_encoder(folder)  # that the weights fit the network is known before anything is replaced
    card = fetch_card(repository, folder.name)
    write_shared(out, read_checkpoint(folder, "encoder", "ccaf-pipeline push"), card)
    console.say(f"{chosen.spec.name}, {chosen.spec.image_size[0]}x{chosen.spec.image_size[1]} -> {out}")
    console.say(f"who made it, for what, and under which licence: {out / CARD_NAME}")
    return {"repository": repository, "commit": folder.name, "out": str(out), "sha256": chosen.sha256}
