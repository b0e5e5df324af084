"""``ccaf-pipeline parse-score``: how good a parser is on images whose labels people drew."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import BadImageError, InputError
from stages.options import (
    JsonOption,
    ParamsOption,
    ParserOption,
    QuietOption,
    SetOption,
    TrustOption,
    make_context,
    trusting,
)

if TYPE_CHECKING:
    from pipeline.images import LabelMap
    from pipeline.parsing.parser import Parser
    from pipeline.parsing.scoring.crops import Example
    from pipeline.parsing.scoring.evaluation import Scores
    from pipeline.parsing.scoring.ground_truth import LabelledImage, TruthScheme
    from stages.console import Console

HELD_OUT_EVERY = 5
SHOWN_NAMES = 8
LARGEST_VIEW = 4096
"""Pixels of a view's side: more than any photograph of a person is cut to, and little enough for memory."""


def command(
    images: Annotated[Path, typer.Option("--images", help="Folder of images; its subfolders count too.")],
    labels: Annotated[
        Path,
        typer.Option("--labels", help="Folder of label maps, PNG or .npy, of the images' paths but for the suffix."),
    ],
    parser: ParserOption = None,
    labels_scheme: Annotated[
        str | None,
        typer.Option(
            "--labels-scheme",
            help="Numbering of the label maps: a label scheme's name or YAML file. Default: the parser's.",
        ),
    ] = None,
    label_list: Annotated[
        Path | None,
        typer.Option("--label-list", help="label_list.json of Clothing Co-Parsing: its labels are mapped to LIP's."),
    ] = None,
    labels_clothes: Annotated[
        list[str] | None,
        typer.Option(
            "--labels-clothes",
            metavar="NAME",
            help="A label of the label maps that is clothes. Repeatable. Default: those of its scheme.",
        ),
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held-out", help="Only images whose name is a number divisible by 5: of CCP, those lite never saw."
        ),
    ] = False,
    view: Annotated[
        str | None,
        typer.Option(
            "--view",
            metavar="HEIGHTxWIDTH",
            help="Cut each image to its person and scale it, such as 256x128. Default: the whole image as it is.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Score only so many images, spread over the folder.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the scores to this JSON file.")] = None,
    trust: TrustOption = False,
    params: ParamsOption = None,
    overrides: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score a parser: IoU of each class and of the clothes mask, pixel accuracy, time an image.

    Where the label maps have another scheme than the parser, the clothes masks are compared all the same, and those
    classes that both schemes have. The parser's settings are the parameters parse.settings, its clothes
    parse.clothes_labels; neither dilation nor hole filling is applied.
    """
    context = make_context(params, overrides, parser=parser, quiet=quiet, as_json=as_json)
    parse, console = context.parameters.parse, context.console
    size = None if view is None else parse_size(view)

    from pipeline.device import choose_device, set_threads
    from pipeline.files import write_json
    from pipeline.parsing.backends import load_backends
    from pipeline.parsing.parser import create_parser
    from pipeline.parsing.scoring.evaluation import score
    from pipeline.parsing.scoring.ground_truth import cut_to_person, find_labelled, read_examples, read_labelled
    from pipeline.progress import Progress

    set_threads(context.parameters.threads)
    load_backends(parse.parser)
    settings = trusting(parse.parser, dict(parse.settings), trust)
    scored = create_parser(parse.parser, device=choose_device(context.parameters.device), **settings)
    clothes = scored.scheme.clothes_labels(parse.clothes_labels)
    truth = _read_truth(scored, clothes, labels_scheme, label_list, labels_clothes)
    items = _choose(find_labelled(images, labels), held_out, limit)
    skipped = _Skipped()

    def read(item: "LabelledImage") -> "Example":
        example = read_labelled(item, truth.scheme, truth.translate)
        return example if size is None else cut_to_person(example, truth.scheme, size)

    with Progress(len(items), "score", "image", quiet=quiet) as progress:

        def skip(item: "LabelledImage", error: BadImageError) -> None:
            skipped.add(item, error)
            progress.advance()

        examples = read_examples(items, read, skip)
        try:
            scores = score(scored, examples, truth.scheme, clothes, parse.batch_size, progress.advance)
        except ValueError as error:
            if skipped.counts.total() < len(items):
                raise
            hint = ""
            if "label_map_values" in skipped.counts and labels_scheme is None and label_list is None:
                hint = "; if the label maps have another scheme than the parser, name it by --labels-scheme"
            raise InputError(f"no image could be scored: {skipped.as_text()}{hint}") from error
    skipped.say(console)
    _say_scope(scores, scored, truth.scheme, console)
    value = {
        "parser": parse.parser,
        "weights_sha256": scored.weights_sha256,
        "label_scheme": scored.scheme.name,
        "truth_scheme": truth.scheme.name,
        "view": view,
        "skipped": dict(skipped.counts),
        **scores.as_dict(),
    }
    if out is not None:
        write_json(out, value)
        console.say(f"scores -> {out}")
    console.result(value, _as_text(scores))


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

    scheme: "TruthScheme"
    translate: "Callable[[LabelMap], LabelMap] | None" = None


def _read_truth(
    parser: "Parser",
    clothes: frozenset[int],
    labels_scheme: str | None,
    label_list: Path | None,
    labels_clothes: list[str] | None,
) -> _Truth:
    from pipeline.labels import LIP, find_scheme
    from pipeline.parsing.scoring.ground_truth import truth_scheme

    if label_list is not None:
        from pipeline.parsing.lite.training.ccp_labels import ccp_target, read_label_table
        from pipeline.parsing.lite.training.scoring import target_scheme

        if labels_scheme is not None:
            raise InputError("give either --labels-scheme or --label-list, not both")
        table = read_label_table(label_list)
        named = clothes if parser.scheme.labels == LIP.labels else None
        scheme = target_scheme(LIP.named_clothes(labels_clothes) if labels_clothes else named)
        return _Truth(scheme, lambda numbers: ccp_target(numbers, table))
    found = parser.scheme if labels_scheme is None else find_scheme(labels_scheme)
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


def _choose(items: "list[LabelledImage]", held_out: bool, limit: int | None) -> "list[LabelledImage]":
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

    def add(self, item: "LabelledImage", error: BadImageError) -> None:
        self.counts[error.reason] += 1
        self._first.setdefault(
            error.reason, error.detail if item.name in error.detail else f"{item.name}: {error.detail}"
        )

    def as_text(self) -> str:
        return "; ".join(f"{reason} {count} ({self._first[reason]})" for reason, count in sorted(self.counts.items()))

    def say(self, console: "Console") -> None:
        if self.counts:
            console.say(f"warning: {self.counts.total()} images are not counted: {self.as_text()}")


def _say_scope(scores: "Scores", parser: "Parser", truth: "TruthScheme", console: "Console") -> None:
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


def _as_text(scores: "Scores") -> str:
    lines = [f"{'class':<16} IoU", *(f"{name:<16} {value:.3f}" for name, value in scores.class_iou.items())]
    accuracy: Any = "-" if scores.pixel_accuracy != scores.pixel_accuracy else f"{scores.pixel_accuracy:.3f}"
    lines += [
        f"{'clothes mask':<16} {scores.clothes_iou:.3f} (mean of the images: {scores.mean_image_iou:.3f})",
        f"{'pixel accuracy':<16} {accuracy}",
        f"{scores.images} images, {scores.ms_per_image:.0f} ms each",
    ]
    return "\n".join(lines)
