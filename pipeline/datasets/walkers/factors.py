"""What can differ between walkers: the identity, the outfit, and the names and phrases of every factor's values."""

from dataclasses import dataclass
from typing import Final

import numpy as np

NOT_APPLICABLE: Final = -1
"""Value of a factor that this person or outfit does not have, such as the colour of no bag."""

COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "black": (34, 33, 36),
    "white": (232, 231, 226),
    "grey": (132, 133, 136),
    "red": (186, 38, 40),
    "orange": (224, 122, 40),
    "yellow": (228, 200, 62),
    "green": (58, 132, 66),
    "blue": (62, 122, 200),
    "navy": (34, 42, 92),
    "purple": (112, 58, 140),
    "pink": (228, 140, 168),
    "brown": (112, 78, 52),
}
HAIR_COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "black": (30, 27, 28),
    "brown": (100, 64, 40),
    "blond": (220, 184, 108),
    "red": (170, 74, 34),
    "grey": (138, 138, 142),
    "white": (228, 226, 222),
}
BAG_COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "black": (30, 30, 32),
    "brown": (124, 82, 50),
    "red": (180, 44, 46),
    "green": (66, 120, 70),
    "blue": (56, 96, 170),
    "yellow": (222, 190, 70),
}
SHOE_COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "black": (28, 28, 30),
    "white": (226, 226, 224),
    "brown": (108, 72, 46),
    "red": (170, 44, 44),
    "blue": (54, 84, 150),
    "grey": (120, 122, 126),
}
SKIN_ANCHORS: Final = np.array(
    [(248, 218, 198), (234, 192, 160), (206, 156, 118), (160, 110, 74), (112, 74, 50), (78, 52, 40)], dtype=np.float64
)
"""RGB of the skin tones 0, 0.2, ... 1; tones between them are interpolated."""

SLEEVES: Final = ("no", "short", "long")
TEXTURES: Final = ("plain", "striped", "pinstriped", "checked", "dotted", "printed")


@dataclass(frozen=True)
class Factor:
    """A named factor with countable values.

    Attributes:
        names: Name of each value, for people and captions.
        phrase: Sentence with ``{}`` in the place of the value's name.
        of_clothes: Whether it belongs to the outfit; otherwise it belongs to the identity.
    """

    names: tuple[str, ...]
    phrase: str
    of_clothes: bool = False

    def phrases(self) -> list[str]:
        """One sentence a value."""
        return [self.phrase.format(name) for name in self.names]


FACTORS: Final[dict[str, Factor]] = {
    "skin": Factor(("pale", "light", "tanned", "brown", "dark"), "a photo of a person with {} skin."),
    "hair_style": Factor(
        ("short hair", "a bob haircut", "long hair", "a ponytail", "a bun", "an afro"), "a photo of a person with {}."
    ),
    "hair_colour": Factor(tuple(HAIR_COLOURS), "a photo of a person with {} hair."),
    "beard": Factor(("no beard", "a beard"), "a photo of a person with {}."),
    "glasses": Factor(("no glasses", "glasses", "sunglasses"), "a photo of a person with {}."),
    "build": Factor(("slim", "average", "broad"), "a photo of a person of {} build."),
    "legs": Factor(("short", "long"), "a photo of a person with {} legs."),
    "stride": Factor(("short", "long"), "a photo of a person who walks with {} steps."),
    "carried": Factor(("nothing", "a backpack", "a handbag", "a shoulder bag"), "a photo of a person carrying {}."),
    "bag_colour": Factor(tuple(BAG_COLOURS), "a photo of a person with a {} bag."),
    "upper_type": Factor(
        ("t-shirt", "shirt", "sweater", "tank top", "jacket", "coat", "dress"), "a photo of a {}.", True
    ),
    "upper_colour": Factor(tuple(COLOURS), "a photo of a {} top.", True),
    "upper_texture": Factor(TEXTURES, "a photo of a {} top.", True),
    "upper_sleeves": Factor(SLEEVES, "a photo of a top with {} sleeves.", True),
    "lower_type": Factor(("trousers", "shorts", "short skirt", "long skirt"), "a photo of {}.", True),
    "lower_colour": Factor(tuple(COLOURS), "a photo of {} trousers or skirt.", True),
    "lower_texture": Factor(TEXTURES, "a photo of {} trousers or skirt.", True),
    "fit": Factor(("tight", "loose"), "a photo of {} clothes.", True),
    "shoe_colour": Factor(tuple(SHOE_COLOURS), "a photo of {} shoes.", True),
    "hat": Factor(("no hat", "a cap"), "a photo of a person wearing {}.", True),
    "scarf": Factor(("no scarf", "a scarf"), "a photo of a person wearing {}.", True),
}


