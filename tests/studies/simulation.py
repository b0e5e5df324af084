"""A study played through with a clock of its own: steps take what the test says, and the real schedule orders them."""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.studies.rows import Plan
from pipeline.studies.schedule import Schedule
from pipeline.studies.steps import Step


@dataclass
class Simulation:
    """Slots that do the steps of a plan.

    Attributes:
        plan: What is done.
        folder: Of the notes.
        seconds: That each step takes, by name.
        slots: Steps at once.
        now: Seconds since the beginning.
        ended: When each step ended, by name.
    """

    plan: Plan
    folder: Path
    seconds: Mapping[str, float]
    slots: int
    now: float = 0.0
    ended: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        turns = self.plan.turns
        self.schedule = Schedule(self.plan.steps, self.folder, lambda step: None, slots=self.slots, turns=turns)

    def play(self, look: Callable[[], None] = lambda: None, tick: float = float("inf"), broken: str = "") -> None:
        """Do everything; ``look`` is called whenever a step has ended, and every ``tick`` seconds."""
        running: list[tuple[float, str]] = []
        while not self.schedule.over:
            while len(running) < self.slots and (step := self.schedule.take()) is not None:
                heapq.heappush(running, (self.now + self.seconds[step.name], step.name))
            look()
            while running[0][0] > self.now + tick:
                self.now += tick
                look()
            self.now, name = heapq.heappop(running)
            self._end(self.plan.steps[name], name == broken)
        look()

    def _end(self, step: Step, is_broken: bool) -> None:
        self.ended[step.name] = self.now
        if is_broken:
            self.schedule.fail(step, "broken")
        else:
            self.schedule.finish(step, "hash", self.seconds[step.name])
