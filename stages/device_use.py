"""What a command tells of its device: how it computes there, and which settings need less where its memory is short."""

from contextlib import AbstractContextManager

from pipeline.arithmetic import arithmetic, uses_cuda
from pipeline.config import Parameters
from pipeline.device_faults import fitting, half
from pipeline.models.image_encoder import ImageEncoder
from pipeline.models.recompute import can_recompute
from pipeline.precision import Precision, resolve_tf32
from pipeline.trainer.gradients import is_steady


def training_arithmetic(parameters: Parameters, device: str) -> AbstractContextManager[None]:
    """How the parameters let a training compute on CUDA; ``device`` may be ``auto``."""
    training = parameters.training
    tf32 = resolve_tf32(training.tf32, training.precision)
    return arithmetic(device, deterministic=training.deterministic, tf32=tf32)


def settled(parameters: Parameters, device: str, workers: int = 1) -> Parameters:
    """The parameters with what is left to the device and to the number of workers of stage 2.

    With them a training runs, and these are recorded.

    Raises:
        InputError: The device cannot do the precision.
    """
    training = parameters.training
    precision = Precision(training.precision, device).name
    tf32 = uses_cuda(device) and resolve_tf32(training.tf32, precision) if training.tf32 == "auto" else training.tf32
    chosen = {"precision": precision, "tf32": tf32}
    encoder = parameters.encoder.of_all(workers)
    return parameters.model_copy(update={"training": training.model_copy(update=chosen), "encoder": encoder})


def _model(parameters: Parameters) -> str:
    height, width = parameters.model.image_size
    return f"{parameters.model.name} at {height}x{width}"


def _short(parameters: Parameters) -> list[str]:
    return ["training.precision=bf16"] if parameters.training.precision == "fp32" else []


def fitting_prompts(parameters: Parameters, device: str) -> AbstractContextManager[None]:
    """:func:`fitting` for stage 1."""
    settings = parameters.prompts
    tried = (
        f"stage 1 with {_model(parameters)} in {parameters.training.precision}, "
        f"prompts.batch_size={settings.batch_size}, prompts.text_chunk={settings.text_chunk}"
    )
    lower = [
        *half("prompts.text_chunk", min(settings.text_chunk, settings.batch_size)),
        *half("prompts.batch_size", settings.batch_size, least=2),
        *_short(parameters),
    ]
    return fitting(tried, device, lower)


def fitting_encoder(
    parameters: Parameters, device: str, workers: int = 1, encoder: ImageEncoder | None = None
) -> AbstractContextManager[None]:
    """:func:`fitting` for stage 2, with the encoder's settings as they were given.

    Args:
        parameters: All of them.
        device: Where it runs.
        workers: Processes of stage 2.
        encoder: E_v: what it cannot do is not advised; None: it is not read yet.
    """
    settings, training = parameters.encoder, parameters.training
    shared = 1 if settings.batch_per_worker else workers
    images = settings.identities_per_batch * settings.images_per_identity // shared
    tried = (
        f"stage 2, a step of {images} images of {settings.method} with {_model(parameters)} in {training.precision}, "
        f"training.accumulation={training.accumulation}"
    )
    splits = training.compile is not True and (encoder is None or is_steady(encoder))
    recomputes = training.compile is not True and (encoder is None or can_recompute(encoder))
    lower = [
        *([f"training.accumulation={2 * training.accumulation}"] if splits else []),
        *(["training.recompute_activations=true"] if recomputes and not training.recompute_activations else []),
        *_short(parameters),
        *half("encoder.identities_per_batch", settings.identities_per_batch, least=2),
        *(
            []
            if settings.batch_per_worker or settings.identities_per_batch % (2 * workers)
            else [f"--workers {2 * workers}"]
        ),
    ]
    return fitting(tried, device, lower)


def fitting_figures(parameters: Parameters, device: str) -> AbstractContextManager[None]:
    """:func:`fitting` for figures: features, and maps with gradients."""
    features, maps = parameters.evaluate.batch_size, parameters.figures.batch_size
    tried = f"figures by {_model(parameters)}, evaluate.batch_size={features}, figures.batch_size={maps}"
    return fitting(tried, device, [*half("figures.batch_size", maps), *half("evaluate.batch_size", features)])


def fitting_pretrain(parameters: Parameters, device: str) -> AbstractContextManager[None]:
    """:func:`fitting` for the pre-training of a CLIP."""
    count = parameters.pretrain.batch_size
    tried = f"pre-training of {_model(parameters)}, pretrain.batch_size={count}"
    return fitting(tried, device, half("pretrain.batch_size", count, least=2))
