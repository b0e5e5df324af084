"""Methods by name: each is a table of terms with weights over the same code. No network is imported here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

IdentityImages = Literal["shielding", "raw"]

LAMBDA_CON = "lambda_con"
LAMBDA_DIS = "lambda_dis"


@dataclass(frozen=True)
class Method:
    """What is trained.

    Attributes:
        title: One line for reports.
        terms: Terms of the sum with their weights; a name in the place of a number is the parameter that holds it.
        identity_images: From which images stage 1 must have learned the identity prompts.
    """

    title: str
    terms: Mapping[str, float | str]
    identity_images: IdentityImages = "shielding"


_BASELINE: dict[str, float | str] = {"identity": 1.0}
_I2T = {**_BASELINE, "i2t": 1.0}
_IFP = {**_I2T, "identity_shielding": 1.0, "i2t_shielding": 1.0, "centre": LAMBDA_CON}
_ONE_HOT = {**_IFP, "onehot_clothes": 1.0, "disentangle": LAMBDA_DIS}


def _without(terms: Mapping[str, float | str], *names: str) -> dict[str, float | str]:
    return {name: weight for name, weight in terms.items() if name not in names}


METHODS: Mapping[str, Method] = {
    "baseline": Method("cross-entropy and triplet (Table 3, row 1)", _BASELINE),
    "clip-reid": Method("CLIP-ReID: prompts from raw images", _I2T, identity_images="raw"),
    "i2t": Method("baseline and I2T (Table 3, row 2)", _I2T),
    "i2t+i2i": Method("baseline, I2T and I2I (Table 3, row 3)", _IFP),
    "ccaf": Method("the paper's full method, equation (17)", {**_IFP, "i2t_clothes": 1.0, "disentangle": LAMBDA_DIS}),
    "ccaf-onehot": Method("clothes prompts replaced by one-hot labels (Table 4, row 2)", _ONE_HOT),
    "ccaf-onehot-no-shielding-i2t": Method(
        "one-hot clothes labels, without the shielding I2T (Table 4, row 3)", _without(_ONE_HOT, "i2t_shielding")
    ),
    "ccaf-onehot-no-i2t": Method(
        "one-hot clothes labels, without either I2T (Table 4, row 4)", _without(_ONE_HOT, "i2t_shielding", "i2t")
    ),
    "cal": Method("CAL on the baseline", {**_BASELINE, "cal_classifier": 1.0, "cal_adversarial": 1.0}),
    "ccaf-plus": Method(
        "I2T, alignment to the frozen encoder's shielding features, posteriors over a person's own clothes to uniform",
        {**_I2T, "target_alignment": 20.0, "clothes_uniform_own": 10.0},
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
    method: str, parameters: Mapping[str, float], overrides: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Weights of the terms of a method.

    Args:
        method: Its name.
        parameters: Weights that are parameters of their own (``lambda_con``, ``lambda_dis``).
        overrides: Weights by term, over the method's; a term that the method lacks is added.

    Returns:
        Terms whose weight is not 0: a term of weight 0 is not computed.
    """
    weights = {
        name: parameters[weight] if isinstance(weight, str) else weight
        for name, weight in find_method(method).terms.items()
    }
    weights |= overrides or {}
    return {name: weight for name, weight in weights.items() if weight != 0}
