"""Ctrl-C between two steps: the first asks, the loop saves and stops; the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: What the KeyboardInterrupt says when everything up to the last step was saved.
SAVED = "saved"


class Interruption:
    """Whether SIGINT or SIGTERM was received: ``signal`` is its number, 0 while there was none."""

    def __init__(self) -> None:
        self.signal = 0

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number

    def stop(self) -> None:
        """End, saved, as a process does that was sent this signal; where only another process was, as by Ctrl-C."""
        if self.signal == signal.SIGTERM:
            raise SystemExit(128 + self.signal)
        raise KeyboardInterrupt(SAVED)


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Catch both signals inside; only the main thread can, elsewhere nothing is caught."""
    received = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    old = {number: signal.signal(number, received._receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
