"""From the raw values of a label file to label numbers of a scheme: numberings, colours, masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.errors import BadImageError
from pipeline.images import LabelMap
from pipeline.labels import LabelScheme
from pipeline.parsing.label_files import UNREADABLE, Values

VALUES: Final = "label_map_values"
_SHOWN: Final = 5
_UNKNOWN: Final = -1

Colour = tuple[int, int, int]


def _some(values: Values) -> str:
    shown = ", ".join(str(value) for value in values[:_SHOWN].tolist())
    return shown + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")


@dataclass(frozen=True)
class Numbers:
    """Values are label numbers, or numbers that a table translates.

    Attributes:
        scheme: Of the result.
        table: Label number by value; None: values are the scheme's own numbers.
    """

    scheme: LabelScheme
    table: Mapping[int, int] | None = None

    def label_map(self, values: Values, name: str) -> LabelMap:
        """Label numbers, uint8 (height, width).

        Raises:
            BadImageError: ``label_map_unreadable`` or ``label_map_values``.
        """
        if values.ndim == 3:
            raise BadImageError(
                UNREADABLE, f"{name} is a colour image, not a map of label numbers; give the setting colours for it"
            )
        if values.dtype.kind == "f":
            raise BadImageError(UNREADABLE, f"{name} holds values of type {values.dtype}; labels must be integers")
        found, positions = np.unique(values, return_inverse=True)
        known = self.table if self.table is not None else {number: number for number in range(len(self.scheme.labels))}
        numbers = np.array([known.get(int(value), _UNKNOWN) for value in found], dtype=np.int64)
        if (numbers == _UNKNOWN).any():
            expected = f"the scheme {self.scheme.name} has 0 to {len(self.scheme.labels) - 1}"
            if self.table is not None:
                expected = "the setting values does not list them"
            raise BadImageError(VALUES, f"{name} has the values {_some(found[numbers == _UNKNOWN])}; {expected}")
        label_map: LabelMap = numbers.astype(np.uint8)[positions].reshape(values.shape)
        return label_map


@dataclass(frozen=True)
class Colours:
    """Labels are coded by colour.

    Attributes:
        table: Label number by colour.
    """

    table: Mapping[Colour, int]

    def label_map(self, values: Values, name: str) -> LabelMap:
        """Label numbers, uint8 (height, width).

        Raises:
            BadImageError: ``label_map_unreadable`` or ``label_map_values``.
        """
        if values.ndim != 3:
            raise BadImageError(UNREADABLE, f"{name} has no colours, but the setting colours is given")
        parts = values.astype(np.uint32)
        codes = (parts[..., 0] << 16) | (parts[..., 1] << 8) | parts[..., 2]
        found, positions = np.unique(codes, return_inverse=True)
        known = {(red << 16) | (green << 8) | blue: number for (red, green, blue), number in self.table.items()}
        numbers = np.array([known.get(int(code), _UNKNOWN) for code in found], dtype=np.int64)
        if (numbers == _UNKNOWN).any():
            unknown = [[int(code) >> 16, int(code) >> 8 & 255, int(code) & 255] for code in found[numbers == _UNKNOWN]]
            more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            raise BadImageError(
                VALUES,
                f"{name} has the colours {', '.join(map(str, unknown[:_SHOWN]))}{more}, "
                f"which the setting colours does not list",
            )
        label_map: LabelMap = numbers.astype(np.uint8)[positions].reshape(codes.shape)
        return label_map


@dataclass(frozen=True)
class TwoValued:
    """A mask: its pixels stand for one label, the others for the background.

    Attributes:
        number: The label.
        threshold: Values above it are the mask; None: the file has 0 and one other value, 1 or its type's largest.
    """

    number: int
    threshold: float | None = None

    def label_map(self, values: Values, name: str) -> LabelMap:
        """``number`` on the mask, 0 elsewhere; uint8 (height, width).

        Raises:
            BadImageError: ``label_map_unreadable`` or ``label_map_values``.
        """
        if values.ndim == 3:
            raise BadImageError(UNREADABLE, f"{name} is a colour image, not a mask in black and white")
        if self.threshold is not None:
            mask = values > self.threshold
        else:
            found = np.unique(values)
            marks = found[found != 0]
            if len(marks) > 1 or not all(float(mark) in (1.0, 255.0, 65535.0) for mark in marks.tolist()):
                raise BadImageError(
                    VALUES, f"{name} has the values {_some(found)}, a mask 0 and 1 or 0 and 255; set a threshold"
                )
            mask = values != 0
        return np.where(mask, self.number, 0).astype(np.uint8)


Meaning = Numbers | Colours | TwoValued
