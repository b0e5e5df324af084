"""``ccaf-pipeline parse-score``: how good a parser is on images whose labels people drew."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stages.cli.options import Context, shared_options

if TYPE_CHECKING:
    from pipeline.parsing.scoring.evaluation import Scores, TwoScores


@shared_options("parser", "trust")
def command(
    context: Context,
    images: Annotated[Path, typer.Option("--images", help="Folder of images; its subfolders count too.")],
    labels: Annotated[
        Path,
        typer.Option(
            "--labels", help="Folder of label maps, PNG or .npy, with the paths of the images except for the suffix."
        ),
    ],
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
            "--held-out",
            help="Only images whose name is a number divisible by 5; in CCP these are the ones that lite never saw.",
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
        int | None, typer.Option("--limit", min=1, help="Score only this many images, spread over the folder.")
    ] = None,
    second: Annotated[
        str | None,
        typer.Option(
            "--second",
            metavar="PARSER",
            help="A second parser that is scored on the same images, beside the first; its settings by --second-set.",
        ),
    ] = None,
    second_set: Annotated[
        list[str] | None,
        typer.Option(
            "--second-set",
            metavar="KEY=VALUE",
            help="As --set, for the second parser: parse.settings.preset=fashn. Repeatable. Of --set it has all but "
            "what begins with parse.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the scores to this JSON file.")] = None,
) -> None:
    """Score a parser: IoU of each class and of the clothes mask, pixel accuracy, time per image.

    Where the label maps have another scheme than the parser, the clothes masks are compared all the same, and those
    classes that both schemes have. The parser's settings are the parameters parse.settings, its clothes
    parse.clothes_labels; neither dilation nor hole filling is applied. With --second two parsers are scored on the
    images that both can parse, with the differences.
    """
    from pipeline.errors import InputError
    from stages import parse_score

    asked = parse_score.Asked(
        images, labels, labels_scheme, label_list, tuple(labels_clothes or ()), held_out, view, limit
    )
    if second is not None:
        own = [text for text in context.overrides or [] if not text.lstrip().startswith("parse.")]
        other = replace(context, parser=second, overrides=[*own, *(second_set or [])], trust=False)
        both, value = parse_score.compare((context.parameters, other.parameters), context.console, asked, out)
        context.console.result(value, _side_by_side(both, value))
        return
    if second_set:
        raise InputError("--second-set goes with --second, which names the second parser")
    scores, value = parse_score.run(context.parameters, context.console, asked, out)
    context.console.result(value, _as_text(scores))


def _as_text(scores: "Scores") -> str:
    lines = [f"{'class':<16} IoU", *(f"{name:<16} {value:.3f}" for name, value in scores.class_iou.items())]
    accuracy: Any = "-" if scores.pixel_accuracy != scores.pixel_accuracy else f"{scores.pixel_accuracy:.3f}"
    lines += [
        f"{'clothes mask':<16} {scores.clothes_iou:.3f} (mean of the images: {scores.mean_image_iou:.3f})",
        f"{'pixel accuracy':<16} {accuracy}",
        f"{scores.images} images, {scores.ms_per_image:.0f} ms each",
    ]
    return "\n".join(lines)


def _side_by_side(both: "TwoScores", value: dict[str, Any]) -> str:
    first, second, less = value["first"], value["second"], value["difference"]
    names = dict.fromkeys((*first["class_iou"], *second["class_iou"]))
    lines = [f"{'':<16} {'first':>8} {'second':>8} {'difference':>10}"]
    lines += [f"{'parser':<16} {first['parser']:>8} {second['parser']:>8}"]
    lines += [_line(name, *(each["class_iou"].get(name) for each in (first, second, less))) for name in names]
    shown = {"clothes mask": "clothes_iou", "mean of images": "mean_image_iou", "mean of classes": "mean_iou"}
    shown["pixel accuracy"] = "pixel_accuracy"
    lines += [_line(name, *(each[key] for each in (first, second, less))) for name, key in shown.items()]
    lines += [f"{'ms an image':<16} {first['ms_per_image']:>8.0f} {second['ms_per_image']:>8.0f}"]
    equal = both.first.images - both.first_better - both.second_better
    return "\n".join(
        [
            *lines,
            f"{both.first.images} images; the clothes mask is nearer to the truth by the first in {both.first_better}, "
            f"by the second in {both.second_better}, equally near in {equal}",
        ]
    )


def _line(name: str, first: float | None, second: float | None, difference: float | None) -> str:
    texts = ["-" if each is None else f"{each:.3f}" for each in (first, second)]
    gain = "-" if difference is None else f"{difference:+.3f}"
    return f"{name:<16} {texts[0]:>8} {texts[1]:>8} {gain:>10}"
