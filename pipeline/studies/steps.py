"""The steps of a study: what each makes, from what, and everything that decides its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import Parameters
from pipeline.config.deciding import Kind
from pipeline.files import sha256_of_value


@dataclass(frozen=True)
class Step:
    """One piece of work with one artifact.

    Attributes:
        name: Path of the artifact below the study's folder; unique.
        kind: What is done.
        parameters: All of them, with paths filled in.
        places: What is read and written, by role; ``out`` is the artifact.
        inputs: Steps whose artifacts are read, by role.
        made_of: Everything else that decides the result, JSON-like.
        code: Digest of the program's files that decide it.
        given: Hashes of artifacts that are read and that no step makes, by role. They count as inputs do, so that it is
            the same to a step whether shards were there before the study or were parsed by it.
        cost: Estimated seconds, for the order of work and for the time left.
    """

    name: str
    kind: Kind
    parameters: Parameters
    places: Mapping[str, Path]
    inputs: Mapping[str, str]
    made_of: Mapping[str, Any]
    code: str = ""
    cost: float = 1.0
    given: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        value = {"kind": self.kind, "made_of": dict(self.made_of), "code": self.code}
        object.__setattr__(self, "fingerprint", sha256_of_value(value))

    @property
    def of_rendered(self) -> bool:
        """Whether it reads walkers that the study rendered: shards of them are the study's own."""
        return "data" in self.inputs

    @property
    def out(self) -> Path:
        """The artifact."""
        return self.places["out"]
