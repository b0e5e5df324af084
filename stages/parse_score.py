"""The parser's score: how good a parser is on images whose labels people drew."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.arithmetic import arithmetic
from pipeline.config import Parameters
from pipeline.device import choose_device, set_threads
from pipeline.errors import BadImageError, InputError
from pipeline.files import write_json
from pipeline.images import LabelMap
from pipeline.labels import LIP, find_scheme
from pipeline.outputs import check_output
from pipeline.parsing.backends import load_backends
from pipeline.parsing.lite.training.ccp_labels import ccp_target, read_label_table
from pipeline.parsing.lite.training.scoring import target_scheme
from pipeline.parsing.parser import Parser, create_parser
from pipeline.parsing.scoring.crops import Example
from pipeline.parsing.scoring.evaluation import Scores, TwoScores, score, score_two
from pipeline.parsing.scoring.ground_truth import (
    LabelledImage,
    TruthScheme,
    cut_to_person,
    find_labelled,
    read_examples,
    read_labelled,
    truth_scheme,
)
from pipeline.progress import Progress
from stages.console import Console

HELD_OUT_EVERY = 5
SHOWN_NAMES = 8
LARGEST_VIEW = 4096
"""Pixels of a view's side: more than any photograph of a person is cut to, and little enough for memory."""


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from a text such as ``256x128``.

    Raises:
        InputError: It is none.
    """
    height, _, width = text.partition("x")
    sides = [int(side) if side.isdecimal() and len(side) < 9 else 0 for side in (height, width)]
    if not all(0 < side <= LARGEST_VIEW for side in sides):
        raise InputError(
            f"--view {text}: expected HEIGHTxWIDTH in pixels, each from 1 to {LARGEST_VIEW}, such as 256x128"
        )
    return sides[0], sides[1]


@dataclass(frozen=True)
class _Truth:
    """Meaning of the label maps, and how their numbers become those of the scheme."""

    scheme: TruthScheme
    translate: Callable[[LabelMap], LabelMap] | None = None


@dataclass(frozen=True)
class Asked:
    """What is scored.

    Attributes:
        images: Folder of images.
        labels: Folder of label maps.
        labels_scheme: Numbering of the label maps; None: the parser's.
        label_list: Label list of Clothing Co-Parsing, in its place.
        labels_clothes: Labels of the label maps that are clothes; empty: those of its scheme.
        held_out: Only images whose name is a number divisible by 5.
        view: Height and width that each person is cut and scaled to, such as ``256x128``; None: the whole image.
        limit: Most images; None: all.
    """

    images: Path
    labels: Path
    labels_scheme: str | None = None
    label_list: Path | None = None
    labels_clothes: tuple[str, ...] = ()
    held_out: bool = False
    view: str | None = None
    limit: int | None = None


@dataclass(frozen=True)
class _Chosen:
    """A parser, the labels of its clothes mask, and its name."""

    parser: Parser
    clothes: frozenset[int]
    name: str

    def as_dict(self) -> dict[str, Any]:
        scheme = self.parser.scheme.name
        return {"parser": self.name, "weights_sha256": self.parser.weights_sha256, "label_scheme": scheme}


def _build(parameters: Parameters) -> _Chosen:
    parse = parameters.parse
    load_backends(parse.parser)
    parser = create_parser(parse.parser, device=choose_device(parameters.device), **parse.settings)
    return _Chosen(parser, parser.scheme.clothes_labels(parse.clothes_labels), parse.parser)


@dataclass(frozen=True)
class _Work:
    """What one or two parsers are scored on."""

    truth: _Truth
    items: Sequence[LabelledImage]
    size: tuple[int, int] | None
    batch_size: int
    skipped: "_Skipped"


def _prepare(parameters: Parameters, asked: Asked, chosen: _Chosen, size: tuple[int, int] | None) -> _Work:
    truth = _read_truth(chosen.parser, chosen.clothes, asked)
    items = _choose(find_labelled(asked.images, asked.labels), asked.held_out, asked.limit)
    return _Work(truth, items, size, parameters.parse.batch_size, _Skipped())


def run(
    parameters: Parameters, console: Console, asked: Asked, out: Path | None = None
) -> tuple[Scores, dict[str, Any]]:
    """Score the parser of the parameters; returns the scores, and all that is known of them for programs.

    Args:
        parameters: ``parse`` says which parser, with which settings and clothes labels.
        console: For remarks.
        asked: What is scored.
        out: JSON file to write as well.

    Raises:
        InputError: The parser, the folders or the label scheme are wrong, or no image can be scored.
    """
    size = _check(asked, out, "parser")
    set_threads(parameters.threads)
    chosen = _build(parameters)
    work = _prepare(parameters, asked, chosen, size)

    def count(examples: Iterator[Example], advance: Callable[[int], None]) -> Scores:
        return score(chosen.parser, examples, work.truth.scheme, chosen.clothes, work.batch_size, advance)

    with arithmetic(parameters.device):  # as `parse` computes
        scores = _score(work, asked, console.quiet, count)
    work.skipped.say(console)
    _say_scope(scores, chosen.parser, work.truth.scheme, console)
    value = {**chosen.as_dict(), **_scope(work, asked), **scores.as_dict()}
    _write(out, value, console)
    return scores, value


def compare(
    parameters: tuple[Parameters, Parameters], console: Console, asked: Asked, out: Path | None = None
) -> tuple[TwoScores, dict[str, Any]]:
    """Score two parsers on the same images; returns the scores, and all that is known of them for programs.

    Where the label maps' scheme is not named it is the first parser's, for both.

    Args:
        parameters: Of the first and the second parser: ``parse`` says which it is, with which settings and clothes
            labels; the rest is read from the first.
        console: For remarks.
        asked: What is scored.
        out: JSON file to write as well.

    Raises:
        InputError: A parser, the folders or the label scheme are wrong, or no image can be scored.
    """
    size = _check(asked, out, "difference")
    set_threads(parameters[0].threads)
    first, second = _build(parameters[0]), _build(parameters[1])
    work = _prepare(parameters[0], asked, first, size)
    parsers, clothes = (first.parser, second.parser), (first.clothes, second.clothes)

    def count(examples: Iterator[Example], advance: Callable[[int], None]) -> TwoScores:
        return score_two(parsers, examples, work.truth.scheme, clothes, work.batch_size, advance)

    with arithmetic(parameters[0].device):  # as `parse` computes
        scores = _score(work, asked, console.quiet, count)
    work.skipped.say(console)
    _say_scope(scores.first, first.parser, work.truth.scheme, console)
    _say_scope(scores.second, second.parser, work.truth.scheme, console)
    value = {
        **_scope(work, asked),
        "first": {**first.as_dict(), **scores.first.as_dict()},
        "second": {**second.as_dict(), **scores.second.as_dict()},
        "difference": scores.difference(),
        "first_better": scores.first_better,
        "second_better": scores.second_better,
    }
    _write(out, value, console)
    return scores, value


def _check(asked: Asked, out: Path | None, first_key: str) -> tuple[int, int] | None:
    if out is not None:
        check_output(out, "json", [first_key, "truth_scheme"])
    return None if asked.view is None else parse_size(asked.view)


def _scope(work: _Work, asked: Asked) -> dict[str, Any]:
    return {"truth_scheme": work.truth.scheme.name, "view": asked.view, "skipped": dict(work.skipped.counts)}


def _write(out: Path | None, value: dict[str, Any], console: Console) -> None:
    if out is not None:
        write_json(out, value)
        console.say(f"scores -> {out}")


Counted = TypeVar("Counted")


def _score(
    work: _Work,
    asked: Asked,
    quiet: bool,
    count: Callable[[Iterator[Example], Callable[[int], None]], Counted],
) -> Counted:
    def read(item: LabelledImage) -> Example:
        example = read_labelled(item, work.truth.scheme, work.truth.translate)
        return example if work.size is None else cut_to_person(example, work.truth.scheme, work.size)

    items, skipped = work.items, work.skipped
    with Progress(len(items), "score", "image", quiet=quiet) as progress:

        def skip(item: LabelledImage, error: BadImageError) -> None:
            skipped.add(item, error)
            progress.advance()

        try:
            return count(read_examples(items, read, skip), progress.advance)
        except ValueError as error:
            if skipped.counts.total() < len(items):
                raise
            hint = ""
            if "label_map_values" in skipped.counts and asked.labels_scheme is None and asked.label_list is None:
                hint = "; if the label maps have another scheme than the parser, name it by --labels-scheme"
            raise InputError(f"no image could be scored: {skipped.as_text()}{hint}") from error


def _read_truth(parser: Parser, clothes: frozenset[int], asked: Asked) -> _Truth:
    labels_clothes = list(asked.labels_clothes)
    if asked.label_list is not None:
        if asked.labels_scheme is not None:
            raise InputError("give either --labels-scheme or --label-list, not both")
        table = read_label_table(asked.label_list)
        named = clothes if parser.scheme.labels == LIP.labels else None
        scheme = target_scheme(LIP.named_clothes(labels_clothes) if labels_clothes else named)
        return _Truth(scheme, lambda numbers: ccp_target(numbers, table))
    found = parser.scheme if asked.labels_scheme is None else find_scheme(asked.labels_scheme)
    if labels_clothes:
        return _Truth(truth_scheme(found, found.named_clothes(labels_clothes)))
    if found.labels == parser.scheme.labels:
        return _Truth(truth_scheme(found, clothes))
    if not found.clothes:
        raise InputError(
            f"label scheme {found.name} names no clothes; name them by --labels-clothes; it has: "
            f"{', '.join(found.labels)}"
        )
    return _Truth(truth_scheme(found, found.clothes))


def _choose(items: list[LabelledImage], held_out: bool, limit: int | None) -> list[LabelledImage]:
    if held_out:
        stems = [(item, Path(item.name).stem) for item in items]
        items = [item for item, stem in stems if stem.isdecimal() and int(stem) % HELD_OUT_EVERY == 0]
        if not items:
            raise InputError("--held-out: no image has a number divisible by 5 for its name")
    if limit is not None and limit < len(items):
        items = [items[index * len(items) // limit] for index in range(limit)]
    return items


class _Skipped:
    """Images that cannot be used, counted by reason, with the first of each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, item: LabelledImage, error: BadImageError) -> None:
        self.counts[error.reason] += 1
        self._first.setdefault(
            error.reason, error.detail if item.name in error.detail else f"{item.name}: {error.detail}"
        )

    def as_text(self) -> str:
        return "; ".join(f"{reason} {count} ({self._first[reason]})" for reason, count in sorted(self.counts.items()))

    def say(self, console: Console) -> None:
        if self.counts:
            console.say(f"warning: {self.counts.total()} images are not counted: {self.as_text()}")


def _say_scope(scores: Scores, parser: Parser, truth: TruthScheme, console: Console) -> None:
    """Say what was compared where that is not everything."""
    if scores.unparsed:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(scores.unparsed.items()))
        console.say(f"warning: the parser could not parse {sum(scores.unparsed.values())} images: {reasons}")
    if scores.truth_only or scores.parser_only:
        for what, names in ((truth.name, scores.truth_only), (parser.scheme.name, scores.parser_only)):
            more = len(names) - SHOWN_NAMES
            shown = (", ".join(names[:SHOWN_NAMES]) or "none") + (f" and {more} more" if more > 0 else "")
            console.say(f"not compared, only in the scheme {what}: {shown}")
        console.say("classes and pixel accuracy are over the labels that both schemes have, the clothes mask over all")
