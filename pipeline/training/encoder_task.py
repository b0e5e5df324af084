"""Stage 2: the image encoders train against frozen prompts, equation (17) and its relatives."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.losses.registry import find_terms
from pipeline.losses.terms import Dimensions, EncoderFeatures, EncoderLabels, LossInputs, Need, present
from pipeline.models.image_encoder import ImageEncoder, ImageFeatures, use_fast_layout
from pipeline.trainer.distributed import join_batch_norms
from pipeline.trainer.engine import Engine, TrainingRun
from pipeline.trainer.gradients import weighted_sum
from pipeline.trainer.loop import train
from pipeline.trainer.schedule import RateAt, by_epoch, cosine_rate, step_rate
from pipeline.trainer.task import Plan
from pipeline.training.batches import EncoderBatch, EncoderData
from pipeline.training.settings import EncoderSettings, ScheduleSettings


class EncoderTask(nn.Module):
    """E_v, what the terms of a method need beside it, and the losses of stage 2.

    What no term needs is not made and not computed: without a term on the shielding stream there is no E_v^s.

    Args:
        image_encoder: E_v; the only part that inference uses. E_v^s starts as a copy of it.
        weights: Weight of each term in the sum, by name; see :mod:`pipeline.losses.registry`.
        identities: K.
        seed: For the initial weights of the learned parts; those of a part depend on its name and the seed only, so
            that methods are compared from the same start.
        settings: Of stage 2, those of the losses included.
        scale: CLIP's exp(logit_scale), for cosine similarities.
        identity_texts: Frozen text features of all identity prompts, (K, D).
        clothes_texts: Frozen text features of all clothes prompts, (K_c, D).
        identity_clothes: Clothes classes of each identity, see :class:`LossInputs`; K_c is its largest number + 1.
        targets: Hidden and projected features of the shielding images of all training images by the frozen encoder,
            (N, C + D), looked up by the batch's ``rows``; None computes them for each view by a frozen copy of E_v,
            where a term needs them.
        captions: Features of texts about each training image, (N, T), by what they are about (``identity``,
            ``clothes``), looked up by the batch's ``rows``; those that no term needs are not kept.

    Raises:
        InputError: A term is not known, or ``settings.alternate`` is given and no term examines.
        ValueError: A term needs what was not given.
    """

    splits = True
    identity_texts: Tensor | None
    clothes_texts: Tensor | None
    identity_clothes: Tensor | None
    targets: Tensor | None
    identity_captions: Tensor | None
    clothes_captions: Tensor | None

    def __init__(
        self,
        image_encoder: ImageEncoder,
        weights: Mapping[str, float],
        *,
        identities: int,
        seed: int,
        settings: EncoderSettings,
        scale: float = 1.0,
        identity_texts: Tensor | None = None,
        clothes_texts: Tensor | None = None,
        identity_clothes: Tensor | None = None,
        targets: Tensor | None = None,
        captions: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self._terms = find_terms(weights)
        self._loss_weights = {name: float(weights[name]) for name in self._terms}
        self._settings = settings
        self._scale = scale
        if settings.alternate is not None and not any(term.examines for term in self._terms.values()):
            raise InputError("encoder.alternate is set, but no term of the method examines: nothing to take turns with")
        needs = {need for term in self._terms.values() for need in term.needs}
        about_identity, about_clothes = ((captions or {}).get(name) for name in ("identity", "clothes"))
        given = {
            "identity_texts": identity_texts,
            "clothes_texts": clothes_texts,
            "clothes_classes": identity_clothes,
            "identity_captions": about_identity,
            "clothes_captions": about_clothes,
        }
        self._check(needs, given)
        self.image_encoder = image_encoder
        self.shielding_encoder = deepcopy(image_encoder) if "shielding" in needs else None
        self._targets_by_copy = "target" in needs and targets is None
        self._frozen: list[nn.Module] = []  # in a list: what is frozen is no part of this module's state
        if self._targets_by_copy:
            self._frozen.append(deepcopy(image_encoder).requires_grad_(False).eval())
        for name, value, wanted in (
            ("identity_texts", identity_texts, "identity_texts" in needs),
            ("clothes_texts", clothes_texts, "clothes_texts" in needs),
            ("identity_clothes", identity_clothes, bool(needs & {"clothes_texts", "clothes_classes"})),
            ("targets", targets, "target" in needs),
            ("identity_captions", about_identity, "identity_captions" in needs),
            ("clothes_captions", about_clothes, "clothes_captions" in needs),
        ):
            self.register_buffer(name, value if wanted else None, persistent=False)
        clothes_classes = 0 if identity_clothes is None else int(identity_clothes.max()) + 1
        self.parts = self._make_parts(
            Dimensions(
                image_encoder.hidden_dim,
                image_encoder.projected_dim,
                identities,
                clothes_classes,
                self._settings,
                *(0 if texts is None else texts.shape[1] for texts in (about_identity, about_clothes)),
            ),
            seed,
        )

    @staticmethod
    def _check(needs: set[Need], given: Mapping[str, Tensor | None]) -> None:
        missing = [name for name, value in given.items() if name in needs and value is None]
        if missing:
            raise ValueError(f"the terms need {', '.join(missing)}")

    def _make_parts(self, dimensions: Dimensions, seed: int) -> nn.ModuleDict:
        parts: dict[str, nn.Module] = {}
        for term in self._terms.values():
            for name, build in term.parts.items():
                if name not in parts:
                    generator = torch.Generator().manual_seed(seed * 2**32 + crc32(name.encode()))
                    parts[name] = build(dimensions, generator)
        return nn.ModuleDict(parts)

    def _apply(self, *arguments: Any, **settings: Any) -> "EncoderTask":
        """Moves to a device or type take the frozen encoder along, although it is no part of the state."""
        super()._apply(*arguments, **settings)  # type: ignore[no-untyped-call]
        for module in self._frozen:
            module._apply(*arguments, **settings)  # type: ignore[no-untyped-call]
        return self

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms in the sum."""
        return tuple(self._terms)

    @property
    def uses_shielding_images(self) -> bool:
        """Whether a batch must have its shielding views."""
        return self.shielding_encoder is not None or self._targets_by_copy

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """Weight of each term in the sum (17), by name."""
        return self._loss_weights

    def loss_weights_at(self, epoch: int, step: int) -> Mapping[str, float]:
        """Weights of the terms that enter the sum in an epoch at an optimiser step, both from 0 over the whole run.

        With ``alternate`` (n, m), n steps of the examining terms are followed by m steps of all others. Parameters that
        only absent terms move must get no gradient at that step (None, not zero), so that neither momentum nor weight
        decay moves them.
        """
        weights = {
            name: weight
            for name, weight in self._loss_weights.items()
            if epoch >= self._settings.start_epochs.get(name, 0)
        }
        if self._settings.alternate is None:
            return weights
        examine, other = self._settings.alternate
        examining = step % (examine + other) < examine
        return {name: weight for name, weight in weights.items() if self._terms[name].examines == examining}

    def _targets(self, batch: EncoderBatch) -> Tensor | None:
        if self.targets is not None:
            return self.targets[batch.rows]
        if not self._targets_by_copy:
            return None
        with torch.no_grad():
            features: ImageFeatures = self._frozen[0](present(batch.shielding))
        return features.joined

    def encode(self, batch: EncoderBatch) -> EncoderFeatures:
        """The expensive part: all image encoders on a batch, or on a part of one.

        No image looks at another one here, except through batch norm where an image encoder has it (CLIP's ResNets and
        the convolutional stem) and is in training mode.
        """
        cameras = batch.cameras
        raw: ImageFeatures = self.image_encoder(batch.raw, cameras)
        found = EncoderFeatures(
            *raw,
            target=self._targets(batch),
            identity_caption=_at(self.identity_captions, batch),
            clothes_caption=_at(self.clothes_captions, batch),
        )
        if self.shielding_encoder is None:
            return found
        projected, hidden, earlier = self.shielding_encoder(present(batch.shielding), cameras)
        return replace(found, shielding_projected=projected, shielding_hidden=hidden, shielding_earlier=earlier)

    def labels(self, batch: EncoderBatch) -> EncoderLabels:
        """The labels of a batch, without its images."""
        return EncoderLabels(batch.identities, batch.clothes_classes, batch.cameras, batch.known)

    def losses(self, features: EncoderFeatures, labels: EncoderLabels) -> dict[str, Tensor]:
        """The terms by name, unweighted, over the whole (global) batch that the features are of.

        Everything that looks at more than one image or has few parameters is here: heads with batch norm, Proj_c,
        triplet mining, identity centres. A term is absent if the batch has nothing that it is about (no image with a
        clothes class).
        """
        inputs = LossInputs(
            features,
            labels,
            dict(self.parts.items()),
            self._settings,
            self._scale,
            self.identity_texts,
            self.clothes_texts,
            self.identity_clothes,
        )
        losses = {name: term.compute(inputs) for name, term in self._terms.items()}
        return {name: loss for name, loss in losses.items() if loss is not None}

    def forward(self, batch: EncoderBatch) -> dict[str, Tensor]:
        """The terms by name; the sum is the loop's."""
        return self.losses(self.encode(batch), self.labels(batch))


