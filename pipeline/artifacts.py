"""The one reader of artifacts that are read back: what another hand, or another version, may have changed.

Every JSON artifact has a model, derived from :class:`Artifact`, whose fields are those that the program uses; types are
strict (no text counts as a number, no number as a text). An error names the file and the field.

Unknown fields are left alone: a newer version of the program may add what an older one need not know. Where an older
version would misread the rest, the artifact has a version of its own (``schema_version`` of shards, ``format`` of
training states), and another version is refused. An unknown field of a network's description is refused, for it
decides the network.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from pipeline.errors import InputError, one_line
from pipeline.location import Place
from pipeline.storage import read_json

SHOWN_PROBLEMS: Final = 3
_SHOWN_PLACE: Final = 80

Count = Annotated[int, Field(ge=0, lt=2**63)]
"""A number of things."""
Sha256 = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
"""Hexadecimal."""
FileName = Annotated[str, Field(pattern=r"\A[^/\\\x00-\x1f]{1,255}\z")]
"""Of a file in the artifact's own folder: no path, so that no artifact leads to a file elsewhere."""
Word = Annotated[str, Field(max_length=1000)]
"""A name or a short text."""


class Artifact(BaseModel):
    """Base of all models of artifacts: frozen, strict, unknown fields left alone."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())

    _plain: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def plain(self) -> dict[str, Any]:
        """The object as it was read, unknown fields included."""
        return self._plain

    @classmethod
    def check(cls, value: Any, where: str, repair: str = "") -> Self:
        """Validate a JSON value.

        Args:
            value: As JSON gives it.
            where: What it is and where it stands, for errors.
            repair: What to do, for errors.

        Raises:
            InputError: A field that is used is missing, or of another type.
        """
        try:
            made = cls.model_validate(value)
        except ValidationError as error:
            raise InputError(f"{where} is damaged ({explain(error)}){f': {repair}' if repair else ''}") from None
        made._plain = dict(value) if isinstance(value, Mapping) else {}
        return made


Model = TypeVar("Model", bound=Artifact)


def explain(error: ValidationError) -> str:
    """The first fields that are wrong, each with what is wrong, as one line."""
    problems = []
    for item in error.errors(include_url=False, include_input=False)[:SHOWN_PROBLEMS]:
        place = ".".join(str(part) for part in item["loc"])[:_SHOWN_PLACE]
        message = item["msg"].removeprefix("Value error, ")
        problems.append(one_line(f"{place}: {message}" if place else message))
    left = error.error_count() - len(problems)
    return "; ".join(problems + [f"and {left} more"] * (left > 0))


def read_json_artifact(
    place: Place,
    what: str,
    model: type[Model],
    *,
    repair: str = "",
) -> Model:
    """Read and validate a JSON artifact, local or remote.

    Args:
        place: The file.
        what: What it is, for errors.
        model: Its fields.
        repair: What to do if it is damaged, for errors.

    Raises:
        InputError: It is missing, no JSON, too large, nested too deep, or a field is missing or of another type.
        StorageError: A remote file system does not answer, or refuses.
    """
    return model.check(read_json(place, what), f"{what} {place}", repair)
