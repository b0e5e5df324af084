"""From a model's own class names to a label scheme."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipeline.errors import InputError
from pipeline.garments import is_garment, normalise_name
from pipeline.labels import SCHEMES, LabelScheme

BACKGROUNDS: Final = frozenset({"background", "none", "nothing", "unlabeled", "unlabelled", "void"})
"""Normalised names of the class that means nobody."""

MOST_CLASSES: Final = 256
"""A label map has 8 bits."""


@dataclass(frozen=True)
class ModelLabels:
    """What a model's classes mean.

    Attributes:
        scheme: The label scheme of the parser.
        numbers: Label number of each class of the model.
    """

    scheme: LabelScheme
    numbers: tuple[int, ...]


def own_labels(name: str, classes: Sequence[str], adds_background: bool = False) -> ModelLabels:
    """A scheme made of the model's own class names; one of the known schemes if they are its labels.

    Args:
        name: Of the scheme.
        classes: Name of each class.
        adds_background: Where no class is the background, it is a label of its own, for pixels of no class.

    Raises:
        InputError: The names do not tell which class is the background, or are empty or the same but for spelling.
    """
    names = [normalise_name(each) for each in classes]
    for known in SCHEMES.values():
        if tuple(names) == known.labels:
            return ModelLabels(known, tuple(range(len(names))))
    advice = "name a scheme in parse.settings.scheme and map the classes in parse.settings.labels"
    background = [index for index, each in enumerate(names) if each in BACKGROUNDS]
    if not background and adds_background and len(names) < MOST_CLASSES:
        own = own_labels(name, ["background", *classes])
        return ModelLabels(own.scheme, own.numbers[1:])
    if len(background) != 1:
        raise InputError(
            f"the class names of the model {name} ({_some(classes)}) do not tell which one is the background; {advice}"
        )
    twice = sorted({each for each in names if names.count(each) > 1 or not each})
    if twice:
        raise InputError(f"the class names of the model {name} are not distinct ({_some(twice)}); {advice}")
    # the background has number 0 in every scheme, whatever its class
    order = background + [index for index in range(len(names)) if index not in background]
    clothes = frozenset(number for number, index in enumerate(order) if is_garment(classes[index]))
    only_garments = len(clothes) == len(names) - 1
    scheme = LabelScheme(normalise_name(name), tuple(names[index] for index in order), clothes, only_garments)
    return ModelLabels(scheme, tuple(order.index(index) for index in range(len(names))))


def mapped_labels(classes: Sequence[str], scheme: LabelScheme, labels: Mapping[str, str]) -> ModelLabels:
    """The numbers of a given scheme for the model's classes.

    Args:
        classes: Name of each class.
        scheme: The scheme.
        labels: Label of the scheme by class name, for classes that are not called as in the scheme.

    Raises:
        InputError: A class has no label, or ``labels`` names a class or a label that does not exist.
    """
    unknown = [each for each in labels if each not in classes]
    if unknown:
        raise InputError(
            f"parse.settings.labels: the model has no class {_some(unknown)}; it has: {', '.join(classes)}"
        )
    by_name = {normalise_name(label): number for number, label in enumerate(scheme.labels)}
    numbers = {each: by_name.get(normalise_name(labels.get(each, each))) for each in classes}
    wrong = [labels[each] for each in labels if numbers[each] is None]
    if wrong:
        raise InputError(
            f"parse.settings.labels: label scheme {scheme.name} has no label {_some(wrong)}; "
            f"it has: {', '.join(scheme.labels)}"
        )
    left = [each for each in classes if numbers[each] is None]
    if left:
        raise InputError(
            f"label scheme {scheme.name} has no label for the model's classes {', '.join(left)}; map each to one of "
            f"its labels in parse.settings.labels, such as {{{left[0]}: {scheme.labels[0]}}}"
        )
    found = tuple(number for each in classes if (number := numbers[each]) is not None)
    only_garments = scheme.garments_only or set(found) <= {0, *scheme.clothes}
    return ModelLabels(replace(scheme, garments_only=only_garments), found)


def class_names(id2label: Mapping[int, str]) -> list[str]:
    """Names of the classes 0, 1, 2, ... from a model's configuration.

    Raises:
        InputError: Numbers are missing, or there are more classes than a label map can hold.
    """
    if sorted(id2label) != list(range(len(id2label))) or not 2 <= len(id2label) <= MOST_CLASSES:
        raise InputError(
            f"id2label of the model's config.json must number 2 to {MOST_CLASSES} classes from 0 on; "
            f"it has {len(id2label)}"
        )
    return [str(id2label[number]) for number in range(len(id2label))]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
