"""The checks and the benchmark of a GPU run on a CPU as well, so that they are in order when somebody has a GPU.

What they say of a GPU is another matter: `make gpu-check` on a machine that has one.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.training.methods import METHODS

REPOSITORY = Path(__file__).resolve().parent.parent
BENCHMARKS = REPOSITORY / "benchmarks"
PRECISIONS = 4
ONLY_ON_CUDA = 2
"""Of the precisions: fp16 and TF32."""


def start(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), **environment},
    )  # fmt: skip


def outcomes(text: str) -> dict[str, int]:
    """Counts of pytest's last line."""
    return {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", text)}


def test_the_checks_of_a_step_pass_on_a_cpu_and_leave_out_only_what_needs_cuda():
    done = start("-m", "pytest", "-m", "gpu", "-n0", "-v", "tests/gpu/test_gpu_steps.py", CCAF_TEST_DEVICE="cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    counts = outcomes(done.stdout.splitlines()[-1])
    by_precision = len(METHODS) + 3  # stage 2 of every method, stage 1, in parts, recomputed
    assert counts["skipped"] == ONLY_ON_CUDA * by_precision
    assert counts["passed"] >= (PRECISIONS - ONLY_ON_CUDA) * by_precision + 3 * len(METHODS)
    reasons = re.findall(r"^SKIPPED \[\d+\] \S+ (.*)$", done.stdout, flags=re.MULTILINE)
    assert set(reasons) == {"fp16 needs a CUDA device", "tf32 needs a CUDA device"}


@pytest.mark.timeout(1200)
def test_the_checks_of_parsers_and_trainings_pass_on_a_cpu():
    files = ("tests/gpu/test_gpu_parsers.py", "tests/gpu/test_gpu_training.py")
    chosen = "not fp16 and not tf32 and not bf16 and not killed_training"  # a deterministic one is killed as well
    done = start("-m", "pytest", "-m", "gpu", "-n0", "-v", "-k", chosen, *files, CCAF_TEST_DEVICE="cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    counts = outcomes(done.stdout.splitlines()[-1])
    assert "skipped" not in counts
    assert counts["passed"] >= 8


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_checks_are_skipped_loudly():
    done = start("-m", "pytest", "-m", "gpu", "-n0", "tests/gpu/test_gpu_steps.py", CCAF_TEST_DEVICE="cuda")
    assert set(outcomes(done.stdout.splitlines()[-1])) == {"skipped"}
    assert "NO GPU WAS CHECKED: PyTorch finds no CUDA device here" in done.stdout


def test_they_are_not_a_part_of_an_ordinary_run():
    done = start("-m", "pytest", "-n0", "tests/gpu/test_gpu_steps.py", CCAF_TEST_DEVICE="cpu")
    assert set(outcomes(done.stdout.splitlines()[-1])) == {"skipped"}
    assert "checks of a real GPU run by `make gpu-check`" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_the_benchmark_refuses_a_device_that_is_not_there(tmp_path):
    done = start(str(BENCHMARKS / "gpu.py"), "--out", str(tmp_path / "gpu.json"))
    assert done.returncode == 2
    assert done.stderr.startswith("NOTHING WAS MEASURED: device 'cuda' cannot be used here")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "gpu.json").exists()


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """What the benchmark says of a CPU with small networks, as JSON and as text."""
    path = tmp_path_factory.mktemp("benchmark") / "gpu.json"
    done = start(str(BENCHMARKS / "gpu.py"), "--quick", "--device", "cpu", "--time", "3", "--out", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(path.read_text()), done.stdout


@pytest.mark.timeout(600)
def test_the_benchmark_measures_everything_that_it_is_for(figures):
    found, text = figures
    assert (found["format"], found["device"], found["quick"], found["problems"]) == (1, "cpu", True, {})
    about, *products = found["card"]
    assert about["torch"] == torch.__version__
    assert [row["precision"] for row in products] == ["bf16", "fp32"]
    steps = {(row["method"], row["precision"]): row for row in found["step"]}
    assert set(steps) == {(method, precision) for method in METHODS for precision in ("bf16", "fp32")}
    assert {row["encoders"] for (method, _), row in steps.items() if method in ("baseline", "ccaf-plus")} == {1}
    assert steps["ccaf", "fp32"]["encoders"] == 2
    for row in steps.values():
        assert row["step_ms"] > 0
        assert row["bare_ms"] > 0
    assert [row["precision"] for row in found["prompts"]] == ["bf16", "fp32"]
    assert [row["precision"] for row in found["extraction"]] == ["bf16", "fp32"]
    for row in found["extraction"]:
        assert row["of_bare"] == pytest.approx(row["images_per_second"] / row["bare_images_per_second"])
        assert row["decoded_images_per_second"] > 0
    assert [(row["method"], row["precision"]) for row in found["compiled"]] == [
        ("ccaf", "bf16"), ("ccaf-plus", "bf16"),
    ]  # fmt: skip
    for row in found["compiled"]:
        assert row["bare_of_step"] == pytest.approx(row["bare_ms"] / row["step_ms"])
        assert row["first_step_seconds"] > 0
    first, second = (row["graphs"] for row in found["compiled"])
    assert first > 0
    assert second == 0, "what the first one compiled serves the second, which has the same encoder"
    chosen, single = found["parse"]
    assert (single["what"], single["parser"], single["workers"]) == ("stage", "lite", 1)
    assert (chosen["what"], chosen["parser"], chosen["workers"] >= 1) == ("stage, its choice", "lite", True)
    assert chosen["images"] == single["images"] > 8
    assert {chosen["shielded"], single["shielded"]} == {"made"}
    assert [(row["workers"], row["batch"], row["pairs"]) for row in found["ranks"]] == [
        (2, "shared", 8), (2, "per worker", 16),
    ]  # fmt: skip
    assert all(row["pairs_per_second"] == pytest.approx(1000 * row["pairs"] / row["step_ms"]) for row in found["ranks"])
    for part in ("card", "step", "compiled", "prompts", "extraction", "ranks", "parse"):
        assert f"\n## {part}\n" in text
        rows = [row for row in found[part] if part != "card" or "tflops" in row]
        section = text.split(f"\n## {part}\n")[1].split("\n## ")[0]
        assert len(re.findall(r"^\| (?!.*---)", section, flags=re.MULTILINE)) == len(rows) + 1


def test_the_roofline_is_the_operations_over_the_measured_rate(figures):
    found, _ = figures
    rates = {row["precision"]: row["tflops"] for row in found["card"] if "tflops" in row}
    for row in (*found["step"], *found["compiled"]):
        assert row["roofline_ms"] == pytest.approx(1000 * row["step_flops"] / (1e12 * rates[row["precision"]]))
        assert row["of_roofline"] == pytest.approx(row["roofline_ms"] / row["step_ms"])
        assert row["ratio"] == pytest.approx(row["step_ms"] / row["bare_ms"])


def vit_flops(height: int, width: int, patch: int, channels: int, layers: int, output: int) -> int:
    """Operations of a vision transformer's forward pass, from its dimensions."""
    patches = (height // patch) * (width // patch)
    tokens = patches + 1
    products = 4 + 4 + 1 + 2 + 1  # channels^2 each: the MLP's two, projections of q, k, v, and of the output
    assert products == 12
    block = 2 * products * tokens * channels**2 + 2 * 2 * tokens**2 * channels
    return layers * block + 2 * patches * 3 * patch**2 * channels + 2 * channels * output


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_parse
    import gpu_parts

    return gpu_parts, gpu_parse


def test_operations_of_a_vision_transformer_are_those_of_the_formula(modules):
    parts, _ = modules
    clip = parts.load(parts.FULL)
    expected = vit_flops(256, 128, 16, 768, 12, 512)
    assert expected == pytest.approx(22.68e9, rel=1e-3)
    assert parts.forward_flops(clip.image_encoder, (256, 128)) == pytest.approx(expected, rel=1e-3)


def test_a_step_of_the_benchmark_counts_three_forward_passes_of_each_encoder(figures, modules):
    parts, _ = modules
    found, _ = figures
    once = parts.forward_flops(parts.load(parts.QUICK).image_encoder, parts.QUICK.image)
    for row in (*found["step"], *found["compiled"]):
        assert row["step_flops"] == 3 * once * row["encoders"] * parts.QUICK.pairs


def test_the_random_weights_of_schp_are_read_as_published_ones(modules, tmp_path):
    from pipeline.parsing.schp.checkpoint import load_schp
    from pipeline.parsing.schp.variants import VARIANTS

    _, parse = modules
    network = load_schp(parse.save_random_schp(tmp_path), VARIANTS["lip"])
    assert sum(parameter.numel() for parameter in network.parameters()) > 60e6
    assert parse.schp_flops(473) == pytest.approx(153e9, rel=0.01)


def test_the_table_of_several_gpus_is_what_the_program_computes(modules):
    import gpu_ranks

    text = (REPOSITORY / "docs/gpus.md").read_text()
    table = text.split("<!-- ranks: printed by benchmarks/gpu_ranks.py -->\n")[1].split("\n<!-- ranks: end -->")[0]
    assert table == gpu_ranks.computed_table()
    # 8 GPUs by PCIe that share 64 pairs: products, Adam, messages in memory, and the ring beyond 2/3 of the products
    products, gradients = 8.7e12 / 495e12 / 8, 688e6
    memory = (7 + 6) * gradients / 3.35e12
    ring = 2 * 7 / 8 * gradients / 51.2e9
    expected = products + memory + ring - 2 / 3 * products
    step, times = gpu_ranks.computed(8, False, 51.2e9)
    assert step == pytest.approx(expected)
    assert times == pytest.approx((8.7e12 / 495e12 + 7 * gradients / 3.35e12) / expected)


def test_the_parts_of_the_benchmark_take_less_than_seventeen_minutes(modules):
    import gpu

    assert sum(gpu.PARTS.values()) < 17 * 60


def test_each_rendered_image_is_parsed_several_times(modules, tmp_path):
    _, parse = modules
    for name in ("0001_1_c2_03.jpg", "0001_1_c2_04.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    parse.copy_images(tmp_path, 3)
    names = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert names == {
        f"0001_1_c2_{take}.jpg": f"0001_1_c2_0{take[-1]}.jpg" for take in ("03", "04", "103", "104", "203", "204")
    }


def test_a_part_that_takes_too_long_keeps_its_rows_and_is_named(modules, capsys):
    import gpu

    found = gpu.run("cpu", True, ["card"], 0.001)
    assert found["problems"] == {"card": "stopped after 0 s, the rows before are whole"}
    assert "NOT COMPLETE" in capsys.readouterr().out
