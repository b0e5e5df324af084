"""A step on the GPU is the CPU's step: losses and gradients of both stages, every method and every precision."""

import numpy as np
import pytest
import torch
from device_views import view_on
from gpu_samples import (
    ACCUMULATION,
    TOLERANCES,
    Checks,
    Step,
    Tolerance,
    assert_within,
    deterministic,
    gradient_error,
    loss_error,
    need_cuda,
    tf32,
)

from pipeline.features.extraction import encode_images
from pipeline.precision import PrecisionName
from pipeline.training.methods import METHODS
from pipeline.training.views import augment, draw_geometry

PRECISIONS = list(TOLERANCES)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("method", METHODS)
def test_losses_and_gradients_of_stage_2_are_those_of_the_cpu(checks, device, method, precision):
    need_cuda(device, precision)
    assert_within(checks.step(method, precision), checks.expected(method), checks.tolerance(precision))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_losses_and_gradients_of_stage_1_are_those_of_the_cpu(checks, device, precision):
    need_cuda(device, precision)
    found, expected = checks.prompts_step(device, precision), checks.prompts_step("cpu", "fp32")
    assert set(expected.losses) == {"i2t", "t2i", "i2t_clothes", "t2i_clothes"}
    assert_within(found, expected, TOLERANCES[precision])


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_in_parts_has_the_gradient_of_the_whole_batch(checks, method):
    whole = checks.step(method, "fp32")
    assert_within(checks.step(method, "fp32", parts=2), whole, Tolerance(ACCUMULATION, ACCUMULATION))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_batch_in_parts_is_as_near_to_the_cpu_in_every_precision(checks, device, precision):
    need_cuda(device, precision)
    assert_within(checks.step("ccaf", precision, parts=3), checks.expected("ccaf"), checks.tolerance(precision))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_recomputed_activations_give_the_same_gradients(checks, device, precision):
    need_cuda(device, precision)
    assert_within(checks.step("ccaf", precision, recompute=True), checks.expected("ccaf"), checks.tolerance(precision))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_deterministic_step(checks, method, precision):
    with deterministic():
        one, other = (checks.step(method, precision) for _ in range(2))
    assert one.losses == other.losses
    assert all(torch.equal(gradient, other.gradients[name]) for name, gradient in one.gradients.items())


def test_stage_1_has_a_deterministic_step(checks, device):
    with deterministic():
        one, other = (checks.prompts_step(device, "fp32") for _ in range(2))
    assert all(torch.equal(gradient, other.gradients[name]) for name, gradient in one.gradients.items())


def test_augmented_views_are_those_of_the_cpu(checks, device):
    size = checks.clip.spec.image_size
    geometry = draw_geometry(np.random.default_rng(3), checks.images, size)
    planes = np.random.default_rng(0).integers(0, 256, (checks.images, 3, *size), dtype=np.uint8)
    expected = augment(planes, geometry, geometry.noise(), mean=(0.5,) * 3, std=(0.5,) * 3)
    found = view_on(device, planes, geometry, mean=(0.5,) * 3, std=(0.5,) * 3).cpu()
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


def extracted(checks: Checks, where: str, precision: PrecisionName = "fp32") -> torch.Tensor:
    """Features of ten random images, mirrored ones counted."""
    size = checks.clip.spec.image_size
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (10, *size, 3), dtype=np.uint8))
    with tf32(False):
        encoder = checks.task("baseline", where).image_encoder
        return encode_images(
            encoder, lambda rows: images[list(rows)], range(10), lambda f: encoder.compared(f, "concat"),
            mean=(0.5,) * 3, std=(0.5,) * 3, flip=True, batch_size=4, device=where, precision=precision, quiet=True,
        )  # fmt: skip


def test_extracted_features_are_those_of_the_cpu(checks, device):
    expected, found = extracted(checks, "cpu"), extracted(checks, device)
    assert (expected - expected[0]).abs().max() > 1e-3, "all images have one feature: nothing is compared"
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_features_in_bf16_point_where_the_cpus_do(checks, device):
    need_cuda(device, "bf16")
    expected, found = extracted(checks, "cpu"), extracted(checks, device, "bf16")
    assert float((expected * found).sum(dim=1).min()) > 0.999
    assert float((expected - found).abs().max()) > 1e-5, "it was computed in full"


def test_a_wrong_loss_and_a_wrong_gradient_are_seen(checks):
    """The comparison itself: a thousandth more than is allowed is refused, of a loss or of one weight's gradient."""
    good = checks.expected("ccaf")
    name = max(good.gradients, key=lambda key: float(good.gradients[key].norm()))
    total = sum(float(gradient.norm()) ** 2 for gradient in good.gradients.values()) ** 0.5
    for tolerance in TOLERANCES.values():
        assert_within(good, good, tolerance)
        losses = {key: value * (1 + 1.001 * tolerance.loss) for key, value in good.losses.items()}
        with pytest.raises(AssertionError, match="loss differs"):
            assert_within(Step(losses, good.gradients), good, tolerance)
        wrong = good.gradients[name] * (1 + 1.001 * tolerance.gradient * total / float(good.gradients[name].norm()))
        with pytest.raises(AssertionError, match="gradients differ"):
            assert_within(Step(good.losses, {**good.gradients, name: wrong}), good, tolerance)
    assert loss_error(good, good) == gradient_error(good, good) == 0.0
