"""The terms of stage 2 by name: a new loss is one file with ``TERMS``, with ``SETTINGS`` if any, and one line here."""

from collections.abc import Iterable, Mapping
from importlib import import_module

from pipeline.errors import InputError
from pipeline.losses.terms import Term
from pipeline.settings import SettingsGroup

LOSSES = (
    "identity",
    "image_text",
    "centre_alignment",
    "disentangle",
    "onehot_clothes",
    "cal",
    "target_alignment",
    "clothes_uniform",
    "captions",
)
"""Files of this folder, in the order of the sum."""

_MODULES = tuple(import_module(f"pipeline.losses.{name}") for name in LOSSES)


def _collect(groups: Iterable[Mapping[str, Term]]) -> dict[str, Term]:
    found: dict[str, Term] = {}
    for terms in groups:
        doubled = found.keys() & terms.keys()
        if doubled:
            raise ValueError(f"two losses have the name {', '.join(sorted(doubled))}")
        found |= terms
    return found


TERMS: Mapping[str, Term] = _collect(module.TERMS for module in _MODULES)
"""Every term by its name, in the order of the sum."""

LOSS_SETTINGS: tuple[type[SettingsGroup], ...] = tuple(
    module.SETTINGS for module in _MODULES if hasattr(module, "SETTINGS")
)
"""The settings of every loss that has some; together they are a part of the section ``encoder``."""


def find_terms(names: Iterable[str]) -> dict[str, Term]:
    """The terms of some names, in the order of the registry.

    Raises:
        InputError: A name is not known.
    """
    wanted = set(names)
    unknown = sorted(wanted - TERMS.keys())
    if unknown:
        raise InputError(f"encoder.weights: {', '.join(unknown)} is not a term; terms are: {', '.join(TERMS)}")
    return {name: term for name, term in TERMS.items() if name in wanted}
