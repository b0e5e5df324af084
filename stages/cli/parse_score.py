"""``ccaf-pipeline parse-score``: how good a parser is on images whose labels people drew."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stages.cli.options import Context, shared_options

if TYPE_CHECKING:
    from pipeline.parsing.scoring.evaluation import Scores


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
    out: Annotated[Path | None, typer.Option("--out", help="Also write the scores to this JSON file.")] = None,
) -> None:
    """Score a parser: IoU of each class and of the clothes mask, pixel accuracy, time per image.

    Where the label maps have another scheme than the parser, the clothes masks are compared all the same, and those
    classes that both schemes have. The parser's settings are the parameters parse.settings, its clothes
    parse.clothes_labels; neither dilation nor hole filling is applied.
    """
    from stages import parse_score

    asked = parse_score.Asked(
        images, labels, labels_scheme, label_list, tuple(labels_clothes or ()), held_out, view, limit
    )
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
