"""What ``benchmarks/gpu.py`` measures of networks of random weights: products, and steps of both stages."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pipeline.losses.terms import Known
from pipeline.models.casting import cast_together
from pipeline.models.clip import Clip, load_clip
from pipeline.models.compiling import compile_encoder
from pipeline.models.image_encoder import ImageEncoder, image_encoders, use_fast_layout
from pipeline.models.prompts import CLOTHES_TEMPLATE, IDENTITY_TEMPLATE, PromptLearner
from pipeline.models.settings import ModelSettings
from pipeline.precision import Precision, PrecisionName
from pipeline.trainer.distributed import tensor_fields
from pipeline.trainer.engine import Engine, TrainingRun
from pipeline.trainer.gradients import weighted_sum
from pipeline.trainer.loop import train
from pipeline.trainer.record import hardware, peak_memory
from pipeline.trainer.task import BatchT, Epoch, FeaturesT, LabelsT, Plan, Task
from pipeline.training.batches import EncoderBatch
from pipeline.training.captions import ABOUT
from pipeline.training.encoder_task import EncoderTask, make_optimizer
from pipeline.training.methods import METHODS, term_weights
from pipeline.training.prompt_task import PromptBatch, PromptTask
from pipeline.training.settings import AllEncoderSettings

Row = dict[str, Any]

IDENTITIES, CLOTHES = 150, 300
PER_IDENTITY = 4
LEARNING_RATE = 1e-6
SETTINGS = AllEncoderSettings(learning_rate=LEARNING_RATE)
WARM_UP = 3
BACKWARD = 2
"""A backward pass multiplies as much as two forward passes: once for the inputs, once for the weights."""
SHORT: dict[str, PrecisionName] = {"bf16": "bf16", "fp16": "fp16", "tf32": "fp32", "fp32": "fp32"}
KINDS = {"bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float32, "fp32": torch.float32}


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        model: open_clip name.
        image: Height and width in pixels.
        pairs: Images of a batch.
        steps: Steps of one measurement.
        matrix: Rows of the square matrices.
        images: Images to extract features of.
    """

    model: str
    image: tuple[int, int]
    pairs: int
    steps: int
    matrix: int
    images: int


FULL = Size("ViT-B-16-quickgelu", (256, 128), pairs=64, steps=12, matrix=8192, images=2048)
QUICK = Size("walker-clip", (64, 32), pairs=8, steps=2, matrix=256, images=16)


def is_cuda(device: str) -> bool:
    """Whether it is a device of CUDA."""
    return torch.device(device).type == "cuda"


def precisions(device: str) -> list[str]:
    """What a device can compute with, the most useful first."""
    return ["bf16", "fp16", "tf32", "fp32"] if is_cuda(device) else ["bf16", "fp32"]


