"""The weights file of the embedded parser: safetensors, convolutions in half precision, with what made it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pipeline.artifacts import Artifact, Word, explain
from pipeline.errors import InputError
from pipeline.files import atomic_file
from pipeline.json_text import decode_json
from pipeline.models.checkpoint import check_floats
from pipeline.parsing.lite.encoder import STAGES
from pipeline.parsing.lite.network import STRIDE, LiteNetwork
from pipeline.parsing.lite.targets import CLASSES, OUTPUTS

LARGEST_WIDTH: Final = 4096
LARGEST_SIDE: Final = 4096
"""Channels of a level and pixels of the input in a description that is taken."""
FORMAT: Final = "ccaf-lite-parser-2"
PACKAGED_WEIGHTS: Final = Path(__file__).parent / "weights" / "lite.safetensors"
# one key only: safetensors writes several in an arbitrary order, and equal weights should be equal files
_KEY: Final = "ccaf"


@dataclass(frozen=True)
class LiteDescription:
    """What a weights file says about itself.

    Attributes:
        backbone: Name of the encoder's variant.
        stages: How many of its stages are used.
        widths: Channels of the decoder's levels.
        size: Height and width of the network's input.
        outputs: LIP's labels, or one more, for bags.
        margins: Shares of an image's height by which its upper and lower edge are repeated before it is parsed.
        training: What made it: parameters, data counts, seed, versions; for people to read.
    """

    backbone: str = "efficientnet-lite0"
    stages: int = 7
    widths: tuple[int, ...] = (32, 48, 64, 96, 128)
    size: tuple[int, int] = (256, 128)
    outputs: int = CLASSES
    margins: tuple[float, float] = (0.0, 0.0)
    training: dict[str, Any] = field(default_factory=dict)

    def build(self) -> LiteNetwork:
        """A network of this shape with fresh weights."""
        return LiteNetwork(self.outputs, self.backbone, self.stages, self.widths)


def save_lite(path: Path, network: LiteNetwork, description: LiteDescription) -> None:
    """Write the weights file. Batch norms keep full precision: variances can exceed half precision's range."""
    tensors = {}
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        half = tensor.is_floating_point() and tensor.ndim > 1
        tensors[name] = tensor.detach().cpu().to(torch.float16 if half else torch.float32).contiguous()
    about = json.dumps({"format": FORMAT, **asdict(description)}, sort_keys=True)
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: about})


def load_lite(path: Path) -> tuple[LiteNetwork, LiteDescription]:
    """Read a weights file: the network, in full precision and evaluation mode, and its description.

    Raises:
        InputError: The file is missing, damaged, not of this format, or does not fit the network it describes.
    """
    if not path.is_file():
        raise InputError(f"weights of the lite parser not found: {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"weights {path} cannot be read as safetensors: {error}") from error
    description = _describe(metadata, path)
    network = description.build()
    wanted = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    if wanted != set(tensors):
        missing, extra = sorted(wanted - set(tensors)), sorted(set(tensors) - wanted)
        raise InputError(f"weights {path} do not fit the lite parser; missing: {missing}; not known: {extra}")
    check_floats(network.state_dict(), tensors, f"weights {path}")
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
    except RuntimeError as error:
        raise InputError(f"weights {path} do not fit the lite parser: {error}") from error
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise InputError(f"weights {path} hold values that are not finite; the file is damaged or training diverged")
    return network.eval(), description


class _DescriptionFields(Artifact):
    backbone: Word
    stages: int
    widths: list[Annotated[int, Field(ge=1, le=LARGEST_WIDTH)]]
    size: Annotated[list[Annotated[int, Field(ge=1, le=LARGEST_SIDE)]], Field(min_length=2, max_length=2)]
    outputs: Annotated[int, Field(ge=CLASSES, le=OUTPUTS)] = CLASSES
    margins: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2, max_length=2)] = Field(
        default_factory=lambda: [0.0, 0.0]
    )
    training: dict[str, Any]


def _describe(metadata: dict[str, str], path: Path) -> LiteDescription:
    try:
        about: Any = decode_json(metadata[_KEY], f"description in weights {path}")
        if isinstance(about, dict) and about.get("format") != FORMAT:
            raise InputError(f"weights {path} have the format {about.get('format')!r}; this version reads {FORMAT!r}")
        found = _DescriptionFields.model_validate(about)
    except KeyError:
        raise InputError(
            f"weights {path} are not of the lite parser: its description is missing or wrong (there is none)"
        ) from None
    except ValidationError as error:
        raise InputError(
            f"weights {path} are not of the lite parser: its description is missing or wrong ({explain(error)})"
        ) from None
    height, width = found.size
    above, below = found.margins
    description = LiteDescription(
        found.backbone,
        found.stages,
        tuple(found.widths),
        (height, width),
        found.outputs,
        (above, below),
        found.training,
    )
    if height <= 0 or width <= 0 or height % STRIDE or width % STRIDE:
        raise InputError(f"weights {path}: input size {height} x {width} is not a multiple of {STRIDE}")
    if description.backbone not in STAGES or description.stages not in (6, 7) or len(description.widths) != 5:
        raise InputError(
            f"weights {path}: no known network: {description.backbone!r} with {description.stages} stages "
            f"and {len(description.widths)} decoder widths"
        )
    return description
