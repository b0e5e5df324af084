"""Augmentation: from a street photograph to something like a detector's crop of a surveillance camera.

Three steps, each on uint8 images: the crop (:func:`random_crop`), the scene (background, clothes' colours, occlusion,
bystanders) and the camera (:mod:`pipeline.parsing.lite.training.camera`: light, blur, few pixels, compression, noise).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.images import LabelMap, Mask, RgbImage
from pipeline.labels import LIP
from pipeline.parsing.lite.targets import BAG, IGNORE, NO_PERSON, mirror
from pipeline.parsing.lite.training.behind import turn_away
from pipeline.parsing.lite.training.camera import degrade, surveil
from pipeline.parsing.lite.training.carried import carry
from pipeline.parsing.lite.training.crops import Example, person_box, person_mask, whole_view

Rng = np.random.Generator
HAIR = LIP.labels.index("hair")
FACING, TURNED = 0.45, 0.8
"""Share of backpacks among the bags of people who face the camera, and of others."""
RECOLOURED = LIP.numbers_of(["socks", "scarf", "left-shoe", "right-shoe"]) | LIP.clothes | {BAG}


@dataclass(frozen=True)
class Augmentation:
    """How often each change is made, and how strong it may be.

    Attributes:
        background: Probability of another background.
        recolour: Probability that garments change colour; also that of a printed pattern, divided by five.
        occlusion: Probability of one or two boxes over the person.
        bystander: Probability of a second person, mostly hidden by the frame or the first.
        close: Probability of a crop that shows a part of the person only.
        degrade: Scales the probabilities of every camera effect.
        behind: Probability of a head that is turned away, where one shows hair and face.
        dark: Probability of dark garments, and mostly dark hair, in place of colours.
        carry: Probability of a bag on the person.
        surveil: Probability of a poor camera on top: night, motion, sharpening, strong compression.
    """

    background: float = 0.35
    recolour: float = 0.6
    occlusion: float = 0.25
    bystander: float = 0.15
    close: float = 0.12
    degrade: float = 1.0
    behind: float = 0.0
    dark: float = 0.0
    carry: float = 0.0
    surveil: float = 0.0

    def times(self, factor: float) -> "Augmentation":
        """The same with every probability multiplied by ``factor``."""
        return Augmentation(**{name: factor * value for name, value in asdict(self).items()})


SURVEILLANCE: Final = Augmentation(close=0.08, behind=0.3, dark=0.2, carry=0.45, surveil=0.2)
"""For crops of surveillance cameras; see the guide for what it costs."""


def augment(
    example: Example, others: Sequence[Example], size: tuple[int, int], settings: Augmentation, rng: Rng
) -> tuple[RgbImage, LabelMap]:
    """One random view of ``example``.

    Args:
        example: With a person in it.
        others: Photographs to take backgrounds, bystanders and patches from.
        size: Height and width of the view.
        settings: Probabilities.
        rng: Every random choice comes from it.

    Returns:
        Image uint8 (height, width, 3) and target uint8 (height, width).
    """
    image, target = random_crop(example, size, settings.close, rng)
    if rng.random() < 0.5:
        image, target = np.ascontiguousarray(image[:, ::-1]), mirror(target)
    # an effect of no probability draws no number: without the newer ones, views are those of earlier versions
    facing = target
    if settings.behind and rng.random() < settings.behind:
        image, target = turn_away(image, target, rng)
    if rng.random() < settings.recolour:
        image = recolour_garments(image, target, rng)
    if settings.dark and rng.random() < settings.dark:
        image = darken(image, target, rng)
    if settings.carry and rng.random() < settings.carry:
        image, target = carry(image, target, others, FACING if target is facing else TURNED, rng)
    if rng.random() < settings.background:
        image = blend(image, _background(others, size, rng), target != 0, rng)
    if rng.random() < settings.bystander:
        image = add_bystander(image, target, others[int(rng.integers(len(others)))], rng)
    if rng.random() < settings.occlusion:
        image, target = occlude(image, target, others, rng)
    if settings.surveil and rng.random() < settings.surveil:
        image = surveil(image, rng)
    return degrade(image, settings.degrade, rng), target


def augment_walker(example: Example, size: tuple[int, int], rng: Rng) -> tuple[RgbImage, LabelMap]:
    """One random view of a walker: whole or cropped anew, flipped, through half as many camera effects.

    Walkers are rendered with many scenes, colours and cameras already, and the parser meets them whole.
    """
    if rng.random() < 0.3:
        image, target = random_crop(example, size, 0.0, rng)
    else:
        view = whole_view(example, size)
        image, target = view.image, view.target
    if rng.random() < 0.5:
        image, target = np.ascontiguousarray(image[:, ::-1]), mirror(target)
    # walkers carry bags, which their labels do not tell from the background
    return degrade(image, 0.5, rng), np.where(target == 0, np.uint8(NO_PERSON), target)


def random_crop(example: Example, size: tuple[int, int], close: float, rng: Rng) -> tuple[RgbImage, LabelMap]:
    """A crop around the person, as a detector might place it, squeezed to ``size`` (height, width)."""
    height, width = size
    box = person_box(example.target)
    if rng.random() < close:
        tall = box.height * rng.uniform(0.5, 0.9)
        centre_y = box.top + rng.uniform(0.35, 0.65) * box.height
    else:
        tall = box.height * rng.uniform(0.94, 1.28)
        centre_y = box.top + box.height * (0.5 + rng.uniform(-0.06, 0.06))
    # a detector's box is as wide as the person, so that wide poses are squeezed and narrow ones stretched
    wide = tall * rng.uniform(0.32, 0.62)
    if rng.random() < 0.5:
        wide = max(wide, 1.05 * box.width)
    centre_x = box.left + box.width * 0.5 + wide * rng.uniform(-0.1, 0.1)
    angle, shear = np.radians(rng.uniform(-7, 7)), rng.uniform(-0.06, 0.06)
    # from the view's pixels to the photograph's: scale, then shear and turn about the centre
    turn = np.array([[np.cos(angle), -np.sin(angle) + shear], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([wide / width, tall / height])
    offset = np.array([centre_x, centre_y]) - matrix @ np.array([width / 2, height / 2])
    warp = np.hstack([matrix, offset[:, None]])
    border = cv2.BORDER_REPLICATE if rng.random() < 0.6 else cv2.BORDER_REFLECT_101
    source = example.image
    if tall > 1.5 * height:
        source = cv2.GaussianBlur(source, (0, 0), 0.35 * tall / height).astype(np.uint8, copy=False)
    image = cv2.warpAffine(
        source, warp, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border
    )
    target = cv2.warpAffine(
        example.target, warp, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, borderValue=0
    )
    if border == cv2.BORDER_REFLECT_101:
        # a reflected person is one without labels; what lies outside the photograph teaches nothing then
        inside = cv2.warpAffine(
            np.ones_like(example.target), warp, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        )
        target[inside == 0] = IGNORE
    return image.astype(np.uint8, copy=False), target.astype(np.uint8, copy=False)


def recolour_garments(image: RgbImage, target: LabelMap, rng: Rng) -> RgbImage:
    """Change hue, saturation and lightness of each garment by itself, and sometimes print a pattern on it."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    changed = False
    for label in np.unique(target):
        if int(label) not in RECOLOURED or rng.random() < 0.3:
            continue
        where = target == label
        values = lab[where]
        light = values[:, 0]
        mean = light.mean()
        goal = rng.uniform(15, 240)
        values[:, 0] = goal + (light - mean) * rng.uniform(0.6, 1.4)
        turn, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.6)
        a, b = values[:, 1] - 128, values[:, 2] - 128
        values[:, 1] = 128 + stretch * (np.cos(turn) * a - np.sin(turn) * b) + rng.normal(0, 14)
        values[:, 2] = 128 + stretch * (np.sin(turn) * a + np.cos(turn) * b) + rng.normal(0, 14)
        if rng.random() < 0.2:
            values += _pattern(where, rng)[:, None] * np.array([1.0, rng.normal(0, 0.4), rng.normal(0, 0.4)])
        lab[where] = values
        changed = True
    if not changed:
        return image
    new = cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)
    return np.asarray(new, dtype=np.uint8)


