"""Times a step of stage 1 and notes its memory, at sizes up to 5,000 identities and 40,000 clothes classes.

    python benchmarks/prompts.py

Each size is run in a process of its own: a text tower as ViT-B/16's with random weights, cached features drawn at
random, some steps of ``train_prompts``' task and optimizer, then the text features of all classes, and the loss of
stage 2 against all of them with its gradient. The peak is that of the process after the text tower was made, less what
it had before; beside it stands what the prompts themselves need by arithmetic.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import time
from dataclasses import asdict, dataclass

import torch

from pipeline.losses.image_text import image_text_cross_entropy
from pipeline.models.clip import load_clip
from pipeline.models.prompts import CLOTHES_TEMPLATE, IDENTITY_TEMPLATE, PromptLearner
from pipeline.models.settings import ModelSettings
from pipeline.training.prompt_task import PromptBatch, PromptTask

TOKENS = 4
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Figures:
    """What was measured at one size; megabytes, seconds.

    Attributes:
        identities: K.
        clothes_classes: K_c.
        batch: Images a step.
        chunk: Classes whose texts are computed at once.
        peak: Growth of the peak of the process over the steps.
        arithmetic: Prompts, their gradient and Adam's two moments.
        step: Mean time of a step.
        optimizer: Part of it that is Adam's.
        texts: Time of the text features of all classes, by extrapolation from a part of them.
        stage_two: Time of the loss of stage 2 and its gradient against all texts, 64 images.
    """

    identities: int
    clothes_classes: int
    batch: int
    chunk: int
    peak: float
    arithmetic: float
    step: float
    optimizer: float
    texts: float
    stage_two: float


def _peak() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MEGABYTE if sys.platform == "darwin" else peak / 1024


def measure(identities: int, clothes_classes: int, batch: int, chunk: int, steps: int, threads: int) -> Figures:
    """Run one size in this process."""
    torch.set_num_threads(threads)
    clip = load_clip(ModelSettings(pretrained=None)).freeze()
    generator = torch.Generator().manual_seed(0)
    before = _peak()

    def learner(template: str, classes: int) -> PromptLearner:
        return PromptLearner(
            template,
            classes,
            TOKENS,
            tokenizer=clip.tokenizer,
            encoder=clip.text_encoder,
            context_length=clip.text_encoder.context_length,
            generator=generator,
        )

    task = PromptTask(
        learner(IDENTITY_TEMPLATE, identities),
        learner(CLOTHES_TEMPLATE, clothes_classes),
        clip.text_encoder,
        similarity="cosine",
        scale=10.0,
        text_chunk=chunk,
    )
    optimizer = torch.optim.Adam(task.parameters(), lr=3.5e-4, weight_decay=1e-4, fused=True)
    seconds, of_adam = [], []
    for _ in range(steps):
        drawn = PromptBatch(
            torch.randn(batch, 512, generator=generator),
            torch.randint(identities, (batch,), generator=generator),
            torch.randn(batch, 512, generator=generator),
            torch.randint(clothes_classes, (batch,), generator=generator),
        )
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(task(drawn).values())).sum().backward()  # type: ignore[no-untyped-call]
        middle = time.perf_counter()
        optimizer.step()
        of_adam.append(time.perf_counter() - middle)
        seconds.append(time.perf_counter() - started)
    peak = _peak() - before
    assert task.clothes is not None
    part = torch.arange(min(clothes_classes, 4 * chunk))
    started = time.perf_counter()
    with torch.no_grad():
        task.clothes.encode(clip.text_encoder, part, chunk)
    texts = (time.perf_counter() - started) * (identities + clothes_classes) / len(part)
    images = torch.randn(64, 512, generator=generator, requires_grad=True)
    every = torch.randn(identities + clothes_classes, 512, generator=generator)
    labels = torch.randint(identities, (64,), generator=generator)
    started = time.perf_counter()
    image_text_cross_entropy(images, every, labels).backward()  # type: ignore[no-untyped-call]
    stage_two = time.perf_counter() - started
    numbers = sum(parameter.numel() for parameter in task.parameters())
    return Figures(
        identities,
        clothes_classes,
        batch,
        chunk,
        peak,
        4 * 4 * numbers / MEGABYTE,
        sum(seconds[1:]) / (steps - 1),
        sum(of_adam[1:]) / (steps - 1),
        texts,
        stage_two,
    )


def main() -> None:
    """Measure and print a table, or JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="identities,clothes classes,batch,chunk; repeatable")
    parser.add_argument("--steps", type=int, default=4, help="steps, at least two; the first is not timed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    sizes = options.size or ["150,1000,64,256", "5000,40000,64,256", "5000,40000,256,256", "5000,40000,256,32"]
    context = multiprocessing.get_context("spawn")
    if not options.json:
        names = ["K", "K_c", "batch", "chunk", "peak, MB", "prompts and Adam, MB", "step, s", "Adam, s"]
        print(f"| {' | '.join([*names, 'all texts, s', 'stage 2, s'])} |")
        print("|---|---|---|---|---|---|---|---|---|---|")
    for size in sizes:
        numbers = [int(number) for number in size.split(",")]
        with context.Pool(1) as pool:
            figures = pool.apply(measure, (*numbers, options.steps, options.threads))
        if options.json:
            print(json.dumps(asdict(figures)), flush=True)
            continue
        f = figures
        cells = [f"{f.identities:,}", f"{f.clothes_classes:,}", f"{f.batch:,}", f"{f.chunk:,}", f"{f.peak:,.0f}"]
        cells += [f"{f.arithmetic:,.0f}", f"{f.step:.2f}", f"{f.optimizer:.2f}", f"{f.texts:.0f}", f"{f.stage_two:.3f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
