"""Contrastive pre-training of a small CLIP: phrases of single factors at every step, whole captions at some."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.losses.supervised_contrastive import supervised_contrastive
from pipeline.models.clip import Clip
from pipeline.models.preprocess import normalise
from pipeline.trainer.curves import CurveRow
from pipeline.trainer.epochs import run_epochs
from pipeline.trainer.schedule import cosine_rate
from pipeline.trainer.states import ResumeSettings
from pipeline.training.guides import Guides, start_positions
from pipeline.training.pretrain_data import CaptionedImages, FactorPhrases, PretrainBatch, PretrainBatches
from pipeline.training.settings import PretrainSettings

WARMUP_SHARE = 0.05
LOSS_WEIGHTS = {"guide_person": 3.0, "caption": 0.1}
"""Others have 1. What tells people apart is small in the image beside their clothes: guides must point at it."""
_PRETRAINED = "image_encoder.tower.trunk."
"""Start of the names of what ``pretrain.image_start`` gives weights to."""
SPREAD_STEPS = 25
SPREAD_RATE = 1e-3
SPREAD_SHARPNESS = 5.0
MAX_LOGIT_SCALE = 4.6052  # ln 100, as CLIP clips it


@dataclass(frozen=True)
class PretrainFeatures:
    """What both encoders make of a batch.

    Attributes:
        images: Image features, NOT normalised, (B, D).
        phrases: Normalised text features of all phrases of all factors, (P, D).
        captions: Normalised text features of the captions that differ, (U, D); None in steps without captions.
        caption_numbers: Row of ``captions`` that belongs to each image, (B,).
    """

    images: Tensor
    phrases: Tensor
    captions: Tensor | None = None
    caption_numbers: Tensor | None = None


class PretrainTask(nn.Module):
    """The losses of the pre-training; training both encoders and the logit scale.

    Args:
        clip: What is trained.
        factors: Factors of the images, in the order of the columns of a batch's values.
        seed: For the initial weights of the guides.
    """

    splits = False

    def __init__(self, clip: Clip, factors: Sequence[FactorPhrases], seed: int = 0) -> None:
        super().__init__()
        self.image_encoder = clip.image_encoder
        self.text_encoder = clip.text_encoder
        self.logit_scale = clip.logit_scale
        self.grid = clip.spec.grid
        self._tokenizer = clip.tokenizer
        self._factors = tuple(factors)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.guides = Guides(clip.image_encoder, clip.spec.grid, factors)
        self._phrase_tokens = clip.tokenizer([phrase for factor in factors for phrase in factor.phrases])

    def phrase_features(self) -> Tensor:
        """Normalised text features of all phrases of all factors, one after another, (P, D)."""
        tokens = self._phrase_tokens.to(self.logit_scale.device)
        return F.normalize(self.text_encoder.encode_tokens(tokens), dim=1)

    def factor_logits(self, images: Tensor, phrases: Tensor) -> list[Tensor]:
        """Products of image features (B, D) with the normalised phrases of each factor, a (B, values) each.

        The image features are NOT normalised: with normalised ones all images share one direction for hundreds of
        steps, since the part that tells them apart is small beside the part they have in common.
        """
        logits = images @ phrases.T
        return list(torch.split(logits, [len(factor.phrases) for factor in self._factors], dim=1))

    def _captions(self, captions: list[str], device: torch.device) -> tuple[Tensor, Tensor]:
        """Normalised text features of the captions that differ, (U, D), and the row of each image's, (B,)."""
        numbers = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
        labels = torch.tensor([numbers[caption] for caption in captions], device=device)
        tokens = self._tokenizer(list(numbers)).to(device)
        return F.normalize(self.text_encoder.encode_tokens(tokens), dim=1), labels

    def _caption_loss(self, images: Tensor, texts: Tensor, labels: Tensor) -> Tensor:
        """InfoNCE in both directions of normalised features (B, D); equal captions are positives of each other."""
        scaled = self.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp() * images
        towards = supervised_contrastive(scaled, texts, labels, labels)
        return (towards + supervised_contrastive(texts, scaled, labels, labels)) / 2

    def _factor_losses(self, logits: Sequence[Tensor], values: Tensor) -> dict[str, Tensor]:
        """Cross-entropies of logits (B, values) of each factor: means over the person's factors and the clothes'."""
        losses: dict[str, list[Tensor]] = {"person": [], "clothes": []}
        for factor, scores, truth in zip(self._factors, logits, values.T, strict=True):
            applies = (truth >= 0).sum().clamp(min=1)
            loss = F.cross_entropy(scores, truth, ignore_index=-1, reduction="sum") / applies
            losses["clothes" if factor.of_clothes else "person"].append(loss)
        return {name: torch.stack(parts).mean() for name, parts in losses.items() if parts}

    def labels(self, batch: PretrainBatch) -> PretrainBatch:
        """The batch itself, which has the values of the factors."""
        return batch

    def encode(self, batch: PretrainBatch) -> PretrainFeatures:
        """The expensive part: both encoders; the guides keep the patches of these images for :meth:`losses`."""
        with self.guides.watch(self.image_encoder):
            images: Tensor = self.image_encoder(batch.images).projected
        phrases = self.phrase_features()
        if batch.captions is None:
            return PretrainFeatures(images, phrases)
        return PretrainFeatures(images, phrases, *self._captions(batch.captions, images.device))

    def losses(self, features: PretrainFeatures, batch: PretrainBatch) -> dict[str, Tensor]:
        """Losses by name, of features that :meth:`encode` made just before.

        ``person`` and ``clothes``, each the mean over its factors; ``guide_person`` and ``guide_clothes``, the same by
        the guides; ``caption`` in some steps.
        """
        images = features.images
        means = self._factor_losses(self.factor_logits(images, features.phrases), batch.values)
        for guide in self.guides(images):
            for name, loss in self._factor_losses(guide, batch.values).items():
                means[f"guide_{name}"] = means.get(f"guide_{name}", 0) + loss
        if features.captions is not None and features.caption_numbers is not None:
            texts = features.captions[features.caption_numbers]
            means["caption"] = self._caption_loss(F.normalize(images, dim=1), texts, features.caption_numbers)
        return means

    def forward(self, batch: PretrainBatch) -> dict[str, Tensor]:
        """The losses by name; their sum is the loop's."""
        return self.losses(self.encode(batch), batch)


