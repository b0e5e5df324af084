"""The search page as a FastAPI application: addresses, limits of what is sent, and errors as one readable line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import pipeline
from pipeline.errors import BadImageError, InputError, PipelineError, one_line
from pipeline.reporting.page import read_template
from pipeline.serving.desk import MOST_CAMERAS, MOST_TOP, Choice, Desk, UnknownRowError
from pipeline.serving.guard import Application, Guard

MOST_UPLOAD_BYTES: Final = 16 << 20
MOST_ROWS: Final = 200
MOST_TEXT: Final = 2000

_STATIC: Final = Path(__file__).parent / "static"
_KINDS: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}

Top = Annotated[int | None, Query(ge=1, le=MOST_TOP)]
Where = Annotated[str, Query(max_length=MOST_TEXT)]
Cameras = Annotated[list[str], Query(max_length=MOST_CAMERAS)]


class UploadTooLargeError(InputError):
    """A photo has more bytes than are taken."""


def build_application(desk: Desk) -> Application:
    """The application for one gallery; it writes nothing, and answers to this machine's own names only.

    Args:
        desk: What can be asked for.
    """
    app = FastAPI(title="ccaf-pipeline search", docs_url=None, redoc_url=None, openapi_url=None)

    def about() -> dict[str, Any]:
        limits = {"most_bytes": MOST_UPLOAD_BYTES, "most_top": MOST_TOP, "version": pipeline.__version__}
        return {**desk.about(), **limits}

    def rows(
        start: Annotated[int, Query(ge=0)] = 0,
        count: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 60,
        where: Where = "",
        camera: Cameras = [],  # noqa: B006 (FastAPI copies it)
    ) -> dict[str, Any]:
        return desk.rows(Choice(where, camera), start, count)

    def picture(row: int) -> Response:
        data = desk.picture(row)
        if data is None:
            raise HTTPException(404, f"the file of image {row} cannot be reached")
        return Response(data, media_type="image/jpeg")

    def search_row(row: int, top: Top = None, where: Where = "", camera: Cameras = []) -> dict[str, Any]:  # noqa: B006
        return desk.search_row(row, Choice(where, camera), top or desk.top)

    async def search_photo(
        request: Request,
        top: Top = None,
        where: Where = "",
        camera: Cameras = [],  # noqa: B006
    ) -> Any:
        try:
            data = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody hears it
        return await run_in_threadpool(desk.search_photo, data, Choice(where, camera), top or desk.top)

    app.add_api_route("/api/about", about)
    app.add_api_route("/api/rows", rows)
    app.add_api_route("/api/pictures/{row}", picture)
    app.add_api_route("/api/search/{row}", search_row)
    app.add_api_route("/api/search", search_photo, methods=["POST"])
    for address, (kind, text) in _pages().items():
        app.add_api_route(address, _page(kind, text))
    app.add_exception_handler(PipelineError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_status)
    return Guard(app)


def _pages() -> dict[str, tuple[str, str]]:
    """Kind and text of the files of the page by their address: these and no others."""
    files = {address: _STATIC / name for address, name in (("/", "index.html"), ("/page.css", "page.css"))}
    files["/page.js"] = _STATIC / "page.js"
    found = {address: (_KINDS[path.suffix], path.read_text()) for address, path in files.items()}
    return {**found, "/style.css": ("text/css", read_template("style.css"))}


def _page(kind: str, text: str) -> Any:
    def page() -> Response:
        return Response(text, media_type=kind)

    return page


async def _body(request: Request) -> bytes:
    """The bytes that are sent, no more of them than are taken.

    Raises:
        UploadTooLargeError: There are more.
    """
    told = request.headers.get("content-length", "0")
    limit = f"a photo may have {MOST_UPLOAD_BYTES >> 20} MiB"
    if told.isdecimal() and int(told) > MOST_UPLOAD_BYTES:
        raise UploadTooLargeError(f"{limit}, and this one has {int(told) / (1 << 20):,.1f}")
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MOST_UPLOAD_BYTES:
            raise UploadTooLargeError(limit)
    return bytes(data)


_STATUS: Mapping[type[PipelineError], int] = {UnknownRowError: 404, UploadTooLargeError: 413, InputError: 400}


def _answer(status: int, message: object) -> JSONResponse:
    return JSONResponse({"error": one_line(message)}, status)


def _answer_error(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, BadImageError):
        return _answer(400, f"this cannot be used as an image: {error.detail}")
    return _answer(next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500), error)


def _answer_invalid(_: Request, error: Exception) -> JSONResponse:
    wrong: Mapping[str, Any] = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    return _answer(422, f"{'.'.join(map(str, wrong.get('loc', ())))}: {wrong.get('msg', error)}")


def _answer_status(_: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _answer(status, error.detail if isinstance(error, HTTPException) else error)
