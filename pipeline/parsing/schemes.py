"""Label schemes: which number means which part of a person, and which of them are clothes by default.

Numbers and names are those of the data sets LIP (Gong et al. 2017), ATR (Liang et al. 2015) and Pascal-Person-Part
(Chen et al. 2014).
"""

from dataclasses import dataclass

from pipeline.errors import InputError


@dataclass(frozen=True)
class LabelScheme:
    """A numbering of label maps.

    Attributes:
        name: Short name, such as ``lip``.
        labels: Name of each label number; number 0 is the background.
        clothes: Label numbers that the shielding image covers by default; empty if the scheme has no clothes.
    """

    name: str
    labels: tuple[str, ...]
    clothes: frozenset[int]

    def numbers_of(self, names: list[str]) -> frozenset[int]:
        """Turn label names into numbers.

        Raises:
            InputError: A name is not in the scheme, or the list is empty.
        """
        unknown = [name for name in names if name not in self.labels]
        if unknown:
            raise InputError(
                f"label scheme {self.name} has no label {', '.join(unknown)}; it has: {', '.join(self.labels)}"
            )
        if not names:
            raise InputError("the list of clothes labels is empty; name at least one label")
        return frozenset(self.labels.index(name) for name in names)

    def clothes_labels(self, names: list[str] | None) -> frozenset[int]:
        """The clothes labels: those named by the user, else the scheme's default.

        Raises:
            InputError: The scheme has no clothes labels and none were named.
        """
        if names is not None:
            return self.numbers_of(names)
        if not self.clothes:
            raise InputError(
                f"label scheme {self.name} has body parts but no clothes labels, so a clothes mask cannot be made "
                f"from it; choose another parser, or name the labels to cover in parse.clothes_labels"
            )
        return self.clothes


LIP = LabelScheme(
    name="lip",
    labels=(
        "background", "hat", "hair", "glove", "sunglasses", "upper-clothes", "dress", "coat", "socks", "pants",
        "jumpsuits", "scarf", "skirt", "face", "left-arm", "right-arm", "left-leg", "right-leg", "left-shoe",
        "right-shoe",
    ),
    clothes=frozenset({5, 6, 7, 9, 10, 12}),
)  # fmt: skip

ATR = LabelScheme(
    name="atr",
    labels=(
        "background", "hat", "hair", "sunglasses", "upper-clothes", "skirt", "pants", "dress", "belt", "left-shoe",
        "right-shoe", "face", "left-leg", "right-leg", "left-arm", "right-arm", "bag", "scarf",
    ),
    clothes=frozenset({4, 5, 6, 7, 8}),
)  # fmt: skip

PASCAL = LabelScheme(
    name="pascal",
    labels=("background", "head", "torso", "upper-arms", "lower-arms", "upper-legs", "lower-legs"),
    clothes=frozenset(),
)

SCHEMES = {scheme.name: scheme for scheme in (LIP, ATR, PASCAL)}
