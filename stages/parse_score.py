"""``ccaf-pipeline parse-score``: how good a parser is on images whose labels people drew."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import InputError
from stages.options import JsonOption, ParamsOption, QuietOption, SetOption, TrustOption, make_context, trusting

if TYPE_CHECKING:
    from pipeline.parsing.evaluation import Scores


def command(
    images: Annotated[Path, typer.Option("--images", help="Folder of JPEG or PNG images.")],
    labels: Annotated[Path, typer.Option("--labels", help="Folder of label maps: 8-bit PNG, named as their images.")],
    parser: Annotated[
        str | None, typer.Option("--parser", help="Parser to score. Default: the parameter parse.parser.")
    ] = None,
    label_list: Annotated[
        Path | None,
        typer.Option(
            "--label-list",
            help="label_list.json of Clothing Co-Parsing, to map its labels to LIP's. "
            "Default: label maps hold the parser's own labels.",
        ),
    ] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Only images whose number is divisible by 5, which lite never saw.")
    ] = False,
    view: Annotated[
        str | None,
        typer.Option(
            "--view",
            metavar="HEIGHTxWIDTH",
            help="Cut each image to its person and scale it, such as 256x128. Default: the whole image as it is.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the scores to this JSON file.")] = None,
    trust: TrustOption = False,
    params: ParamsOption = None,
    overrides: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score a parser: IoU of each class and of the clothes mask, pixel accuracy, time an image.

    The parser's settings are the parameters parse.settings, its clothes parse.clothes_labels.
    """
    context = make_context(params, overrides, quiet=quiet, as_json=as_json)
    parse, console = context.parameters.parse, context.console
    size = None if view is None else parse_size(view)

    from pipeline.device import choose_device, set_threads
    from pipeline.files import write_json
    from pipeline.parsing.backends import load_backends
    from pipeline.parsing.evaluation import score
    from pipeline.parsing.lite.ccp_labels import read_label_table
    from pipeline.parsing.lite.crops import detector_view
    from pipeline.parsing.lite.examples import read_labelled
    from pipeline.parsing.parser import create_parser
    from pipeline.parsing.schemes import LIP

    set_threads(context.parameters.threads)
    name = parser or parse.parser
    load_backends(name)
    # settings belong to the parser that the parameters name, not to another one
    settings = trusting(name, dict(parse.settings) if name == parse.parser else {}, trust)
    scored = create_parser(name, device=choose_device(context.parameters.device), **settings)
    if label_list is not None and scored.scheme.name != LIP.name:
        raise InputError(f"--label-list gives LIP labels, but the parser {name} has the scheme {scored.scheme.name}")
    table = None if label_list is None else read_label_table(label_list)
    examples = read_labelled(images, labels, table, held_out)
    if size is not None:
        examples = [detector_view(example, size) for example in examples]
    scores = score(scored, examples, scored.scheme.clothes_labels(parse.clothes_labels))
    value = {"parser": name, "weights_sha256": scored.weights_sha256, "view": view, **scores.as_dict()}
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
    if not (height.isdecimal() and width.isdecimal() and int(height) > 0 and int(width) > 0):
        raise InputError(f"--view {text}: expected HEIGHTxWIDTH in pixels, such as 256x128")
    return int(height), int(width)


def _as_text(scores: "Scores") -> str:
    lines = [f"{'class':<16} IoU", *(f"{name:<16} {value:.3f}" for name, value in scores.class_iou.items())]
    lines += [
        f"{'clothes mask':<16} {scores.clothes_iou:.3f} (mean of the images: {scores.mean_image_iou:.3f})",
        f"{'pixel accuracy':<16} {scores.pixel_accuracy:.3f}",
        f"{scores.images} images, {scores.ms_per_image:.0f} ms each",
    ]
    return "\n".join(lines)
