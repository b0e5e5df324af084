"""Who may ask the search page, and what a browser may do with its answers; before any other code sees a request.

A page of the internet can send requests to this machine's own addresses, and, once its name is made to lead here (DNS
rebinding), read the answers. So requests must name this machine as their host and come from the page itself, and no
answer may be embedded, stored or guessed at.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

HOSTS: Final = ("127.0.0.1", "localhost")
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    (b"content-security-policy", POLICY.encode()),
    (b"cache-control", b"no-store"),  # a browser would write the pictures to disk
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_FOREIGN: Final = ("cross-site", "same-site")
"""What browsers say (Fetch Metadata) of a request by another page, one of this machine's other servers included."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def refusal(headers: dict[str, str], path: str) -> str | None:
    """Why a request is refused; None if it is not.

    Args:
        headers: By their names in small letters.
        path: That is asked for.
    """
    host = headers.get("host", "")
    if host.rpartition(":")[0] not in HOSTS and host not in HOSTS:
        return "this server answers only to 127.0.0.1 and localhost"
    origin = headers.get("origin")
    if origin is not None and _netloc(origin) != host:
        return "requests of other pages are not answered"
    if path != "/" and headers.get("sec-fetch-site") in _FOREIGN:  # a link may lead to the page itself
        return "requests of other pages are not answered"
    return None


def _netloc(origin: str) -> str | None:
    """Host and port of an origin; None if it is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


class Guard:
    """Refuses what :func:`refusal` names, and adds :data:`HEADERS` to every answer.

    Args:
        application: What answers the rest.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One connection, as ASGI hands it over; those that are no HTTP are closed."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            reason = refusal(headers, scope["path"])
            if reason is None:
                await self._application(scope, receive, send_guarded)
            else:
                text = [(b"content-type", b"text/plain; charset=utf-8")]
                await send_guarded({"type": "http.response.start", "status": 403, "headers": text})
                await send({"type": "http.response.body", "body": f"{reason}\n".encode()})
