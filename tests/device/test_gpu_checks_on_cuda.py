"""The checks of a real GPU (``tests/gpu``) run on the pretended one: nothing of theirs is on the wrong device."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "gpu"))

from gpu_samples import Checks, reference_clip
from test_gpu_steps import (  # noqa: F401  (collected here once more)
    test_a_batch_in_parts_is_as_near_to_the_cpu_in_every_precision,
    test_augmented_views_are_those_of_the_cpu,
    test_extracted_features_are_those_of_the_cpu,
    test_features_in_bf16_point_where_the_cpus_do,
    test_losses_and_gradients_of_stage_1_are_those_of_the_cpu,
    test_losses_and_gradients_of_stage_2_are_those_of_the_cpu,
    test_recomputed_activations_give_the_same_gradients,
)

from pipeline.trainer.distributed import Ranks

pytestmark = pytest.mark.usefixtures("cuda")


@pytest.fixture
def device(cuda: object) -> str:
    return "cuda"


@pytest.fixture(scope="module")
def small_checks() -> Checks:
    return Checks("cuda", reference_clip(small=True), images=8, small=True)


@pytest.fixture
def checks(cuda: object, small_checks: Checks) -> Checks:
    """Made before the GPU is switched on, as its networks belong to the CPU."""
    return small_checks


@pytest.mark.parametrize("part", ["step", "prompts", "extraction"])
def test_the_parts_of_the_benchmark_run(monkeypatch, part):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import gpu_extraction
    import gpu_parts

    size = gpu_parts.QUICK
    measure = {"step": gpu_parts.step, "prompts": gpu_parts.prompts, "extraction": gpu_extraction.extraction}[part]
    chosen = [["baseline", "ccaf"]] if part == "step" else []
    rows = list(measure("cuda", size, *chosen))
    assert {row["precision"] for row in rows} == {"bf16", "fp16", "tf32", "fp32"}


def test_a_rank_of_the_benchmark_runs(monkeypatch, one_of_two):
    """The first of two; what the other would send is this one's."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import gpu_parts
    import gpu_ranks

    row = gpu_ranks.rank_step("cuda", gpu_parts.QUICK, Ranks(0, 2))
    assert (row["workers"], row["pairs"], row["pairs_per_worker"]) == (2, 8, 4)
    assert one_of_two.count("all_reduce") == 2 * gpu_parts.QUICK.steps
