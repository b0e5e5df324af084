"""Reads a detectron2 configuration, YAML or LazyConfig, and builds its network. Imports the library: see ``compat``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from detectron2.config import CfgNode, LazyConfig, get_cfg, instantiate
from detectron2.modeling import build_model
from detectron2.projects.deeplab import add_deeplab_config
from detectron2.projects.point_rend import add_pointrend_config
from torch import nn

from pipeline.errors import InputError
from pipeline.files import sha256_of_file, sha256_of_value
from pipeline.yaml_files import open_yaml

WRONG_CONFIG: Final = (
    OSError, yaml.YAMLError, UnicodeDecodeError, AssertionError, TypeError, ValueError, KeyError, AttributeError,
    ImportError, RecursionError, RuntimeError,
)  # fmt: skip
"""What the library raises at a configuration that it cannot use."""


@dataclass(frozen=True)
class Configured:
    """A network as a configuration describes it, without trained weights.

    Attributes:
        network: In evaluation mode, on its device.
        input_format: Order of the channels that it takes, ``BGR`` or ``RGB``.
        instance_classes: Number of classes of its instance head; None if it says none.
        semantic_classes: Number of classes of its semantic head; None if it says none.
        test_size: Short side of images at test time that the configuration asks for; None if it says none.
        sha256: Hash of the configuration with everything that it inherits.
    """

    network: nn.Module
    input_format: str
    instance_classes: int | None
    semantic_classes: int | None
    test_size: int | None
    sha256: str


class LocalConfig(CfgNode):  # type: ignore[misc]  # the library has no types
    """Reads files, ``_BASE_`` ones too, from this machine only and within bounds; the library would download them."""

    @classmethod
    def _open_cfg(cls, filename: str) -> Any:
        if "://" in filename:
            raise InputError(f"_BASE_: {filename} is not a file on this machine; download it and name the copy")
        return open_yaml(Path(filename))


def read_config(path: Path, device: str, score_threshold: float, trust: bool, classes: int | None = None) -> Configured:
    """Read a configuration and build its network.

    Args:
        path: A YAML file (``_BASE_`` is followed), or with ``trust`` a LazyConfig ``.py`` file.
        device: Torch device string.
        score_threshold: Instances below it are dropped inside the network already, where the library can be told.
        trust: Allow files that execute code: ``.py``, and YAML with Python tags.
        classes: Number of classes to configure the heads with; None: as the file says.

    Raises:
        InputError: The file is missing, wrong, or not allowed.
    """
    if not path.is_file():
        raise InputError(f"configuration of the parser detectron2 not found: {path}")
    if path.suffix == ".py":
        if not trust:
            raise InputError(
                f"{path} is a LazyConfig, which executes code when it is read: only for a file that you trust, with "
                f"parse.settings.trust=true or --trust"
            )
        return _build(path, lambda: _read_lazy(path, device))
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"configuration {path}: expected .yaml, or .py for a LazyConfig")
    return _build(path, lambda: _read_yaml(path, device, score_threshold, trust, classes))


def _build(path: Path, read: Any) -> Configured:
    try:
        configured: Configured = read()
    except yaml.constructor.ConstructorError as error:
        raise InputError(
            f"configuration {path} has Python tags, which execute code: only for a file that you trust, with "
            f"parse.settings.trust=true or --trust ({error.problem})"
        ) from error
    except WRONG_CONFIG as error:
        raise InputError(f"configuration {path} cannot be used: {type(error).__name__}: {_line(error)}") from error
    configured.network.eval()
    return configured


def _line(error: BaseException) -> str:
    lines = str(error.args[0] if isinstance(error, KeyError) and error.args else error).split("\n")
    return " ".join(line.strip() for line in lines[:2]) or "no message"


def _read_yaml(path: Path, device: str, score_threshold: float, trust: bool, classes: int | None) -> Configured:
    tree = LocalConfig.load_yaml_with_base(str(path), allow_unsafe=trust)
    given = LocalConfig(tree)
    cfg = get_cfg()
    add_pointrend_config(cfg)  # both only add keys and change nothing for other networks
    add_deeplab_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(tree))
    if classes is not None:
        cfg.MODEL.ROI_HEADS.NUM_CLASSES = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = classes
    cfg.MODEL.DEVICE = device
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = score_threshold
    return Configured(
        network=build_model(cfg),
        input_format=_format(cfg.INPUT.FORMAT),
        instance_classes=cfg.MODEL.ROI_HEADS.NUM_CLASSES,
        semantic_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        test_size=cfg.INPUT.MIN_SIZE_TEST,
        sha256=sha256_of_value([given.dump(), classes]),
    )


def _read_lazy(path: Path, device: str) -> Configured:
    cfg = LazyConfig.load(str(path))
    if "model" not in cfg:
        raise ValueError("it has no `model`")
    network = instantiate(cfg.model).to(device)
    return Configured(
        network=network,
        input_format=_format(getattr(network, "input_format", None) or "BGR"),
        instance_classes=cfg.model.get("roi_heads", {}).get("num_classes"),
        semantic_classes=cfg.model.get("sem_seg_head", {}).get("num_classes"),
        test_size=None,
        sha256=sha256_of_file(path),
    )


def _format(name: str) -> str:
    if name not in ("BGR", "RGB"):
        raise ValueError(f"input format {name}: only BGR and RGB are supported")
    return name
