"""Universal segmentation by models of ``transformers``: each query proposes one mask and says which class it is.

Mask2Former (arXiv 2112.01527) is the pattern; OneFormer (2211.06220), EoMT (2503.19108) and MaskFormer (2107.06278)
answer in the same form.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.images import RgbImage
from pipeline.parsing.forward import check_images, parse_in_batches
from pipeline.parsing.labelling import Decision, Labelled, Taps, decided, label_map, taps_at
from pipeline.parsing.parser import Parsing, Taken
from pipeline.parsing.transformers.semantic import ModelRun, TransformersParser

Mode = Literal["semantic", "panoptic"]

MASK_THRESHOLD: Final = 0.5
"""Probability from which a pixel belongs to a query's mask."""

LEAST_VISIBLE: Final = 0.8
"""Share of a query's mask that must be its own, or other queries hide it too much: it is left out (panoptic)."""


@dataclass(frozen=True)
class Queries:
    """What the network answers for one image.

    Attributes:
        classes: Float32 (queries, classes + 1), probabilities; the last class is "no object".
        masks: (queries, rows, columns), logits of the masks.
    """

    classes: Tensor
    masks: Tensor


class UniversalParser(TransformersParser):
    """A parser whose network answers in queries.

    Args:
        run: The model, whose network returns ``class_queries_logits`` and ``masks_queries_logits``; its processor must
            not pad.
        mode: ``semantic``: a pixel's class is the one with the most probability, summed over all queries.
            ``panoptic``: it is that of the surest query with a mask there, and none where no query is sure.
        threshold: With ``panoptic``: queries whose class is not surer than this are left out.
        canvas: (height, width) of the input that the network needs, which images are filled up to below and on the
            right; None: any size will do.
        inputs: What the network is called with besides, for one image; each has a first dimension of 1.

    Raises:
        InputError: The device cannot do this precision.
    """

    def __init__(
        self,
        run: ModelRun,
        mode: Mode = "semantic",
        threshold: float = 0.8,
        canvas: tuple[int, int] | None = None,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(run)
        self._mode = mode
        self._threshold = threshold
        self._canvas = canvas
        # as the models' own processors do, which pad before they normalise
        self._filling = None if canvas is None else self._input(np.zeros((*canvas, 3), dtype=np.uint8))
        self._inputs = {name: value.to(self._device) for name, value in (inputs or {}).items()}

    def launch(self, images: Sequence[RgbImage], paths: Sequence[str] | None = None) -> Taken:
        """See :meth:`pipeline.parsing.forward.LaunchedParser.launch`."""
        check_images(images)
        inputs = [self._input(image) for image in images]
        filled = [self._filled_up(each) for each in inputs]

        def taps(queries: Queries, place: int) -> tuple[Taps, Taps]:
            shape, inside = images[place].shape[:2], inputs[place].shape[1:]
            size = self._canvas or inside
            rows, columns = (
                _taps(queries.masks.shape[1 + side], inside[side] / size[side], shape[side]) for side in (0, 1)
            )
            return rows, columns

        if images and self._device.type != "cpu":
            sent = [tensors["input"] for tensors in self._send([{"input": each.numpy()} for each in filled])]
            return self._label_on_device(sent, self._ask, taps, self._labelled, self._add)
        parsings = parse_in_batches(
            filled, self._batch_size, self._ask, lambda queries, place: self._paint(queries, *taps(queries, place))
        )
        return lambda: parsings

    def _filled_up(self, pixels: Tensor) -> Tensor:
        """An input (3, height, width) of the network's size, black below and on the right."""
        if self._filling is None:
            return pixels
        filled = self._filling.clone()
        filled[:, : pixels.shape[1], : pixels.shape[2]] = pixels
        return filled

    @torch.inference_mode()
    def _ask(self, batch: Tensor) -> list[Queries]:
        """The queries of each of a batch of inputs (batch, 3, height, width)."""
        more = {name: value.expand(len(batch), *value.shape[1:]) for name, value in self._inputs.items()}
        with self._autocast:
            answer = self._network(pixel_values=batch.to(self._device), **more)
        classes = answer.class_queries_logits.float().softmax(dim=2)
        return [Queries(*each) for each in zip(classes, answer.masks_queries_logits, strict=True)]

    def _paint(self, queries: Queries, rows: Taps, columns: Taps) -> Parsing:
        if self._mode == "panoptic":
            return paint_panoptic(queries, rows, columns, self._numbers, self._threshold)
        return paint_semantic(queries, rows, columns, self._numbers)

    def _labelled(self) -> Labelled:
        return Labelled(_with_nothing(self._numbers).to(torch.uint8))

    def _add(self, labelled: Labelled, queries: Queries, rows: Taps, columns: Taps) -> None:
        """Label an image as :meth:`_paint` does, without waiting for anything that the device computes."""
        if self._mode == "panoptic":
            decide = surest_query(queries, rows, columns, self._threshold)
        else:
            decide = summed_queries(queries)
        labelled.add(queries.masks, rows, columns, decide)


def _with_nothing(numbers: Tensor) -> Tensor:
    """Label numbers of the classes, and after them that of no object, which is nobody."""
    return torch.cat([numbers, numbers.new_zeros(1)])


def _taps(inputs: int, share: float, outputs: int) -> Taps:
    """Taps that scale the first ``share`` of ``inputs`` cells to ``outputs`` pixels; what fills up is not looked at."""
    centres = torch.arange(outputs, dtype=torch.float64) + 0.5
    return taps_at(centres * (inputs * share / outputs) - 0.5, max(1, round(inputs * share)))


@torch.inference_mode()
def paint_semantic(queries: Queries, rows: Taps, columns: Taps, numbers: Tensor) -> Parsing:
    """The class of a pixel is the one with the most of P(class of query) x P(pixel in its mask), summed over queries.

    The sum over queries may exceed one, where several of them share a pixel: the confidence counts it as one.

    Args:
        queries: The network's answer.
        rows: Taps of the masks' rows for the image's.
        columns: Taps of the masks' columns for the image's.
        numbers: Integers (classes,), label number of each class.
    """
    return label_map(queries.masks, rows, columns, numbers, summed_queries(queries))


def summed_queries(queries: Queries) -> Decision:
    """The decision of :func:`paint_semantic`."""
    classes = queries.classes[:, :-1]

    def decide(masks: Tensor) -> tuple[Tensor, Tensor]:
        most, found = (masks.sigmoid() @ classes).max(dim=2)
        return found, most.clamp_max(1)

    return decide


@torch.inference_mode()
def paint_panoptic(queries: Queries, rows: Taps, columns: Taps, numbers: Tensor, threshold: float) -> Parsing:
    """The class of a pixel is that of the query with the most of score x P(pixel in its mask), if it has the pixel.

    Left out are queries that are no object or not surer than the threshold, and those of whose masks others hide more
    than a fifth. What no query has is background.

    Args:
        queries: The network's answer.
        rows: Taps of the masks' rows for the image's.
        columns: Taps of the masks' columns for the image's.
        numbers: Integers (classes,), label number of each class.
        threshold: Of the score, which is the probability of a query's class.
    """
    kept = _kept(queries, threshold)
    if not kept.any():
        return Parsing(np.zeros((len(rows.first), len(columns.first)), dtype=np.uint8), 0.0)
    few = Queries(queries.classes[kept], queries.masks[kept])  # on a CPU every query costs
    decide = surest_query(few, rows.to(kept.device), columns.to(kept.device), threshold)
    return label_map(few.masks, rows, columns, _with_nothing(numbers), decide)


def _kept(queries: Queries, threshold: float) -> Tensor:
    """Which queries are an object, and surer than the threshold: boolean (queries,)."""
    scores, classes = queries.classes.max(dim=1)
    return (classes != queries.classes.shape[1] - 1) & (scores > threshold)


@torch.inference_mode()
def surest_query(queries: Queries, rows: Taps, columns: Taps, threshold: float) -> Decision:
    """The decision of :func:`paint_panoptic`. Queries that are left out need not be taken out before, so that nobody
    waits for which they are.

    Args:
        queries: The network's answer.
        rows: Taps of the masks' rows for the image's, on the device.
        columns: Taps of the masks' columns for the image's, on the device.
        threshold: Of the score.
    """
    scores, classes = queries.classes.max(dim=1)
    nothing, kept = queries.classes.shape[1] - 1, _kept(queries, threshold)
    own, whole = torch.zeros_like(classes), torch.zeros_like(classes)

    def weigh(shares: Tensor) -> Tensor:
        return torch.where(kept, shares * scores, -1)  # below all that are kept

    def measure(values: Tensor) -> tuple[Tensor, Tensor]:
        shares = values.sigmoid()
        first = weigh(shares).argmax(dim=2)
        own.index_add_(0, first.flatten(), torch.ones_like(first.flatten()))
        whole.add_((shares >= MASK_THRESHOLD).sum(dim=(0, 1)))
        return first, shares[..., 0]

    for _ in decided(queries.masks, rows, columns, measure):
        pass
    visible = kept & (own > 0) & (whole > 0) & (own > LEAST_VISIBLE * whole)

    def decide(values: Tensor) -> tuple[Tensor, Tensor]:
        shares = values.sigmoid()
        most, first = weigh(shares).max(dim=2)
        inside = shares.gather(2, first[..., None])[..., 0] >= MASK_THRESHOLD
        return torch.where(visible[first] & inside, classes[first], nothing), most

    return decide
