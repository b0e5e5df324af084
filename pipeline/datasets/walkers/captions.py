"""Captions of a walker: of the person alone, of the clothes alone, and of both."""

from collections.abc import Mapping

from pipeline.datasets.walkers.factors import FACTORS, NOT_APPLICABLE


def _name(values: Mapping[str, int], factor: str) -> str:
    return FACTORS[factor].names[values[factor]]


def _with_colour(hair_style: str, colour: str) -> str:
    """``long hair``, ``blond`` -> ``long blond hair``; ``a bun`` -> ``blond hair in a bun``."""
    if hair_style.endswith(" hair"):
        return f"{hair_style.removesuffix(' hair')} {colour} hair"
    return f"{colour} hair in {hair_style}"


def identity_words(values: Mapping[str, int]) -> str:
    """What the identity factors say, as the end of a sentence about a person."""
    parts = [
        f"{_name(values, 'skin')} skin",
        _with_colour(_name(values, "hair_style"), _name(values, "hair_colour")),
    ]
    parts += [_name(values, factor) for factor in ("beard", "glasses") if values[factor]]
    text = f"with {', '.join(parts[:-1])} and {parts[-1]}, of {_name(values, 'build')} build"
    if values["carried"]:
        article, bag = _name(values, "carried").split(" ", 1)
        text += f", carrying {article} {_name(values, 'bag_colour')} {bag}"
    return text


def clothes_words(values: Mapping[str, int]) -> str:
    """What the clothes factors say, as a list of things."""
    upper = [_name(values, "upper_colour"), _name(values, "upper_texture"), _name(values, "upper_type")]
    parts = [" ".join(word for word in upper if word != "plain")]
    if values["lower_type"] != NOT_APPLICABLE:
        lower = [_name(values, "lower_colour"), _name(values, "lower_texture"), _name(values, "lower_type")]
        parts.append(" ".join(word for word in lower if word != "plain"))
    parts += [_name(values, factor) for factor in ("hat", "scarf") if values[factor]]
    return f"{', '.join(parts)} and {_name(values, 'shoe_colour')} shoes"


def captions(values: Mapping[str, int]) -> dict[str, str]:
    """The three captions of an image by column name; ``values`` holds every identity and clothes factor."""
    person, clothes = identity_words(values), clothes_words(values)
    return {
        "caption_identity": f"a photo of a person {person}.",
        "caption_clothes": f"a photo of clothes: {clothes}.",
        "caption_full": f"a photo of a person {person}, wearing {clothes}.",
    }