def allow_tf32(allowed: bool) -> None:
    """Whether float32 products of a GPU round their factors to TF32; set before each measurement."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def wait(device: str) -> None:
    """Until the device has done everything that it was given."""
    if is_cuda(device):
        torch.cuda.synchronize(device)


def milliseconds(work: Callable[[], object], device: str, times: int, warm_up: int = WARM_UP) -> float:
    """Of one call, mean over ``times``."""
    for _ in range(warm_up):
        work()
    wait(device)
    started = time.perf_counter()
    for _ in range(times):
        work()
    wait(device)
    return 1000 * (time.perf_counter() - started) / times


def forward_flops(encoder: ImageEncoder, size: tuple[int, int]) -> int:
    """Floating-point operations of one image's forward pass: two for each multiplication and addition.

    Counted without computing: matrix products, convolutions and attention; the rest is a thousandth.
    """
    model = deepcopy(encoder).to("meta")
    counter = FlopCounterMode(display=False)
    with counter:
        model(torch.empty(1, 3, *size, device="meta"))
    return int(counter.get_total_flops())


def card(device: str, size: Size) -> Iterator[Row]:
    """The card, its software, and what its matrix product really does."""
    row: Row = {**hardware(device), "torch": torch.__version__, "cuda": torch.version.cuda}
    if is_cuda(device):
        properties = torch.cuda.get_device_properties(device)
        row |= {"memory_gigabytes": round(properties.total_memory / 1e9, 1), "driver": _driver()}
    yield row
    for precision in precisions(device):
        allow_tf32(precision == "tf32")
        left, right = (torch.randn(size.matrix, size.matrix, device=device, dtype=KINDS[precision]) for _ in range(2))
        ms = milliseconds(lambda one=left, other=right: one @ other, device, size.steps)  # type: ignore[misc]
        yield {"precision": precision, "rows": size.matrix, "tflops": 2 * size.matrix**3 / ms / 1e9}


def _driver() -> str | None:
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError):
        return None


def load(size: Size) -> Clip:
    """The model with random weights, on the CPU."""
    return load_clip(ModelSettings(name=size.model, pretrained=None, image_size=size.image))


def make_task(clip: Clip, method: str, device: str, size: Size) -> EncoderTask:
    """Stage 2 of a method with random texts and targets."""
    encoder = deepcopy(clip.image_encoder)
    generator = torch.Generator().manual_seed(0)
    task = EncoderTask(
        encoder,
        term_weights(method, SETTINGS),
        identities=IDENTITIES,
        seed=0,
        settings=SETTINGS,
        identity_texts=torch.randn(IDENTITIES, encoder.projected_dim, generator=generator),
        clothes_texts=torch.randn(CLOTHES, encoder.projected_dim, generator=generator),
        identity_clothes=torch.arange(CLOTHES).reshape(IDENTITIES, -1),
        targets=torch.randn(size.pairs, encoder.hidden_dim + encoder.projected_dim, generator=generator),
        captions={about: torch.randn(size.pairs, encoder.projected_dim, generator=generator) for about in ABOUT},
    )
    task = task.to(device).train()
    use_fast_layout(task)
    return task


def make_batch(device: str, size: Size) -> EncoderBatch:
    """Random images that are on the device already: data are measured by ``benchmarks/reading.py``."""
    places = torch.arange(size.pairs)
    identities = places // PER_IDENTITY
    raw, shielding = (torch.randn(size.pairs, 3, *size.image).to(device) for _ in range(2))
    clothes = 2 * identities + places % 2
    cameras = torch.zeros_like(places)
    dressed, (_, members, counts) = torch.nonzero(clothes >= 0)[:, 0], torch.unique(identities, True, True, True)
    return EncoderBatch(
        raw=raw,
        shielding=shielding,
        identities=identities.to(device),
        clothes_classes=clothes.to(device),
        rows=places.to(device),
        cameras=cameras.to(device),
        known=Known(dressed.to(device), members.to(device), counts.float().to(device)),
    )


def bare_step(task: EncoderTask, batch: EncoderBatch, precision: Precision, optimizer: torch.optim.Optimizer) -> None:
    """Forward, backward and optimizer of the image encoders alone, with a gradient for each of their outputs."""
    optimizer.zero_grad(set_to_none=True)
    with precision.autocast():
        features = task.encode(batch)
    outputs = [tensor for tensor in tensor_fields(features).values() if tensor.requires_grad]
    precision.backward(torch.stack([tensor.float().mean() for tensor in outputs]).sum())
    precision.step(optimizer)


def train_milliseconds(
    task: Task[BatchT, FeaturesT, LabelsT],
    batch: BatchT,
    optimizer: torch.optim.Optimizer,
    weigh: Callable[[int, int, Any], Tensor | None],
    engine: Engine,
    steps: int,
) -> float:
    """Of one step of the real training loop; a first epoch warms up. Only the first rank keeps the time; else nan."""
    ends: list[float] = []

    def epoch_done(_: TrainingRun) -> None:
        wait(engine.device)
        ends.append(time.perf_counter())

    plan = Plan(
        what="benchmark",
        epochs=2,
        epoch_of=lambda _number, start: Epoch(steps, iter([batch] * (steps - start))),
        rate_at=lambda _position: LEARNING_RATE,
        weigh=weigh,
    )
    train(task, optimizer, plan, replace(engine, epoch_done=epoch_done, quiet=True))
    return 1000 * (ends[1] - ends[0]) / steps if engine.ranks.first else nan


def reset_peak(device: str) -> None:
    """Forget the memory of rows before."""
    if is_cuda(device):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_gigabytes(device: str) -> float | None:
    """The networks' memory on a GPU since :func:`reset_peak`.

    On a CPU one process measures everything, and its peak says nothing of a row.
    """
    return round(peak_memory(device)["cuda"] / 1e9, 3) if is_cuda(device) else None


def step(device: str, size: Size, methods: Sequence[str] = ()) -> Iterator[Row]:
    """A step of stage 2 of every method beside the bare step of the same encoders: the most useful rows first."""
    wanted = list(methods or METHODS)
    wanted.sort(key=lambda name: name != "ccaf")
    available = precisions(device)
    order = [(wanted[0], precision) for precision in available]
    order += [(method, precision) for precision in available for method in wanted[1:]]
    return _steps(device, size, order, compiling=False)


def compiled(device: str, size: Size) -> Iterator[Row]:
    """The same with encoders that ``torch.compile`` has compiled, as ``training.compile`` does; so is the bare step."""
    return _steps(device, size, [(method, "bf16") for method in ("ccaf", "ccaf-plus")], compiling=True)


def compiled_graphs() -> int:
    """Graphs that this process has compiled so far."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def _steps(device: str, size: Size, order: Sequence[tuple[str, str]], compiling: bool) -> Iterator[Row]:
    """Rows of methods and precisions; a bare step is measured once for each number of encoders and precision."""
    clip = load(size)
    image_flops = forward_flops(clip.image_encoder, size.image)
    batch = make_batch(device, size)
    bare: dict[tuple[int, str], float] = {}
    for method, precision in order:
        allow_tf32(precision == "tf32")
        task = make_task(clip, method, device, size)
        encoders = len(image_encoders(task))
        for encoder in image_encoders(task):
            if compiling:
                compile_encoder(encoder)  # a task is compiled or casts its weights together
            else:
                cast_together(encoder)
        row: Row = {"method": method, "precision": precision, "encoders": encoders, "pairs": size.pairs}
        if compiling:
            before = compiled_graphs()
            row["first_step_seconds"] = _bare_milliseconds(task, batch, precision, device, times=1, warm_up=0) / 1000
            row["graphs"] = compiled_graphs() - before
        key = encoders, precision
        if key not in bare:
            bare[key] = _bare_milliseconds(task, batch, precision, device, times=size.steps, warm_up=WARM_UP)
        task.zero_grad(set_to_none=True)
        reset_peak(device)
        ms = train_milliseconds(
            task,
            batch,
            make_optimizer(task, SETTINGS),
            lambda epoch, number, losses, t=task: weighted_sum(losses, t.loss_weights_at(epoch, number)),  # type: ignore[misc]
            Engine(precision=Precision(SHORT[precision], device), device=device),
            size.steps,
        )
        flops = (1 + BACKWARD) * image_flops * encoders * size.pairs
        yield {
            **row, "step_ms": ms, "bare_ms": bare[key], "step_flops": flops, "peak_gigabytes": peak_gigabytes(device),
        }  # fmt: skip
        del task


