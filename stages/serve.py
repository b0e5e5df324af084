"""The search page: one gallery, searched from a browser of this machine."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Parameters
from pipeline.errors import InputError
from pipeline.features.embedding import Encoder
from pipeline.features.gallery import Gallery, open_gallery
from pipeline.features.gallery_conditions import choose_rows
from pipeline.features.gallery_images import GalleryImages
from pipeline.serving.application import build_application
from pipeline.serving.desk import MOST_TOP, Desk
from pipeline.serving.server import bind, serve
from stages.console import Console
from stages.search import gallery_encoder


@dataclass(frozen=True)
class Serving:
    """What is served, and how.

    Attributes:
        checkpoint: Encoder of photos; None: the CLIP of the parameters, before any training.
        chosen: Whether the user named that encoder.
        port: Of the page; 0: any free one.
        top: Images of the gallery for each query.
        where: Condition on the gallery's columns; None: none.
        images: Folder that the gallery's paths are relative to; None: as its file says.
        shards: For pictures of images that are in shards.
    """

    checkpoint: Path | None
    chosen: bool
    port: int
    top: int
    where: str | None = None
    images: str | None = None
    shards: Path | None = None


def run(parameters: Parameters, console: Console, gallery: Path, how: Serving) -> None:
    """Serve the search page of a gallery until the user stops it.

    Without an encoder of the gallery, images of the gallery can be searched for, and photos not; where the user named
    one, that it does not fit is an error.

    Args:
        parameters: All of them.
        console: Says where the page is.
        gallery: Feature file.
        how: What is served.

    Raises:
        InputError: The gallery, the condition, the named checkpoint, the port or the number of images is wrong.
        WorkError: The server ended by itself.
    """
    if how.top > MOST_TOP:
        raise InputError(f"--top {how.top} and --serve: the page shows at most {MOST_TOP} images for a query")
    with bind(how.port) as listener:  # first: a port that is taken is said before anything large is read
        opened = open_gallery(gallery)
        base = None if how.where is None else choose_rows(opened, how.where)
        encoder, reason = _encoder(parameters, console, opened, how)
        images = GalleryImages(opened, parameters.parse.max_pixels, how.images, how.shards)
        if images.note:
            console.say(f"warning: {images.note}")
        desk = Desk(opened, images, encoder, reason, base, how.where or "", parameters.parse.max_pixels, how.top)

        def ready(address: str) -> None:
            console.result({"address": address, "gallery": str(gallery), "images": len(opened)}, address)
            console.say("open it in a browser of this machine; Ctrl-C stops it")

        serve(build_application(desk), listener, ready)
    console.say("stopped")


def _encoder(parameters: Parameters, console: Console, gallery: Gallery, how: Serving) -> tuple[Encoder | None, str]:
    try:
        return gallery_encoder(parameters, console, gallery, how.checkpoint, how.chosen), ""
    except InputError as error:
        if how.chosen:
            raise
        console.say(f"warning: photos cannot be searched for, images of the gallery can: {error}")
        return None, f"Photos cannot be searched for: {error}"
