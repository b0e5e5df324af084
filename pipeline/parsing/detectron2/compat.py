"""What detectron2 0.6 needs on today's numpy and Pillow, before its first import; newer sources are left alone.

The release 0.6 (October 2021) imports its compiled module where only rotated boxes and deformable convolutions need it,
and uses names that numpy and Pillow have dropped. Upstream's main branch calls itself 0.6 too, so the sources tell the
two apart: only those of the release import ``_C`` in ``layers/rotated_boxes.py``.
"""

import importlib
import importlib.util
import sys
import threading
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from pipeline.errors import InputError

INSTALL: Final = "pip install 'ccaf-pipeline[detectron2]', then python -m pipeline.parsing.detectron2.install"
"""How users get the library."""

COMPILED: Final = "detectron2._C"

_LOCK = threading.Lock()


def package_folder() -> Path | None:
    """Folder of the installed library, found without importing it; None if there is none."""
    spec = importlib.util.find_spec("detectron2")
    # a folder that happens to have this name is a namespace without an origin
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def is_release(folder: Path) -> bool:
    """Whether these are sources of the release 0.6, which need help, and not of upstream's main branch."""
    source = folder / "layers" / "rotated_boxes.py"
    return source.is_file() and "from detectron2 import _C" in source.read_text()


def prepare() -> None:
    """Make the release 0.6 importable: an empty compiled module and the old names, each only where it is missing.

    Safe to call from several threads, and again.
    """
    folder = package_folder()
    if folder is None or not is_release(folder):
        return
    with _LOCK:
        if COMPILED not in sys.modules and not any(folder.glob("_C*.so")) and not any(folder.glob("_C*.pyd")):
            sys.modules[COMPILED] = ModuleType(COMPILED, "Empty: this detectron2 was not compiled.")
        image: Any = importlib.import_module("PIL.Image")
        if not hasattr(image, "LINEAR"):
            image.LINEAR = image.BILINEAR  # as Pillow before version 10 had it
        numpy: Any = importlib.import_module("numpy")
        for name, kind in (("bool", bool), ("int", int), ("float", float), ("str", str)):
            if name not in vars(numpy):
                setattr(numpy, name, kind)


def require_library() -> None:
    """Import the library.

    Raises:
        InputError: It is not installed, or cannot be imported.
    """
    if package_folder() is None:
        raise InputError(f"the parser detectron2 needs the library detectron2, which is not installed: {INSTALL}")
    prepare()
    try:
        with _LOCK, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
            importlib.import_module("detectron2.modeling")
        # torch says so of a call whose default the library means
        warnings.filterwarnings("ignore", message="torch.meshgrid: in an upcoming release")
    except ImportError as error:
        raise InputError(f"detectron2 is installed but cannot be imported ({error}): {INSTALL}") from error


def has_compiled_operators() -> bool:
    """Whether deformable convolutions and rotated boxes can run; call after :func:`require_library`."""
    try:
        return hasattr(importlib.import_module(COMPILED), "deform_conv_forward")
    except ImportError:
        return False