def _bare_milliseconds(
    task: EncoderTask, batch: EncoderBatch, precision: str, device: str, *, times: int, warm_up: int
) -> float:
    numbers, optimizer = Precision(SHORT[precision], device), make_optimizer(task, SETTINGS)
    return milliseconds(lambda: bare_step(task, batch, numbers, optimizer), device, times, warm_up)


def prompts(device: str, size: Size) -> Iterator[Row]:
    """A step of stage 1 with cached features."""
    clip = load(size).freeze().to(device)
    encoder = clip.text_encoder
    for precision in precisions(device):
        allow_tf32(precision == "tf32")
        generator = torch.Generator().manual_seed(0)
        host = load(size).text_encoder

        def learner(template: str, classes: int, words: Any = host, source: Any = generator) -> PromptLearner:
            return PromptLearner(
                template,
                classes,
                4,
                tokenizer=clip.tokenizer,
                encoder=words,
                context_length=encoder.context_length,
                generator=source,
            )

        task = PromptTask(learner(IDENTITY_TEMPLATE, IDENTITIES), learner(CLOTHES_TEMPLATE, CLOTHES), encoder)
        task = task.to(device)
        identities = torch.arange(size.pairs, device=device)
        images, clothes = (torch.randn(size.pairs, clip.image_encoder.projected_dim).to(device) for _ in range(2))
        batch = PromptBatch(images, identities, clothes, 2 * identities)
        reset_peak(device)
        ms = train_milliseconds(
            task,
            batch,
            torch.optim.Adam(task.parameters(), lr=LEARNING_RATE, fused=True),
            lambda _epoch, _step, losses: weighted_sum(losses, dict.fromkeys(losses, 1.0)),
            Engine(precision=Precision(SHORT[precision], device), device=device),
            size.steps,
        )
        yield {"precision": precision, "images": size.pairs, "step_ms": ms, "peak_gigabytes": peak_gigabytes(device)}
