"""PRCC: ``rgb/{train,val}/<pid>/<A|B|C>_*.jpg`` and ``rgb/test/{A,B,C}/<pid>/*.jpg``.

Cameras A, B and C are 1, 2 and 3. A person wears one outfit before A and B, and another before C.
"""

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.readers.names import Labels, compile_name, read_named_split, without_ending
from pipeline.datasets.readers.registry import Source, register_reader

CAMERAS = {"A": 1, "B": 2, "C": 3}
OUTFITS = {"A": 0, "B": 0, "C": 1}
_TRAIN_NAME = compile_name(r"(\d{1,18})/([ABC])_[^/]+")
_TEST_NAME = compile_name(r"(\d{1,18})/[^/]+")


def parse_train_name(path: str) -> Labels | None:
    """Labels of a path below ``rgb/train`` or ``rgb/val``; None for other names."""
    match = _TRAIN_NAME.fullmatch(without_ending(path))
    return None if match is None else Labels(int(match[1]), CAMERAS[match[2]], OUTFITS[match[2]])


def parse_test_name(path: str, camera: str) -> Labels | None:
    """Labels of a path below ``rgb/test/<camera>``; None for other names."""
    match = _TEST_NAME.fullmatch(without_ending(path))
    return None if match is None else Labels(int(match[1]), CAMERAS[camera], OUTFITS[camera])


@register_reader("prcc")
def read_prcc(source: Source, rows: ManifestBuilder) -> None:
    """Add the splits train, val, test_a, test_b and test_c; the contour sketches are left alone."""
    for split in ("train", "val"):
        read_named_split(source.folder, f"rgb/{split}", split, parse_train_name, rows)
    for camera in CAMERAS:

        def parse(path: str, camera: str = camera) -> Labels | None:
            return parse_test_name(path, camera)

        read_named_split(source.folder, f"rgb/test/{camera}", f"test_{camera.lower()}", parse, rows)
