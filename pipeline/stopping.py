"""Stopping at a good moment: requests that wait for the end of a step, and processes that end with their parent."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

REQUESTS = (signal.SIGINT, signal.SIGTERM)
REPEAT_SECONDS = 0.1


class StopRequest:
    """Whether somebody has asked this process to stop.

    Attributes:
        number: The signal that asked; None: none has.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def __bool__(self) -> bool:
        return self.number is not None

    def act(self) -> NoReturn:
        """Do what the signal would have done; without one, what an interrupt does."""
        if self.number is not None:
            signal.raise_signal(self.number)
        raise KeyboardInterrupt


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """In the block the first request to stop is only noted, for the block to look at; a second one acts as before.

    A request that the block did not look at acts when the block ends well. In threads other than the main one, where
    no signal arrives, nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in REQUESTS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def note(number: int, _: FrameType | None) -> None:
        request.number = number
        restore()

    for number in REQUESTS:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, note)
    try:
        yield request
    except BaseException:
        restore()
        raise
    restore()
    if request:
        request.act()


@contextmanager
def termination_as_interruption() -> Iterator[StopRequest]:
    """In the block SIGTERM raises KeyboardInterrupt, as SIGINT does, so that everything cleans up; the value tells it.

    Python drops an exception that a handler raises inside a destructor or a callback of a library; the request is
    repeated then.
    """
    request = StopRequest()
    main = threading.main_thread().ident
    if main is None or threading.get_ident() != main:
        yield request
        return

    def interrupt(number: int, _: FrameType | None) -> None:
        request.number = number
        raise KeyboardInterrupt

    def repeat(dropped: "sys.UnraisableHookArgs") -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            # to the main thread itself: its wait for a lock is not ended by a signal delivered to another thread
            again = threading.Timer(REPEAT_SECONDS, signal.pthread_kill, (main, request.number or signal.SIGINT))
            again.daemon = True
            again.start()  # at once it would be dropped once more
        else:
            hook(dropped)

    before, hook = signal.signal(signal.SIGTERM, interrupt), sys.unraisablehook
    sys.unraisablehook = repeat
    try:
        yield request
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Put off interrupts until the block ends; processes that it starts never hear of any, which are their parent's."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Let this process, a child made by multiprocessing, end as soon as its parent has, however that ended."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
