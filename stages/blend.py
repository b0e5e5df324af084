"""The blend stage: a trained encoder with a share of the CLIP that it began as, without training."""

from pathlib import Path
from typing import Any

from pipeline.config import Parameters
from pipeline.errors import InputError
from pipeline.features.encoders import ChosenEncoder, frozen_encoder, trained_encoder
from pipeline.locks import hold
from pipeline.models.blending import PairedEncoder, average_weights
from pipeline.models.checkpoint import CONFIG_NAME, check_replaceable, read_config, save_checkpoint
from pipeline.models.image_encoder import ImageEncoder
from pipeline.models.settings import BlendSettings
from pipeline.outputs import check_writable
from stages.console import Console


def run(parameters: Parameters, console: Console, checkpoint: Path, out: Path) -> dict[str, Any]:
    """Write the blended encoder as a checkpoint of its own; returns a summary.

    Args:
        parameters: All of them.
        console: For remarks.
        checkpoint: The trained encoder.
        out: Folder of the new checkpoint; an earlier encoder checkpoint is replaced when the new one is complete.

    Raises:
        InputError: The checkpoint is wrong, blended already, has a camera embedding or began as another CLIP than that
            of the parameters; or nothing would change; or ``out`` is something else.
        DiskError: The disk is full.
    """
    settings = parameters.blend
    if settings.changes_nothing:
        raise InputError(
            "nothing to blend: give --trained-share below 1, --clip-weight above 0, or both (parameters blend.*)"
        )
    if out.resolve() == checkpoint.resolve():
        raise InputError(f"--out {out} is the trained encoder itself: write the blended one to another place")
    check_replaceable(out, "encoder")
    if (out / CONFIG_NAME).is_file() and "blend" not in read_config(out, "encoder", "ccaf-pipeline train"):
        raise InputError(f"--out {out} is a trained encoder: write the blended one to another place")
    check_writable(out)
    config = read_config(checkpoint, "encoder", "ccaf-pipeline train")
    if "blend" in config:
        raise InputError(f"{checkpoint} is blended already: name the encoder that it was made of")
    trained = trained_encoder(checkpoint)
    if trained.encoder.camera_embedding is not None:
        raise InputError(f"{checkpoint} has a camera embedding, which the CLIP before training has not: not supported")
    first = _before_training(parameters, trained, str(config.get("clip_sha256", "")), checkpoint)
    if first.note:
        console.say(first.note)
    encoder = _blended(trained.encoder, first.encoder, settings)
    made = {**settings.model_dump(), "checkpoint_sha256": trained.sha256}
    tensors = {f"image_encoder.{name}": value for name, value in encoder.state_dict().items()}
    with hold(out, advice="wait for it, or choose another --out"):
        save_checkpoint(out, "encoder", tensors, {**config, "blend": made})
    return {**made, "out": str(out)}


def _before_training(
    parameters: Parameters, trained: ChosenEncoder, clip_sha256: str, checkpoint: Path
) -> ChosenEncoder:
    """The encoder that a trained one began as: that of the parameters, at the trained one's size.

    Raises:
        InputError: It began as another, or with random weights, which nothing could be gained from.
    """
    named = parameters.model.pretrained
    if not clip_sha256 or named is None:
        raise InputError(
            f"{checkpoint} is blended with the CLIP that it began as, which model.pretrained must name; "
            f"{'it began with random weights' if not clip_sha256 else 'that is null'}"
        )
    spec = trained.spec.to_dict()
    own = {name: value for name, value in spec.items() if name in type(parameters.model).model_fields}
    first = frozen_encoder(parameters.model.model_copy(update=own), parameters.seed)
    if first.sha256 != clip_sha256:
        raise InputError(
            f"{checkpoint} did not begin as model.pretrained={named}: its CLIP had the SHA-256 {clip_sha256[:12]}..., "
            f"these weights have {first.sha256[:12]}...; name the weights that it was trained from"
        )
    return first


def _blended(trained: ImageEncoder, first: ImageEncoder, settings: BlendSettings) -> ImageEncoder:
    if settings.trained_share < 1:
        trained.load_state_dict(average_weights(trained.state_dict(), first.state_dict(), settings.trained_share))
    return PairedEncoder(trained, first, settings.clip_weight) if settings.clip_weight else trained
