"""CLIP weights that come with the package: ``model.pretrained: builtin:walker-clip``.

Each is a folder of ``weights/`` as ``ccaf-pipeline pretrain-clip`` writes it, with a card that says by which commands.
No network library is imported here: planning a study and writing a report need the names only.
"""

from pathlib import Path
from typing import Final

from pipeline.errors import InputError
from pipeline.files import sha256_of_file

PREFIX: Final = "builtin:"
WEIGHTS_FOLDER: Final = Path(__file__).parent / "weights"


def builtin_weights() -> dict[str, Path]:
    """Weights files of the package by their value of ``model.pretrained``, sorted."""
    return {f"{PREFIX}{path.parent.name}": path for path in sorted(WEIGHTS_FOLDER.glob("*/weights.safetensors"))}


def weights_on_disk(pretrained: str) -> Path | None:
    """The file that a value of ``model.pretrained`` stands for, if it is one of the package or of the user.

    Args:
        pretrained: ``builtin:NAME``, the path of a file or of a checkpoint's folder, or an open_clip tag.

    Returns:
        None where it is neither, and so at best a tag.

    Raises:
        InputError: It begins with ``builtin:``, and no such weights come with the package.
    """
    if pretrained.startswith(PREFIX):
        known = builtin_weights()
        if pretrained not in known:
            names = ", ".join(known)
            raise InputError(f"model.pretrained: {pretrained} does not come with this package; it has {names}")
        return known[pretrained]
    places = (Path(pretrained), Path(pretrained) / "weights.safetensors")
    return next((place for place in places if place.is_file()), None)


def portable_name(pretrained: str | None) -> str | None:
    """The value of ``model.pretrained`` for another machine: a file that is equal to a built-in one has its name."""
    if pretrained is None or not Path(pretrained).is_file():
        return pretrained
    digest = sha256_of_file(Path(pretrained))
    return next((name for name, path in builtin_weights().items() if sha256_of_file(path) == digest), pretrained)
