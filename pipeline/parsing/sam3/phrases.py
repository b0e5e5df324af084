"""Which phrase stands for which label: the packaged set, and what a user puts in its place."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from pipeline.errors import InputError
from pipeline.labels import LabelScheme, find_scheme
from pipeline.settings import SettingsGroup
from pipeline.yaml_files import read_yaml

FILE: Final = Path(__file__).parent / "phrases.yaml"
PERSON: Final = "person"
"""The label of what the phrase of whole persons finds, in schemes that have it."""


class PhraseFacts(SettingsGroup):
    """The packaged set of phrases, and the model that they are for."""

    title: str = Field(description="what the model is")
    model: str = Field(description="its name on the Hugging Face hub")
    licence: str = Field(description="what its authors allow, in a few words")
    scheme: dict[str, Any] = Field(description="label scheme")
    person: str = Field(description="phrase of whole persons")
    phrases: dict[str, str] = Field(description="phrase of each label")


@cache
def load_facts() -> PhraseFacts:
    """The packaged set."""
    return PhraseFacts.model_validate(read_yaml(FILE, "phrases"))


@dataclass(frozen=True)
class Phrases:
    """What the model is asked for, and the label number of what each phrase finds.

    Attributes:
        texts: The phrases.
        targets: Label number of each; None: what is found is not painted.
        scheme: Of the label numbers.
        person: Place of the phrase of whole persons; None: there is none.
    """

    texts: tuple[str, ...]
    targets: tuple[int | None, ...]
    scheme: LabelScheme
    person: int | None


def choose_phrases(
    scheme: str | Mapping[str, Any] | None, phrases: Mapping[str, str | None] | None, person: str | None
) -> Phrases:
    """Put together the packaged phrases and what the user says, who wins.

    Args:
        scheme: Label scheme by name or description; None: the packaged one.
        phrases: Phrase of each label, None to leave the label out; they are added to the packaged ones of the labels
            that the scheme has.
        person: Phrase of whole persons; None: they are not looked for.

    Raises:
        InputError: A label is not in the scheme, a phrase is empty or stands for two labels, or there is none.
    """
    facts = load_facts()
    found = find_scheme(facts.scheme if scheme is None else scheme)
    labels = found.labels[1:]
    unknown = [label for label in phrases or {} if label not in labels]
    if unknown:
        raise InputError(
            f"parse.settings.phrases: label scheme {found.name} has no label {unknown[0]!r}; it has: "
            f"{', '.join(labels)}"
        )
    if PERSON in (phrases or {}):
        raise InputError("the phrase of whole persons is parse.settings.person, not one of parse.settings.phrases")
    merged = {**{label: text for label, text in facts.phrases.items() if label in labels}, **(phrases or {})}
    chosen = {label: " ".join(text.split()) for label, text in merged.items() if text is not None}
    asked = [*chosen.values(), *([] if person is None else [" ".join(person.split())])]
    twice = [text for text in asked if not text or asked.count(text) > 1]
    if twice:
        raise InputError(f"parse.settings.phrases: the phrase {twice[0]!r} is empty, or stands for two labels")
    if not chosen:
        raise InputError(
            f"parse.settings.phrases gives no label of the scheme {found.name} a phrase; its labels are: "
            f"{', '.join(labels)}"
        )
    targets: list[int | None] = [found.labels.index(label) for label in chosen]
    rest = found.labels.index(PERSON) if person is not None and PERSON in labels else None
    painted = {*targets, rest} - {None}
    found = replace(found, garments_only=found.garments_only or painted <= found.clothes)
    return Phrases(
        tuple(asked), tuple([*targets, rest] if person is not None else targets), found,
        None if person is None else len(chosen),
    )  # fmt: skip
