"""The terms of stage 2 by name: a new loss is one file with ``TERMS``, and one line here."""

from collections.abc import Iterable, Mapping

from pipeline.errors import InputError
from pipeline.losses import (
    cal,
    centre_alignment,
    clothes_uniform,
    disentangle,
    identity,
    image_text,
    onehot_clothes,
    target_alignment,
)
from pipeline.losses.terms import Term


def _collect(modules: Iterable[Mapping[str, Term]]) -> dict[str, Term]:
    found: dict[str, Term] = {}
    for terms in modules:
        doubled = found.keys() & terms.keys()
        if doubled:
            raise ValueError(f"two losses have the name {', '.join(sorted(doubled))}")
        found |= terms
    return found


TERMS: Mapping[str, Term] = _collect(
    (
        identity.TERMS,
        image_text.TERMS,
        centre_alignment.TERMS,
        disentangle.TERMS,
        onehot_clothes.TERMS,
        cal.TERMS,
        target_alignment.TERMS,
        clothes_uniform.TERMS,
    )
)


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