def _at(texts: Tensor | None, batch: EncoderBatch) -> Tensor | None:
    """The texts of a batch's images; None if there are none."""
    return None if texts is None else texts[present(batch.rows)]


def make_optimizer(task: EncoderTask, settings: ScheduleSettings) -> torch.optim.Adam:
    """Adam as in CLIP-ReID: biases at twice the rate; heads and Proj_c at ``head_factor`` times it.

    Parameters of one rate are one group, so that a step is a few fused calls and not one for each parameter.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in task.named_parameters():
        if parameter.requires_grad:
            factor = 2.0 if name.endswith("bias") else 1.0
            if not name.startswith(("image_encoder.", "shielding_encoder.")):
                factor *= settings.head_factor
            groups.setdefault(factor, []).append(parameter)
    described = [{"params": parameters, "rate_factor": factor} for factor, parameters in groups.items()]
    return torch.optim.Adam(described, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def encoder_rates(settings: ScheduleSettings) -> RateAt:
    """The learning rate of stage 2 by epoch: a warm-up from a tenth of the rate, then the schedule."""
    epochs, rate = settings.epochs, settings.learning_rate
    warmup, start = settings.warmup_fraction * epochs, 0.1 * rate
    end = epochs + 1 if settings.schedule_every == "epoch" else epochs  # else the last epoch would have a rate of 0

    def rate_at(position: float) -> float:
        if settings.schedule == "step":
            return step_rate(position, settings.milestones, rate, warmup=warmup, warmup_start=start)
        return cosine_rate(position, end, rate, warmup=warmup, warmup_start=start)

    return by_epoch(rate_at, settings.schedule_every)


def train_encoder(
    task: EncoderTask, data: EncoderData, settings: ScheduleSettings, engine: Engine | None = None
) -> TrainingRun:
    """Train the encoders (section 4.2: 40 epochs, Adam, 5e-6, cosine decay).

    Args:
        task: Model and losses.
        data: Batches.
        settings: How long, and at which rates.
        engine: How steps are computed, kept and checked.

    Raises:
        WorkError: See :func:`train`.
        InputError: See :func:`train`.
    """
    engine = engine or Engine()
    ranks = engine.ranks
    task.train()
    use_fast_layout(task)
    join_batch_norms(task, ranks)
    return train(
        task,
        make_optimizer(task, settings),
        Plan(
            what="encoder",
            epochs=settings.epochs,
            epoch_of=lambda number, start_step: data.epoch(number, start_step, ranks.rank, ranks.world),
            rate_at=encoder_rates(settings),
            weigh=lambda epoch, step, losses: weighted_sum(losses, task.loss_weights_at(epoch, step)),
        ),
        engine,
    )
