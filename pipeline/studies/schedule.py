"""Which step comes next: what is finished is not done again, runs are finished early, a failure stays local.

A finished step has a note beside its artifact. It counts as long as the step's own fingerprint, the artifacts that it
read and the artifact itself are what they were. So a step that is done again and gives the same artifact costs nothing
further down.

Of the steps that could start, those that score what is finished come first: they are short, and a table can be read
early. Then one slot always has the step with the longest path behind it, so that what everything waits for (the CLIP,
the prompts) is not left to the end. All other slots work at the run that is nearest its end, the first seed's before
the second's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from pipeline.artifacts import Artifact, Word, read_json_artifact
from pipeline.config.deciding import Kind
from pipeline.errors import InputError
from pipeline.files import write_json
from pipeline.studies.steps import Step

NOTE_SUFFIX = ".step.json"
SCORING: frozenset[Kind] = frozenset({"features", "metrics"})
"""Short steps that are done as soon as they can be."""
Identify = Callable[[Step], str | None]
"""Hash of a step's artifact as it is on disk; None if it is not whole."""


@dataclass(frozen=True)
class Note:
    """What is known of a finished step.

    Attributes:
        output: Hash of its artifact.
        seconds: That it took.
        code: Digest of the program that made it.
    """

    output: str
    seconds: float
    code: str


class _NoteFields(Artifact):
    kind: Word
    fingerprint: Word
    made_of: dict[str, Any]
    code: Word
    inputs: dict[Word, Word]
    output: Word
    seconds: Annotated[float, Field(ge=0)]


def note_path(folder: Path, step: Step) -> Path:
    """Where the note of a step is kept."""
    return folder / f"{step.name}{NOTE_SUFFIX}"


def write_note(path: Path, step: Step, inputs: Mapping[str, str], output: str, seconds: float) -> None:
    """Say that a step is finished.

    Args:
        path: Of the note.
        step: The step.
        inputs: Hashes of the artifacts that it read, by role.
        output: Hash of its own.
        seconds: That it took.
    """
    value = {
        "kind": step.kind,
        "fingerprint": step.fingerprint,
        "made_of": dict(step.made_of),
        "code": step.code,
        "inputs": dict(inputs),
        "output": output,
        "seconds": seconds,
    }
    write_json(path, value)


def read_note(path: Path, step: Step, inputs: Mapping[str, str], any_code: bool = False) -> Note | None:
    """The note of a step, if it is of this very step on these inputs.

    Args:
        path: Of the note.
        step: The step.
        inputs: Hashes of the artifacts that it would read, by role.
        any_code: Whether a note counts that another version of the program made.
    """
    try:
        found = read_json_artifact(path, "note", _NoteFields)
    except InputError:  # of another version, or damaged: the step is done again
        return None
    if any_code:
        same = found.kind == step.kind and found.made_of == dict(step.made_of)
    else:
        same = found.fingerprint == step.fingerprint
    return Note(found.output, found.seconds, found.code) if same and found.inputs == dict(inputs) else None


def _ends_of(steps: Mapping[str, Step]) -> dict[str, frozenset[str]]:
    """The last steps (metrics, leakage) that need a step, itself included if nothing reads it, by its name."""
    readers: dict[str, list[str]] = {name: [] for name in steps}
    for name, step in steps.items():
        for needed in step.inputs.values():
            readers[needed].append(name)
    ends: dict[str, frozenset[str]] = {}
    for name in reversed(list(steps)):
        ends[name] = (
            frozenset().union(*(ends[reader] for reader in readers[name])) if readers[name] else frozenset({name})
        )
    return ends


