"""The image encoder that a command works with, trained or the CLIP of the parameters as it is."""

from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.models.blending import PAIR_KEY, PairedEncoder
from pipeline.models.checkpoint import load_strictly, read_checkpoint
from pipeline.models.clip import ClipSpec, build_image_encoder, load_image_encoder
from pipeline.models.image_encoder import ImageEncoder
from pipeline.models.settings import ModelSettings

FROZEN = "frozen"


@dataclass(frozen=True)
class ChosenEncoder:
    """An image encoder and where it came from.

    Attributes:
        encoder: E_v, on the CPU.
        spec: Its architecture.
        sha256: Hash of its weights; empty for random ones.
        method: That trained it; empty where none did.
        trained: Whether it is of a checkpoint, which says all about it.
        note: What the user should know about how its weights were read; empty: nothing.
    """

    encoder: ImageEncoder
    spec: ClipSpec
    sha256: str
    method: str = ""
    trained: bool = False
    note: str = ""


def trained_encoder(folder: Path, configuration: str | None = None) -> ChosenEncoder:
    """The encoder of a checkpoint.

    Args:
        folder: The checkpoint's.
        configuration: Where the open_clip configuration is that the checkpoint names; None: where it says.

    Raises:
        InputError: It is missing, damaged, or no encoder.
    """
    checkpoint = read_checkpoint(folder, "encoder", "ccaf-pipeline train")
    spec = ClipSpec.from_dict(checkpoint.field("model"))
    built = spec if configuration is None else replace(spec, name=configuration)
    encoder = build_image_encoder(built)
    weights = checkpoint.part("image_encoder")
    if PAIR_KEY in weights:
        encoder = PairedEncoder(encoder, build_image_encoder(built), 0.0)
    if "camera_embedding.cameras" in weights:
        encoder.add_cameras(weights["camera_embedding.cameras"], checkpoint.field("camera_embedding"))
    load_strictly(encoder, weights, f"checkpoint {folder}")
    return ChosenEncoder(encoder, spec, checkpoint.sha256, str(checkpoint.config.get("method", "")), trained=True)


def frozen_encoder(settings: ModelSettings, seed: int) -> ChosenEncoder:
    """The encoder of the CLIP that the settings name, before any training.

    Args:
        settings: The section ``model``.
        seed: Of random weights.

    Raises:
        InputError: The model or its weights are wrong.
    """
    loaded = load_image_encoder(settings, seed)
    return ChosenEncoder(loaded.encoder, loaded.spec, loaded.weights_sha256, note=loaded.note)
