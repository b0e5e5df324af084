"""What a user may choose of an exported file; without torch, for the command line."""

from enum import StrEnum


class ImageInput(StrEnum):
    """How a runtime gives images: RGB crops at the encoder's size."""

    FLOAT = "float"
    UINT8 = "uint8"


class Cameras(StrEnum):
    """What becomes of a camera embedding, for which the file has no input."""

    REFUSE = "refuse"
    MEAN = "mean"
