"""The prompts of stage 1 as others read them: whole, of this version, of the same shards and the same CLIP."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import InputError
from pipeline.models.checkpoint import Checkpoint, read_checkpoint
from pipeline.models.clip import Clip, ClipSpec
from pipeline.shards.reader import ShardReader

MADE_BY = "ccaf-pipeline train --stage prompts"


def read_learned_prompts(folder: Path, needed: Iterable[str]) -> Checkpoint:
    """Read a prompts checkpoint.

    Args:
        folder: Of the checkpoint.
        needed: Configuration and tensors that must be in it.

    Raises:
        InputError: It is missing, damaged, or of another version.
    """
    prompts = read_checkpoint(folder, "prompts", MADE_BY)
    missing = sorted(set(needed) - prompts.config.keys() - prompts.tensors.keys())
    if missing:
        raise InputError(f"the prompts in {folder} are of another version (no {', '.join(missing)}): run `{MADE_BY}`")
    return prompts


def check_learned_prompts(prompts: Checkpoint, reader: ShardReader, clip: Clip) -> None:
    """Check what prompts were learned on and with; of anything else their classes and features do not fit.

    Raises:
        InputError: They were learned on other shards, or with another CLIP.
    """
    again = f"run `{MADE_BY}` again"
    if prompts.config["shards_sha256"] != reader.record_sha256:
        raise InputError(f"the prompts in {prompts.folder} were learned on other shards than {reader.folder}: {again}")
    model = ClipSpec.from_dict(prompts.config["model"])
    if prompts.config["clip_sha256"] != clip.weights_sha256 or model != clip.spec:
        raise InputError(f"the prompts in {prompts.folder} were learned with another CLIP than model names: {again}")
