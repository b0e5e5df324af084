"""Runs the search page on the loopback interface until somebody asks it to stop."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from typing import Final

import uvicorn

from pipeline.errors import InputError, WorkError
from pipeline.serving.guard import Application

HOST: Final = "127.0.0.1"
_MOST_CONNECTIONS: Final = 64
_GRACE_SECONDS: Final = 2
"""For answers that are under way when the server is asked to stop."""
_LOOK_SECONDS: Final = 0.2
"""Between looks for a signal: a signal that arrives just as a wait begins, or in another thread, does not end it."""
_LONGEST_END_SECONDS: Final = 60
"""Until the server has let go of all, on a machine that is very busy."""


def bind(port: int) -> socket.socket:
    """A socket of the loopback interface.

    Args:
        port: Its number; 0: any free one.

    Raises:
        InputError: It is taken, or not for this user.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a page that ended a moment ago is no obstacle
    try:
        listener.bind((HOST, port))
        listener.listen(_MOST_CONNECTIONS)
    except OSError as error:
        listener.close()
        raise InputError(
            f"--port {port} cannot be used: {error.strerror or error}; --port 0 takes a free one"
        ) from None
    return listener


class _NoCancellations(logging.Filter):
    """What was cut off because the user stopped the server is no error."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line of the log is shown."""
        cause = record.exc_info[1] if record.exc_info else None
        return not isinstance(cause, asyncio.CancelledError) and "graceful shutdown" not in record.getMessage()


def serve(application: Application, listener: socket.socket, ready: Callable[[str], None]) -> None:
    """Answer requests until SIGINT or SIGTERM arrives and raises KeyboardInterrupt.

    Args:
        application: What answers.
        listener: See :func:`bind`; it is closed at the end.
        ready: Is told the address as soon as it answers.

    Raises:
        WorkError: The server ended by itself.
    """
    config = uvicorn.Config(
        application,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",  # the page has none; cut off at the end, that of Starlette would write a traceback
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = uvicorn.Server(config)  # which has set the loggers up
    quiet = _NoCancellations()
    logging.getLogger("uvicorn.error").addFilter(quiet)
    ended = threading.Event()  # Thread.join, interrupted once, takes a running thread for one that has ended

    def answer() -> None:
        try:
            server.run(sockets=[listener])
        finally:
            ended.set()

    # in a thread, where it leaves the signals alone: they reach this one, as in every other command
    thread = threading.Thread(target=answer, daemon=True, name="serve")
    with listener:
        try:
            thread.start()
            while not server.started and not ended.wait(0.02):
                pass
            if not ended.is_set():
                ready(f"http://{HOST}:{listener.getsockname()[1]}/")
            while not ended.wait(_LOOK_SECONDS):
                pass
        except KeyboardInterrupt:
            return
        finally:
            server.should_exit = True
            try:
                if thread.is_alive():
                    ended.wait(_LONGEST_END_SECONDS)
            finally:  # a second signal
                logging.getLogger("uvicorn.error").removeFilter(quiet)
    raise WorkError("the search page ended by itself; its reason stands above")
