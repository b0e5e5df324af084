"""Methods by name: each is a row of terms over the same code."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.losses.registry import TERMS
from pipeline.settings import SettingsGroup

IdentityImages = Literal["shielding", "raw"]


@dataclass(frozen=True)
class Method:
    """What is trained.

    Attributes:
        title: One line for reports.
        terms: Terms of the sum, by name; each brings its weight along.
        identity_images: From which images stage 1 must have learned the identity prompts.
    """

    title: str
    terms: tuple[str, ...]
    identity_images: IdentityImages = "shielding"


_BASELINE = ("identity",)
_I2T = (*_BASELINE, "i2t")
_IFP = (*_I2T, "identity_shielding", "i2t_shielding", "centre")
_ONE_HOT = (*_IFP, "onehot_clothes", "disentangle")


def _without(terms: tuple[str, ...], *names: str) -> tuple[str, ...]:
    return tuple(name for name in terms if name not in names)


METHODS: Mapping[str, Method] = {
    "baseline": Method("cross-entropy and triplet (Table 3, row 1)", _BASELINE),
    "clip-reid": Method("CLIP-ReID: prompts from raw images", _I2T, identity_images="raw"),
    "i2t": Method("baseline and I2T (Table 3, row 2)", _I2T),
    "i2t+i2i": Method("baseline, I2T and I2I (Table 3, row 3)", _IFP),
    "ccaf": Method("the paper's full method, equation (17)", (*_IFP, "i2t_clothes", "disentangle")),
    "ccaf-onehot": Method("clothes prompts replaced by one-hot labels (Table 4, row 2)", _ONE_HOT),
    "ccaf-onehot-no-shielding-i2t": Method(
        "one-hot clothes labels, without the shielding I2T (Table 4, row 3)", _without(_ONE_HOT, "i2t_shielding")
    ),
    "ccaf-onehot-no-i2t": Method(
        "one-hot clothes labels, without either I2T (Table 4, row 4)", _without(_ONE_HOT, "i2t_shielding", "i2t")
    ),
    "cal": Method("CAL on the baseline", (*_BASELINE, "cal_classifier", "cal_adversarial")),
    "captions": Method(
        "baseline with texts of single images, after DIFFER",
        (*_BASELINE, "caption_align", "caption_examine", "caption_orthogonal"),
    ),
    "ccaf-plus": Method(
        "I2T, alignment to the frozen encoder's shielding features, posteriors over a person's own clothes to uniform",
        (*_I2T, "target_alignment", "clothes_uniform_own"),
    ),
}


def find_method(name: str) -> Method:
    """The method of a name.

    Raises:
        ValueError: There is none; the message lists the names.
    """
    if name not in METHODS:
        raise ValueError(f"unknown method; methods are: {', '.join(METHODS)}")
    return METHODS[name]


def identity_images(method: str, wanted: IdentityImages | Literal["auto"] = "auto") -> IdentityImages:
    """Which images identity prompts are learned from: as wanted, or as the method needs.

    Raises:
        ValueError: There is no such method.
    """
    return find_method(method).identity_images if wanted == "auto" else wanted


def term_weights(
    method: str, settings: SettingsGroup, overrides: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Weights of the terms of a method.

    Args:
        method: Its name.
        settings: Those of the losses, some of which hold a weight (``lambda_con``, ``lambda_dis``).
        overrides: Weights by term, over the terms' own; a term that the method lacks is added.

    Returns:
        Terms whose weight is not 0: a term of weight 0 is not computed.

    Raises:
        ValueError: There is no such method.
    """
    weights = {}
    for name in find_method(method).terms:
        weight = TERMS[name].weight
        weights[name] = float(getattr(settings, weight) if isinstance(weight, str) else weight)
    weights |= overrides or {}
    return {name: weight for name, weight in weights.items() if weight != 0}
