"""The server lets answers that are under way finish when it is asked to stop."""

import asyncio
import signal
import threading
import urllib.request
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from pipeline.serving.server import bind, serve

Message = dict[str, Any]


def test_an_answer_that_is_under_way_when_a_signal_comes_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Future[bytes]] = []

    async def application(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        while not answers:
            await asyncio.sleep(0.01)
        # to the server's thread, the worst case: it does not end the main thread's wait
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        await asyncio.sleep(0.5)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})

    def ask(address: str) -> bytes:
        with urllib.request.urlopen(address, timeout=30) as response:
            body: bytes = response.read()
        return body

    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setenv("no_proxy", "*")
    with ThreadPoolExecutor(1) as beside:
        listener = bind(0)
        serve(application, listener, lambda address: answers.append(beside.submit(ask, address)))
        assert answers[0].result(timeout=30) == b"whole"
    assert listener.fileno() == -1
