"""Small drawn people, a small network's shape, and folders like those of CCP and of the walkers."""

import json
from pathlib import Path

import cv2
import numpy as np

from pipeline.images import encode_image, encode_label_map
from pipeline.parsing.lite.checkpoint import LiteDescription
from pipeline.parsing.lite.encoder import STAGES, Stage

CCP_NAMES = ["null", "skin", "hair", "shirt", "jeans", "shoes", "bag", "belt"]

# an encoder of the same layout as the real one that trains in moments
STAGES["tiny"] = (
    Stage(1, 3, 1, 8, 1), Stage(2, 3, 2, 8, 2), Stage(2, 5, 2, 8, 1),
    Stage(2, 3, 2, 8, 1), Stage(2, 5, 1, 8, 1), Stage(2, 5, 2, 8, 1),
)  # fmt: skip
SMALL = LiteDescription("tiny", 6, (8, 8, 8, 8, 8), (64, 32))


def ccp_person(height: int = 120, width: int = 80) -> np.ndarray:
    """CCP label map of a person who faces the camera, arms hanging, 100 pixels tall."""
    labels = np.zeros((height, width), np.uint8)
    labels[10:14, 34:46] = 2  # hair
    labels[14:26, 35:45] = 1  # face and neck
    labels[28:60, 30:50] = 3  # shirt
    labels[40:62, 24:28] = 1  # arm on the image's left
    labels[40:62, 52:56] = 1  # arm on the image's right
    labels[60:62, 30:50] = 7  # belt
    labels[62:76, 30:50] = 4  # short jeans
    labels[76:102, 31:37] = 1  # leg on the image's left
    labels[76:102, 43:49] = 1  # leg on the image's right
    labels[103:110, 29:38] = 5  # shoe on the image's left
    labels[103:110, 42:51] = 5  # shoe on the image's right
    labels[66:74, 54:62] = 6  # bag
    return labels


def picture_of(labels: np.ndarray, seed: int) -> np.ndarray:
    """A picture in which each label has a colour, with noise."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (256, 3))
    noisy = colours[labels] + rng.normal(0, 6, (*labels.shape, 3))
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)


def write_ccp(folder: Path, numbers: list[int]) -> None:
    (folder / "photos").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "label_list.json").write_text(json.dumps(CCP_NAMES))
    for number in numbers:
        labels = ccp_person()
        done, data = cv2.imencode(".jpg", picture_of(labels, number)[:, :, ::-1])
        assert done
        (folder / "photos" / f"{number:04d}.jpg").write_bytes(data.tobytes())
        (folder / "labels" / f"{number:04d}.png").write_bytes(encode_label_map(labels))


def write_walkers(folder: Path, split: str, count: int) -> None:
    (folder / split).mkdir(parents=True)
    (folder / "labels" / split).mkdir(parents=True)
    labels = np.zeros((64, 32), np.uint8)
    labels[4:12, 12:20], labels[12:34, 8:24], labels[34:60, 10:22] = 13, 5, 9
    for number in range(count):
        image = picture_of(labels, number)
        (folder / split / f"0001_1_c1_{number}.jpg").write_bytes(encode_image(image))
        (folder / "labels" / split / f"0001_1_c1_{number}.png").write_bytes(encode_label_map(labels))