def darken(image: RgbImage, target: LabelMap, rng: Rng) -> RgbImage:
    """Make every garment nearly black or of a dark colour, and mostly the hair: what is hardest to tell apart."""
    labels = [int(label) for label in np.unique(target) if int(label) in RECOLOURED]
    if rng.random() < 0.7:
        labels.append(HAIR)
    values = image.astype(np.float32)
    for label in labels:
        where = target == label
        if not where.any() or (label != HAIR and rng.random() < 0.2):
            continue
        pixels = values[where]
        goal = rng.uniform(8, 48) + rng.normal(0, 6, 3)
        values[where] = (pixels - pixels.mean(axis=0)) * rng.uniform(0.2, 0.7) + goal
    return np.clip(values, 0, 255).astype(np.uint8)


def _pattern(where: Mask, rng: Rng) -> NDArray[np.float32]:
    """Stripes or checks at the true pixels of ``where``."""
    rows, columns = np.nonzero(where)
    period, angle = rng.uniform(4, 22), rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    wave = np.sin(2 * np.pi * (rows * np.cos(angle) + columns * np.sin(angle)) / period)
    if rng.random() < 0.5:
        wave = wave + np.sin(2 * np.pi * (columns * np.cos(angle) - rows * np.sin(angle)) / period)
    return np.asarray(np.sign(wave - rng.uniform(-0.5, 0.5)) * rng.uniform(10, 60), dtype=np.float32)


