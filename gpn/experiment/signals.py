"""Ctrl-C and SIGTERM at a moment at which they leave nothing half done."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def signals_wait() -> Iterator[Callable[[], None]]:
    """Let Ctrl-C and SIGTERM wait for a moment at which the state of a run is whole; a second one does not wait.

    Yields:
        What to call at such a moment: it handles the signal that has come, as it would have been.
    """
    here = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM) if here}
    come: list[tuple[int, FrameType | None]] = []

    def handle() -> None:
        if come:
            number, frame = come.pop()
            handler = handlers[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)

    def note(number: int, frame: FrameType | None) -> None:
        come.append((number, frame))
        if len(come) > 1:
            handle()

    waiting = [number for number, handler in handlers.items() if callable(handler)]
    for number in waiting:
        signal.signal(number, note)
    try:
        yield handle
    finally:
        for number in waiting:
            signal.signal(number, handlers[number])
    handle()