def check_image_factor(encoder: nn.Module, settings: PretrainSettings) -> None:
    """Refuse a learning rate of its own for an image tower that has no part which it would be for.

    Raises:
        InputError: The tower is not timm's, and ``pretrain.image_factor`` is not 1.
    """
    names = (f"image_encoder.{name}" for name, _ in encoder.named_parameters())
    if settings.image_factor != 1 and not any(name.startswith(_PRETRAINED) for name in names):
        raise InputError(
            f"pretrain.image_factor={settings.image_factor} is for image towers of timm's, and this model has another: "
            f"set it to 1, or choose such a model (model.name=walker-lite0)"
        )


def _parameter_groups(task: PretrainTask, settings: PretrainSettings) -> list[dict[str, object]]:
    """Weight decay is for matrices, not for biases, norms and the logit scale; a pretrained tower has its own rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in task.named_parameters():
        factor = settings.image_factor if name.startswith(_PRETRAINED) else 1.0
        decay = settings.weight_decay if parameter.ndim >= 2 else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    order = sorted(groups, key=lambda group: (-group[1], group[0]))
    return [{"params": groups[group], "rate_factor": group[0], "weight_decay": group[1]} for group in order]


def spread_phrases(task: PretrainTask, steps: int = SPREAD_STEPS) -> None:
    """Push the phrases' features apart before any image is seen (uniformity of Wang and Isola 2020), a few seconds.

    Sentences that differ in one word start almost equal, and equal targets give the image encoder no direction.
    """
    optimizer = torch.optim.AdamW(task.text_encoder.parameters(), lr=SPREAD_RATE)
    for _ in range(steps):
        phrases = task.phrase_features()
        itself = torch.eye(len(phrases), dtype=torch.bool, device=phrases.device)
        crowding = (SPREAD_SHARPNESS * phrases @ phrases.T).masked_fill(itself, -torch.inf).logsumexp(dim=1).mean()
        optimizer.zero_grad()
        crowding.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def pretrain(
    task: PretrainTask,
    batches: PretrainBatches,
    settings: PretrainSettings,
    resume: ResumeSettings | None = None,
    quiet: bool = False,
) -> list[CurveRow]:
    """Spread places and phrases, then train with AdamW, linear warm-up and cosine decay to zero; returns the curves.

    Args:
        task: The CLIP with its guides.
        batches: What it learns from.
        settings: How long and at which rates.
        resume: Keep the state, and go on from it.
        quiet: No progress line.

    Raises:
        InputError: See :func:`check_image_factor`.
        WorkError: The loss is not finite.
    """
    check_image_factor(task.image_encoder, settings)
    epochs, rate = settings.epochs, settings.learning_rate
    task.train()
    start_positions(task.image_encoder, task.grid)
    spread_phrases(task)
    rows = run_epochs(
        task,
        torch.optim.AdamW(_parameter_groups(task, settings), lr=rate, fused=True),
        epochs,
        batches.epoch,
        lambda position: cosine_rate(position, epochs, rate, warmup=WARMUP_SHARE * epochs),
        what="pretrain-clip",
        loss_weights=LOSS_WEIGHTS,
        resume=resume,
        quiet=quiet,
    )
    task.eval()
    return rows


@torch.no_grad()
def zero_shot_accuracy(
    task: PretrainTask,
    data: CaptionedImages,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    batch_size: int = 128,
) -> dict[str, dict[str, float]]:
    """How often the nearest phrase of a factor is the right one, in percent, on images not trained on.

    Returns:
        By factor: ``accuracy``, and ``chance``, the share of the most frequent value.
    """
    task.eval()
    device = task.logit_scale.device
    phrases = task.phrase_features()
    parts: list[list[Tensor]] = []
    for start in range(0, len(data), batch_size):
        images = normalise(data.images[start : start + batch_size].to(device), mean, std)
        features = task.image_encoder(images).projected
        parts.append([scores.argmax(dim=1).cpu() for scores in task.factor_logits(features, phrases)])
    result = {}
    for column, factor in enumerate(data.factors):
        values = data.values[:, column]
        known = values >= 0
        if not known.any():
            continue
        guesses = torch.cat([part[column] for part in parts])
        result[factor.name] = {
            "accuracy": round(100 * float((guesses == values)[known].float().mean()), 1),
            "chance": round(100 * float(values[known].bincount().max() / known.sum()), 1),
        }
    return result


@torch.no_grad()
def zero_unseen_words(clip: Clip, *parts: CaptionedImages) -> int:
    """Set the embedding of every token to zero that no phrase and no caption of the images has.

    No gradient ever reached those rows: they are the random numbers that training began with, scaled down by weight
    decay. Sentences of words that were seen have the same features as before.

    Returns:
        The number of tokens that were seen.
    """
    sentences = {text for data in parts for texts in data.captions.values() for text in texts}
    sentences |= {phrase for data in parts for factor in data.factors for phrase in factor.phrases}
    seen = torch.unique(clip.tokenizer(sorted(sentences)))
    weight = clip.text_encoder.tower.token_embedding.weight
    kept = weight[seen].clone()
    weight.zero_()
    weight[seen] = kept
    return len(seen)