@dataclass
class Schedule:
    """The state of a plan's work.

    Args:
        steps: By name; every step comes after its inputs.
        folder: Of the notes.
        identify: Hash of an artifact on disk.
        any_code: See :func:`read_note`.
        slots: Steps that run at once.
        turns: Which of the last steps (metrics, leakage) are wanted first: a number by name, 0 where there is none.

    Attributes:
        notes: Of the finished steps, by name.
        failures: Why steps cannot be done, by name.
        reused: Steps that an earlier call finished.
        outdated: Steps that differ from finished ones in nothing but the program.
    """

    steps: Mapping[str, Step]
    folder: Path
    identify: Identify
    any_code: bool = False
    slots: int = 1
    turns: Mapping[str, int] = field(default_factory=dict)
    notes: dict[str, Note] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    reused: set[str] = field(default_factory=set)
    outdated: set[str] = field(default_factory=set)
    _running: set[str] = field(default_factory=set)
    _waiting: list[str] = field(default_factory=list)
    _leading: set[str] = field(default_factory=set)
    _urgency: dict[str, float] = field(default_factory=dict)
    _ends: dict[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        after = dict.fromkeys(self.steps, 0.0)
        for name in reversed(list(self.steps)):
            self._urgency[name] = self.steps[name].cost + after[name]
            for needed in self.steps[name].inputs.values():
                after[needed] = max(after[needed], self._urgency[name])
        self._ends = _ends_of(self.steps)
        self._waiting = list(self.steps)
        self._look()

    def inputs_of(self, step: Step) -> dict[str, str]:
        """Hashes of the artifacts that a step reads, all of them finished."""
        return {**step.given, **{role: self.notes[name].output for role, name in step.inputs.items()}}

    def _look(self) -> None:
        """Find out which waiting steps are finished already, or cannot be done."""
        left = []
        for name in self._waiting:  # inputs come first, so one pass sees everything
            step = self.steps[name]
            needed = step.inputs.values()
            broken = next((other for other in needed if other in self.failures), None)
            if broken is not None:
                self.failures[name] = self.failures[broken]
                continue
            if all(other in self.notes for other in needed):
                note = read_note(note_path(self.folder, step), step, self.inputs_of(step), self.any_code)
                if note is not None and self.identify(step) == note.output:
                    self.notes[name] = note
                    self.reused.add(name)
                    continue
                if not self.any_code and read_note(note_path(self.folder, step), step, self.inputs_of(step), True):
                    self.outdated.add(name)
            left.append(name)
        self._waiting = left

    def take(self, fits: Callable[[Step], bool] = lambda step: True) -> Step | None:
        """The ready step that is to start next, of those that fit; None if there is none."""
        ready = [
            name
            for name in self._waiting
            if all(other in self.notes for other in self.steps[name].inputs.values()) and fits(self.steps[name])
        ]
        if not ready:
            return None
        scoring = [name for name in ready if self.steps[name].kind in SCORING]
        name = max(ready, key=lambda name: self._urgency[name])  # of equals the first in the plan
        if not scoring and self._must_lead(name):
            self._leading.add(name)
        else:
            name = self._nearest_end(scoring or ready)
        self._waiting.remove(name)
        self._running.add(name)
        return self.steps[name]

    def _must_lead(self, name: str) -> bool:
        """Whether the step with the longest path behind it has to start now, before what would finish a run."""
        if self.slots > 1 and not self._leading & self._running:
            return True
        return self._urgency[name] * self.slots >= self.cost_left  # any later, and all the others would wait for it

    def _nearest_end(self, ready: list[str]) -> str:
        """The step that a run needs whose turn it is and that has the least work left."""
        left: dict[str, float] = {}  # estimated seconds until each last step is done
        for name in (*self._waiting, *self._running):
            for end in self._ends[name] - self.failures.keys():
                left[end] = left.get(end, 0.0) + self.steps[name].cost

        def rank(name: str) -> tuple[float, float]:
            ends = self._ends[name] & left.keys()
            return min(((self.turns.get(end, 0), left[end]) for end in ends), default=(inf, inf))

        return min(ready, key=rank)

    def finish(self, step: Step, output: str, seconds: float) -> None:
        """A step that was taken is done: its artifact is ``output``."""
        write_note(note_path(self.folder, step), step, self.inputs_of(step), output, seconds)
        self._running.discard(step.name)
        self.notes[step.name] = Note(output, seconds, step.code)
        self._look()

    def fail(self, step: Step, reason: str) -> None:
        """A step that was taken failed; what needs it is not done."""
        self._running.discard(step.name)
        self.failures[step.name] = reason
        self._look()

    @property
    def over(self) -> bool:
        """Whether nothing is left to be done."""
        return not self._waiting and not self._running

    @property
    def running(self) -> frozenset[str]:
        """Steps that were taken and are not done."""
        return frozenset(self._running)

    @property
    def left(self) -> tuple[str, ...]:
        """Steps that are to be done, in the plan's order; some of them may be running."""
        left = {*self._waiting, *self._running}
        return tuple(name for name in self.steps if name in left)

    @property
    def missing(self) -> int:
        """Steps that are to be done."""
        return len(self._waiting) + len(self._running)

    @property
    def cost_left(self) -> float:
        """Estimated seconds of the steps that are to be done."""
        return sum(self.steps[name].cost for name in (*self._waiting, *self._running))
