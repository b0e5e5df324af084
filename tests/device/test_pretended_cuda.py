"""The pretended GPU itself: it refuses what a GPU refuses, counts what a GPU does, and computes what the CPU does."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pretended import pretended_cuda, process
from torch import nn
from torch.utils.checkpoint import checkpoint

from pipeline.losses.supervised_contrastive import supervised_contrastive
from pipeline.models.preprocess import normalise

pytestmark = pytest.mark.usefixtures("cuda")


def on_gpu(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, device="cuda")


def test_tensors_say_where_they_are():
    tensor = on_gpu(2, 3)
    assert (tensor.device.type, tensor.is_cuda, tensor.cpu().is_cuda) == ("cuda", True, False)
    for made in (tensor[0], tensor * 2, torch.zeros_like(tensor), tensor.new_zeros(3), torch.arange(3, device="cuda")):
        assert made.device == torch.device("cuda:0")
    assert tensor.new_zeros(3, device="cpu").device.type == "cpu"
    assert torch.tensor([1.0], device="cuda").is_cuda
    assert torch.tensor([1.0]).device.type == "cpu"


@pytest.mark.parametrize("operation", [
    lambda: on_gpu(3) + torch.ones(3),
    lambda: torch.ones(3) * on_gpu(3),
    lambda: torch.ones(3) + on_gpu(1)[0],
    lambda: F.embedding(torch.zeros(2, dtype=torch.long), on_gpu(3, 2)),
    lambda: F.embedding(torch.zeros(2, dtype=torch.long, device="cuda"), torch.ones(3, 2)),
    lambda: F.cross_entropy(on_gpu(2, 3), torch.zeros(2, dtype=torch.long)),
    lambda: torch.cat([on_gpu(2), torch.ones(2)]),
    lambda: torch.stack([on_gpu(1)[0], torch.tensor(1.0)]),
    lambda: on_gpu(2, 3) @ torch.ones(3, 2),
    lambda: torch.ones(4)[torch.zeros(2, dtype=torch.long, device="cuda")],
    lambda: nn.Linear(3, 2)(on_gpu(1, 3)),
    lambda: nn.Linear(3, 2).to("cuda")(torch.ones(1, 3)),
    lambda: torch.where(on_gpu(2) > 0, on_gpu(2), torch.ones(2)),
    lambda: on_gpu(2).add_(torch.ones(2)),
    lambda: torch._foreach_add_([on_gpu(2)], [torch.ones(2)]),
])  # fmt: skip
def test_operands_of_two_devices_are_refused(operation):
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        operation()


def test_a_message_names_the_projects_line():
    labels = torch.zeros(2, dtype=torch.long, device="cuda")
    with pytest.raises(
        RuntimeError, match=r"at pipeline/losses/\w+\.py:\d+ < pipeline/losses/supervised_contrastive\.py:\d+"
    ):
        supervised_contrastive(on_gpu(2, 3), torch.ones(2, 3), labels, labels)


def test_numbers_of_the_cpu_are_welcome():
    assert (on_gpu(2) * torch.tensor(2.0)).tolist() == [2, 2]
    tensor = on_gpu(3)
    tensor[torch.tensor([0, 2])] = torch.tensor(5.0)  # CPU indices of a GPU tensor are copied
    assert tensor.tolist() == [5, 1, 5]


@pytest.mark.parametrize("operation", [
    lambda: on_gpu(2).numpy(), lambda: np.asarray(on_gpu(2)), lambda: torch.save(on_gpu(2), "nowhere"),
])  # fmt: skip
def test_its_data_cannot_be_had_without_a_copy(operation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match=r"can't convert cuda:0|cannot be pickled"):
        operation()


def test_a_generator_of_the_cpu_is_refused():
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator but found 'cpu'"):
        torch.randn(3, device="cuda", generator=generator)
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator"):
        on_gpu(3).normal_(generator=generator)
    torch.randn(3, generator=generator).to("cuda")


def test_there_is_one_gpu():
    assert (torch.cuda.is_available(), torch.cuda.device_count()) == (True, 1)
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.ones(2, device="cuda:1")


def test_copies_and_waits_are_counted(cuda):
    source = torch.ones(3)
    with cuda.section() as blocking:
        tensor = source.to("cuda")
    assert (blocking.host_to_device, blocking.blocking_host_to_device, blocking.waits) == (1, 1, 1)
    assert blocking.bytes.total() == 12
    with cuda.section() as flowing:
        source.pin_memory().to("cuda", non_blocking=True)
    assert (flowing.host_to_device, flowing.waits, flowing.operators("host to device")) == (1, 0, {"_to_copy": 1})
    with cuda.section() as unpinned:
        source.to("cuda", non_blocking=True)
    assert unpinned.operators("host to device") == {"_to_copy, not pinned": 1}
    with cuda.section() as listed:
        torch.tensor([1, 2], device="cuda")
    assert (listed.blocking_host_to_device, listed.device_to_host) == (1, 0)
    looks = (lambda: tensor.cpu(), lambda: tensor.sum().item(), lambda: float(tensor[0]), lambda: bool(tensor[0] > 0),
             tensor.tolist, lambda: f"{tensor[0]:.1f}", lambda: source.copy_(tensor))  # fmt: skip
    for look in looks:
        with cuda.section() as looking:
            look()
        assert (looking.device_to_host_waits, looking.waits) == (1, 1)
    for wait in (torch.cuda.synchronize, tensor.nonzero, lambda: tensor[tensor > 0], lambda: tensor.unique(),
                 lambda: torch.equal(tensor, tensor), lambda: torch.cuda.current_stream().synchronize()):  # fmt: skip
        with cuda.section() as waiting:
            wait()
        assert waiting.waits == 1
    with cuda.section() as none:
        _ = tensor[0], tensor.view(3, 1), tensor * 2, tensor.to("cuda"), tensor.shape, tensor.sum() > 0
    assert (none.waits, none.kernels) == (0, 3)


def test_kernels_are_counted_and_views_and_allocations_are_not(cuda):
    tensor = on_gpu(2, 3)
    with cuda.section() as some:
        torch.relu(tensor.t()).add_(1)
        torch.empty(3, device="cuda")
    assert some.operators() == {"relu": 1, "add_": 1}
    with cuda.section() as fused:
        F.scaled_dot_product_attention(*(on_gpu(1, 2, 4, 8) for _ in range(3)))
    assert fused.kernels == 3 + 1
    shapes = [(2, 3), (4,), (5, 1)]
    short, full = ([on_gpu(*shape).to(kind) for shape in shapes] for kind in (torch.bfloat16, torch.float32))
    with cuda.section() as alike:
        torch._foreach_copy_(short, full)
    assert alike.operators() == {"_foreach_copy_": 1}
    for mixed in ([short[0], *full[1:]], [full[0].double(), *full[1:]], [on_gpu(3, 2).t(), *full[1:]]):
        with cuda.section() as apart:
            torch._foreach_copy_(full, mixed)
        assert apart.operators() == {"copy_": 3}


def test_counts_are_by_the_projects_line(cuda):
    images = torch.zeros(1, 2, 2, 3, dtype=torch.uint8, device="cuda")
    with cuda.section() as part:
        normalise(images, (0.5,) * 3, (0.5,) * 3)
    assert part.kernels
    assert all(line.startswith("pipeline/models/preprocess.py:") for line in part.by_line())
    assert f"{part.kernels} kernels" in str(part)
    assert cuda.by_line()["(no line of the project)"] == 1  # the images


def test_what_arrives_later_is_rubbish_until_somebody_waits():
    late = on_gpu(3).to("cpu", non_blocking=True)
    assert late.tolist() != [1, 1, 1]
    event = torch.cuda.Event()
    event.record()
    event.synchronize()
    assert late.tolist() == [1, 1, 1]


def test_pinned_memory_that_is_written_too_early_is_found():
    source = torch.ones(3).pin_memory()
    assert source.is_pinned()
    assert source[1:].is_pinned()
    assert not torch.ones(3).is_pinned()
    copied = source.to("cuda", non_blocking=True)
    torch.cuda.synchronize()
    source.zero_()
    assert copied.tolist() == [1, 1, 1]
    source.to("cuda", non_blocking=True)
    source.fill_(7)
    with pytest.raises(RuntimeError, match="written while its copy to the GPU could be under way"):
        torch.cuda.synchronize()


def test_its_memory_is_its_own():
    source = np.ones(3, dtype=np.float32)
    tensor = torch.from_numpy(source).to("cuda")
    back = tensor.cpu()
    source[:] = 2
    tensor.add_(5)
    assert (tensor.tolist(), back.tolist()) == ([6, 6, 6], [1, 1, 1])


def step(device: str, precision: str = "fp32") -> tuple[float, list[torch.Tensor]]:
    """Loss, gradient and weight of a step of a small network that has a bit of everything."""
    torch.manual_seed(3)
    body = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
    network = nn.Sequential(nn.Conv1d(6, 6, 3, padding=1), body, nn.Flatten(), nn.Linear(48, 5)).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    images, labels = torch.randn(4, 6, 8).to(device), torch.tensor([0, 3, 1, 2]).to(device)
    scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")
    short = torch.float16 if precision == "fp16" else torch.bfloat16
    torch.manual_seed(5)
    for _ in range(2):
        optimizer.zero_grad()
        with torch.autocast(device, dtype=short, enabled=precision != "fp32"):
            hidden = checkpoint(network[1], network[0](images), use_reentrant=False)
            loss = F.cross_entropy(network[3](network[2](hidden)), labels, label_smoothing=0.1)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    parameters = list(network.parameters())
    return loss.item(), [value.detach().cpu() for p in parameters for value in (p, p.grad)]


def test_numbers_are_the_cpus():
    torch.set_num_threads(1)
    (on_cpu, values), (on_cuda, others) = step("cpu"), step("cuda")
    assert on_cuda == pytest.approx(on_cpu, abs=1e-6)
    for value, other in zip(values, others, strict=True):
        torch.testing.assert_close(other, value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_short_types_come_close(precision):
    assert step("cuda", precision)[0] == pytest.approx(step("cpu")[0], rel=0.02)


def test_autocast_has_the_rules_of_cuda():
    with torch.autocast("cuda", dtype=torch.bfloat16):
        product = on_gpu(2, 2) @ on_gpu(2, 2)
        assert product.dtype == torch.bfloat16
        assert product.softmax(1).dtype == F.layer_norm(product, (2,)).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (on_gpu(2, 2) @ on_gpu(2, 2)).dtype == torch.float32


def test_random_numbers_are_of_a_generator_of_its_own():
    torch.manual_seed(1)
    first, cpu = torch.randn(3, device="cuda"), torch.randn(3)
    assert first.tolist() == cpu.tolist()
    torch.manual_seed(1)
    state = torch.cuda.get_rng_state()
    torch.randn(100)
    assert torch.randn(3, device="cuda").tolist() == first.tolist()
    torch.cuda.set_rng_state(state)
    assert torch.randn(3, device="cuda").tolist() == first.tolist()


def test_parameters_stay_themselves_when_they_are_moved():
    network = nn.Linear(2, 2)
    weight = network.weight
    network.to("cuda")
    assert network.weight is weight
    assert weight.is_cuda
    weight.data = torch.zeros(2, 2, device="cuda")
    assert weight.sum().item() == 0
    weight.data.add_(1)
    assert weight.sum().item() == 4
    assert network.cpu().weight.tolist() == [[1, 1], [1, 1]]


def test_inference_mode_and_shapes_that_change_in_place():
    network = nn.Linear(2, 2).to("cuda")
    with torch.inference_mode():
        assert torch.ones(2).to("cuda").is_cuda
        assert torch.ones(2).to(on_gpu(2)).is_cuda
        assert network(on_gpu(3, 2)).unsqueeze_(0).shape == (1, 3, 2)
        assert network(on_gpu(3, 2)).reshape(-1).to(torch.float16).dtype == torch.float16
    assert on_gpu(2).unsqueeze_(1).add(1).shape == (2, 1)


def test_threads_that_are_begun_inside_see_it():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: torch.zeros(2, device="cuda") + 1).result().tolist() == [1, 1]
        assert pool.submit(lambda: torch.tensor([2.0], device="cuda")).result().tolist() == [2]
        with pytest.raises(RuntimeError, match="same device"):
            pool.submit(lambda: torch.ones(2, device="cuda") + torch.ones(2)).result()


def test_it_is_switched_on_once():
    with pytest.raises(RuntimeError, match="already"), pretended_cuda():
        pass


def test_a_machine_that_cannot_pretend_says_why(monkeypatch):
    assert process.why_not() is None
    monkeypatch.setattr(process.shutil, "which", lambda name: None)
    assert process.why_not() == "the pretended GPU needs a C compiler: install cc or gcc"
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built with CUDA" in process.why_not()


def test_switched_off_everything_is_as_before(cuda, request):
    assert torch.cuda.is_available()
    kept = []
    gate, done = threading.Event(), threading.Event()

    def late() -> None:
        gate.wait(60)
        kept.append(torch.ones(2).tolist())
        done.set()

    thread = threading.Thread(target=late)
    thread.start()
    tensor = on_gpu(2)
    request.addfinalizer(thread.join)
    from pretended.gpu import Gpu

    gpu = Gpu._current
    Gpu._current, gpu.active = None, False
    try:
        gate.set()
        assert done.wait(60)
        assert kept == [[1, 1]]
        with pytest.raises(RuntimeError, match="switched off"):
            tensor.tolist()
    finally:
        Gpu._current, gpu.active = gpu, True
