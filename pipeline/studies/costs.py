"""Rough seconds of a step on one CPU core: they order the work and estimate the time left, and decide nothing else."""

from pipeline.config import Parameters
from pipeline.config.deciding import Kind
from pipeline.training.methods import METHODS

_UNKNOWN_IMAGES = 20_000
_TWO_ENCODERS = {"identity_shielding", "i2t_shielding", "centre"}


def _images(parameters: Parameters) -> tuple[int, int]:
    """Images of training and test: known for walkers only."""
    if parameters.data.dataset != "walkers":
        return _UNKNOWN_IMAGES, _UNKNOWN_IMAGES // 2
    synth = parameters.synth
    each = (2 + synth.outfits) / 2 * synth.images_per_outfit
    return round(synth.train_identities * each), round(synth.test_identities * each)


def estimate(kind: Kind, parameters: Parameters) -> float:
    """Seconds that a step may take, more than 0."""
    train, test = _images(parameters)
    scale = (parameters.model.image_size[0] / 128) ** 2
    if kind == "encoder":
        terms = {*METHODS[parameters.encoder.method].terms, *parameters.encoder.weights}
        passes = 2.0 if terms & _TWO_ENCODERS else 1.0
        return 3.0 + 0.006 * train * parameters.encoder.epochs * passes * scale
    if kind == "prompts":
        return 3.0 + scale * 0.006 * train + 0.0004 * train * parameters.prompts.epochs
    pretrain = parameters.synth.pretrain_images
    seconds: dict[str, float] = {
        "population": 0.004 * pretrain,
        "clip": 0.005 * pretrain * parameters.pretrain.epochs * scale,
        "data": 0.004 * (train + test),
        "shards": 5.0 + 0.01 * (train + test) * scale,
        "blend": 0.5,
        "features": 0.004 * test * scale * (2 if parameters.blend.clip_weight else 1),
        "metrics": 0.001 * test,
        "leakage": 0.02 * test,
        "oracle": 0.0,
    }
    return 1.0 + seconds[kind]
