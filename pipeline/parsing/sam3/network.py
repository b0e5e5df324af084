"""Segmentation by text prompts with SAM 3 (arXiv 2511.16719): each phrase finds its instances, each with a mask.

The image goes through its encoder once, which is most of the work; each phrase then through the detector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import BadImageError
from pipeline.images import Mask, RgbImage
from pipeline.parsing.forward import DeviceParser, check_images, parse_in_batches
from pipeline.parsing.instances import Instances, PersonMode, parse_instances
from pipeline.parsing.parser import Parsing
from pipeline.parsing.sam3.loading import LoadedSam3, tokens_of
from pipeline.parsing.sam3.phrases import Phrases
from pipeline.precision import PrecisionName

MASK_THRESHOLD: Final = 0.5
"""Probability above which a pixel belongs to an instance's mask."""

PHRASES_AT_ONCE: Final = 4
"""Phrases in one forward of the detector on a device that is no CPU: each takes memory for 200 masks."""


@dataclass(frozen=True)
class Seen:
    """What the image encoder makes of a batch of images: features of several sizes, each (batch, ...).

    Attributes:
        features: The maps of features.
        positions: Their position encodings.
        kind: Class of transformers that holds both.
    """

    features: tuple[Tensor, ...]
    positions: tuple[Tensor, ...]
    kind: type[Any]

    def __getitem__(self, row: int) -> "Seen":
        """Those of one image."""
        one = slice(row, row + 1)
        return Seen(tuple(each[one] for each in self.features), tuple(each[one] for each in self.positions), self.kind)

    def for_phrases(self, count: int) -> Any:
        """Those of one image as the network takes them with several phrases."""
        maps = [tuple(each.expand(count, *each.shape[1:]) for each in some) for some in (self.features, self.positions)]
        return self.kind(fpn_hidden_states=maps[0], fpn_position_encoding=maps[1])


class Sam3Parser(DeviceParser):
    """Parses images of any size; the model's own image processor scales and normalises each.

    Args:
        loaded: The model.
        phrases: What it is asked for.
        score_threshold: Instances whose score is not above it are left out.
        person_mode: ``union`` keeps everything; ``central`` keeps the person around the image's centre.
        device: Torch device string.
        batch_size: Images in one forward of the image encoder on a device that is no CPU.
        precision: The network's; scores and masks are always computed from fp32 logits.

    Raises:
        InputError: The device cannot do this precision, or a phrase is too long.
    """

    name = "sam3"

    def __init__(
        self,
        loaded: LoadedSam3,
        phrases: Phrases,
        score_threshold: float = 0.5,
        person_mode: PersonMode = "union",
        device: str = "cpu",
        batch_size: int = 1,
        precision: PrecisionName = "fp32",
    ) -> None:
        super().__init__(phrases.scheme, device, batch_size, precision, loaded.weights_sha256)
        self._tokens = tuple(each.to(self._device) for each in tokens_of(loaded, phrases.texts))
        self._network: Any = loaded.network.to(self._device)
        self._processor = loaded.processor
        self._phrases = phrases
        self._score_threshold = score_threshold
        self._person_mode = person_mode
        self._at_once = 1 if self._device.type == "cpu" else PHRASES_AT_ONCE
        self._texts: Tensor | None = None

    def parse(self, images: Sequence[RgbImage], paths: Sequence[str] | None = None) -> list[Parsing | BadImageError]:
        """Parse RGB uint8 images of any sizes.

        Raises:
            ValueError: An image is not uint8 of shape (height, width, 3), or has no pixels.
        """
        check_images(images)
        inputs = [self._input(image) for image in images]

        def label(seen: Seen, place: int) -> Parsing:
            shape = images[place].shape[0], images[place].shape[1]
            return parse_instances(
                self.find(seen, shape),
                self._phrases.targets,
                shape,
                self._score_threshold,
                self._person_mode,
                self._phrases.person,
                beneath=() if self._phrases.person is None else (self._phrases.person,),
            )

        return parse_in_batches(inputs, self._batch_size, self.see, label)

    def _input(self, image: RgbImage) -> Tensor:
        """Float32 (3, height, width), scaled to the network's size whatever the image's aspect."""
        pixels: Tensor = self._processor(images=[image], return_tensors="pt", input_data_format="channels_last")[
            "pixel_values"
        ][0]
        return pixels

    @torch.inference_mode()
    def see(self, batch: Tensor) -> Seen:
        """Features of a batch of inputs (batch, 3, height, width)."""
        with self._autocast:
            seen = self._network.get_vision_features(pixel_values=batch.to(self._device))
        return Seen(tuple(seen.fpn_hidden_states), tuple(seen.fpn_position_encoding), type(seen))

    @torch.inference_mode()
    def find(self, seen: Seen, shape: tuple[int, int]) -> Instances:
        """The instances of all phrases in one image; an instance's class is the place of its phrase.

        Args:
            seen: Features of one image.
            shape: Its height and width.
        """
        classes: list[int] = []
        scores: list[Tensor] = []
        masks: list[Tensor] = []
        for first in range(0, len(self._phrases.texts), self._at_once):
            some = slice(first, min(first + self._at_once, len(self._phrases.texts)))
            for place, (score, mask) in enumerate(self._ask(seen, some), start=first):
                kept = score > self._score_threshold
                classes += [place] * int(kept.sum())
                scores.append(score[kept].cpu())
                masks.append(mask[kept].sigmoid().cpu())
        shares = torch.cat(masks)

        def paste(index: int) -> tuple[Mask, np.ndarray]:
            # as transformers does: probabilities are scaled, not logits
            scaled = torch.nn.functional.interpolate(
                shares[None, index : index + 1], size=shape, mode="bilinear", align_corners=False
            )[0, 0].numpy()
            return scaled > MASK_THRESHOLD, scaled

        return Instances(classes, torch.cat(scores).tolist(), paste)

    def _ask(self, seen: Seen, some: slice) -> list[tuple[Tensor, Tensor]]:
        """For each of some phrases the queries' scores (queries,) and mask logits (queries, rows, columns), fp32."""
        texts, mask = self._text_features(some)
        with self._autocast:
            answer = self._network(vision_embeds=seen.for_phrases(len(mask)), text_embeds=texts, attention_mask=mask)
        scores = answer.pred_logits.float().sigmoid()
        if answer.presence_logits is not None:  # whether the phrase's concept is in the image at all
            scores = scores * answer.presence_logits.float().sigmoid()
        return list(zip(scores, answer.pred_masks.float(), strict=True))

    def _text_features(self, some: slice) -> tuple[Any, Tensor]:
        """Features of some phrases as the network takes them, and which tokens count; computed once."""
        numbers, mask = self._tokens
        if self._texts is None:
            with self._autocast:
                answer = self._network.get_text_features(input_ids=numbers, attention_mask=mask, return_dict=True)
            self._texts = answer.pooler_output
        return SimpleNamespace(pooler_output=self._texts[some]), mask[some]
