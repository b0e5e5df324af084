"""Settings of every training: numbers, memory, states to go on from. A part of the section ``training``."""

from typing import Literal

from pydantic import Field

from pipeline.settings import SettingsGroup

CHANGE_NO_RESULT = frozenset(
    {"save_minutes", "save_steps", "max_failures", "tensorboard", "recompute_activations", "accumulation", "compile"}
)
"""Of :class:`TrainerSettings`, but for rounding."""


OF_CUDA = frozenset({"deterministic", "tf32"})
"""Of :class:`TrainerSettings`: they decide the result on CUDA and change nothing on a CPU."""


class TrainerSettings(SettingsGroup):
    """How a training runs: numbers, memory, states to go on from."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="Numbers that the networks compute with; weights and losses stay fp32. auto: bf16 on a GPU that "
        "has it, else fp32; what it became is recorded. fp16 needs CUDA.",
    )
    tf32: bool | Literal["auto"] = Field(
        "auto",
        description="On CUDA, let products of fp32 round their factors to TF32 (10 bits), which is faster. auto: where "
        "precision is bf16 or fp16, for what stays in fp32 beside them; false: full fp32, as on a CPU.",
    )
    deterministic: bool = Field(
        False, description="On CUDA, use only algorithms that repeat every bit; slower. Changes nothing on a CPU."
    )
    compile: bool | Literal["auto"] = Field(
        "auto",
        description="Compile the encoders of stage 2 with torch.compile, which takes a minute or more at the first "
        "step and needs a C compiler. Not with recompute_activations or accumulation. auto: trainings of 4,000 steps "
        "or more in one process on CUDA, if there is a compiler, but for deterministic ones; the record says whether "
        "it was done.",
    )
    recompute_activations: bool = Field(
        False,
        description="Gradient checkpointing in stage 2: less memory, by estimate a third more time, equal gradients.",
    )
    accumulation: int = Field(
        1,
        ge=1,
        description="Parts in which a batch of stage 2 goes through the encoders; the losses see the whole batch.",
    )
    clip_gradients: float | None = Field(
        None, gt=0, description="Largest norm of all gradients together; null: not clipped."
    )
    save_minutes: float = Field(
        5.0, gt=0, description="Minutes between two saved states from which an interrupted run goes on."
    )
    save_steps: int = Field(0, ge=0, description="Steps between two saved states; 0: by time only.")
    max_failures: int = Field(3, ge=0, description="How often workers may die before the run fails.")
    tensorboard: bool = Field(False, description="Also write curves for TensorBoard, into <out>-tensorboard.")