def value_of(factor: str, name: str) -> int:
    """Number of a factor's value by its name."""
    return FACTORS[factor].names.index(name)


@dataclass(frozen=True)
class Identity:
    """A person without clothes. Lengths are shares of the body's height unless said otherwise.

    Attributes:
        skin_tone: From 0 (palest) to 1 (darkest).
        hair_style: Value of the factor of that name, as are the next four.
        hair_colour: See ``FACTORS``.
        beard: See ``FACTORS``.
        glasses: See ``FACTORS``.
        carried: See ``FACTORS``.
        bag_colour: See ``FACTORS``; not applicable without a bag.
        hair_tint: RGB added to the hair colour.
        head: Height of the head.
        face_width: Width of the head as a share of its height.
        brow: Thickness of the eyebrows, 0 to 1.
        shoulder: Half the distance of the shoulder joints.
        hip: Half the width of the hips.
        girth: Factor of all limb widths and of the waist.
        leg: Height of the hip joint above the ground.
        stance: Distance of the feet, as a multiple of the hip joints'.
        swing: Largest angle of the legs, radians.
        arm_swing: Largest angle of the arms, radians.
        arm_spread: How far the arms stand off the body, radians.
        lean: Forward lean of the trunk, radians.
    """

    skin_tone: float
    hair_style: int
    hair_colour: int
    beard: int
    glasses: int
    carried: int
    bag_colour: int
    hair_tint: tuple[float, float, float]
    head: float
    face_width: float
    brow: float
    shoulder: float
    hip: float
    girth: float
    leg: float
    stance: float
    swing: float
    arm_swing: float
    arm_spread: float
    lean: float

    def values(self) -> dict[str, int]:
        """Value of every identity factor."""
        return {
            "skin": min(int(self.skin_tone * 5), 4),
            "hair_style": self.hair_style,
            "hair_colour": self.hair_colour,
            "beard": self.beard,
            "glasses": self.glasses,
            "build": int(np.digitize(self.girth, (0.94, 1.08))),
            "legs": int(self.leg > LEG_MIDDLE),
            "stride": int(self.swing > SWING_MIDDLE),
            "carried": self.carried,
            "bag_colour": self.bag_colour,
        }


LEG_MIDDLE: Final = 0.485
SWING_MIDDLE: Final = 0.36


def draw_identity(generator: np.random.Generator) -> Identity:
    """Draw a person; every factor is independent of the others, but for beards, which need short hair or an afro."""
    hair_style = int(generator.integers(6))
    beard_possible = hair_style in (value_of("hair_style", "short hair"), value_of("hair_style", "an afro"))
    carried = int(generator.choice(4, p=(0.4, 0.25, 0.15, 0.2)))
    girth = float(generator.uniform(0.82, 1.2))
    bag_colour = int(generator.integers(len(BAG_COLOURS)))
    return Identity(
        skin_tone=float(generator.uniform(0, 1)),
        hair_style=hair_style,
        hair_colour=int(generator.integers(len(HAIR_COLOURS))),
        beard=int(generator.random() < 0.5) if beard_possible else 0,
        glasses=int(generator.choice(3, p=(0.6, 0.28, 0.12))),
        carried=carried,
        bag_colour=bag_colour if carried else NOT_APPLICABLE,
        hair_tint=(float(generator.normal(0, 6)), float(generator.normal(0, 5)), float(generator.normal(0, 5))),
        head=float(generator.uniform(0.178, 0.202)),
        face_width=float(generator.uniform(0.68, 0.84)),
        brow=float(generator.uniform(0, 1)),
        shoulder=float(generator.uniform(0.098, 0.124)) * (0.75 + 0.25 * girth),
        hip=float(generator.uniform(0.076, 0.092)) * (0.6 + 0.4 * girth),
        girth=girth,
        leg=float(generator.uniform(0.455, 0.515)),
        stance=float(generator.uniform(0.7, 1.5)),
        swing=float(generator.uniform(0.2, 0.52)),
        arm_swing=float(generator.uniform(0.1, 0.55)),
        arm_spread=float(generator.uniform(0.04, 0.22)),
        lean=float(generator.uniform(-0.01, 0.08)),
    )


def skin_colour(tone: float) -> tuple[float, float, float]:
    """RGB of a skin tone between 0 and 1."""
    position = np.linspace(0, 1, len(SKIN_ANCHORS))
    red, green, blue = (float(np.interp(tone, position, SKIN_ANCHORS[:, channel])) for channel in range(3))
    return red, green, blue