def blend(image: RgbImage, background: RgbImage, keep: Mask, rng: Rng) -> RgbImage:
    """Put ``background`` where ``keep`` is false, with an edge as soft as a camera's."""
    alpha = cv2.GaussianBlur(keep.astype(np.float32), (0, 0), rng.uniform(0.4, 1.2))[..., None]
    return np.asarray(image * alpha + background * (1 - alpha), dtype=np.uint8)


def _background(others: Sequence[Example], size: tuple[int, int], rng: Rng) -> RgbImage:
    """A scene without its person: a strip beside the person of another photograph, or flat colours and noise."""
    height, width = size
    if rng.random() < 0.15:
        corners = rng.uniform(0, 255, (2, 1, 3)) + rng.normal(0, 8, (2, 1, 3))
        flat = cv2.resize(corners.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        noise = rng.normal(0, rng.uniform(2, 30), (height // 4, width // 4, 3)).astype(np.float32)
        return np.asarray(np.clip(flat + cv2.resize(noise, (width, height)), 0, 255), dtype=np.uint8)
    other = others[int(rng.integers(len(others)))]
    box = person_box(other.target)
    rows, columns = other.target.shape
    left_wide = box.left >= columns - box.left - box.width
    start, stop = (0, box.left) if left_wide else (box.left + box.width, columns)
    if stop - start < 12:
        start, stop = (0, 12) if left_wide else (columns - 12, columns)
    tall = int(rng.uniform(0.4, 1.0) * rows)
    top = int(rng.integers(rows - tall + 1))
    strip = other.image[top : top + tall, start:stop]
    if rng.random() < 0.5:
        strip = strip[:, ::-1]
    return np.asarray(cv2.resize(np.ascontiguousarray(strip), (width, height)), dtype=np.uint8)


def add_bystander(image: RgbImage, target: LabelMap, other: Example, rng: Rng) -> RgbImage:
    """Show somebody else behind the person and towards the frame's edge; a bystander is background, as in LIP."""
    height, width = target.shape
    box = person_box(other.target)
    tall = height * rng.uniform(0.7, 1.1)
    scale = box.height / tall
    side = rng.choice([-1.0, 1.0])
    centre_x = width * (0.5 + side * rng.uniform(0.42, 0.65))
    centre_y = height * rng.uniform(0.3, 0.6)
    warp = np.array(
        [
            [scale, 0, box.left + box.width / 2 - scale * centre_x],
            [0, scale, box.top + box.height / 2 - scale * centre_y],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    second = cv2.warpAffine(other.image, warp, (width, height), flags=flags).astype(np.uint8, copy=False)
    shape = cv2.warpAffine(person_mask(other.target).astype(np.uint8), warp, (width, height), flags=flags)
    keep = (target != 0) | (shape == 0)
    return blend(image, second, keep, rng)


def occlude(image: RgbImage, target: LabelMap, others: Sequence[Example], rng: Rng) -> tuple[RgbImage, LabelMap]:
    """Cover one or two boxes with a piece of another photograph or a flat colour; they become background."""
    image, target = image.copy(), target.copy()
    rows, columns = target.shape
    for _ in range(int(rng.integers(1, 3))):
        tall, wide = int(rows * rng.uniform(0.06, 0.3)), int(columns * rng.uniform(0.12, 0.5))
        top, left = int(rng.integers(rows - tall)), int(rng.integers(columns - wide))
        if rng.random() < 0.5:
            patch: NDArray[np.uint8] = np.broadcast_to(rng.integers(0, 256, 3), (tall, wide, 3)).astype(np.uint8)
        else:
            patch = _background(others, (tall, wide), rng)
        image[top : top + tall, left : left + wide] = patch
        target[top : top + tall, left : left + wide] = 0
    return image, target
