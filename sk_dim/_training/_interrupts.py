"""Ctrl-C: the first ends a training and keeps the model, a second one ends everything.

As in skorch, a callback ends a training by raising KeyboardInterrupt, and so does
Ctrl-C, during a callback too: which of the two it was, only the signal tells.

This module imports nothing of its own package.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import numpy as np

PAUSE = 2.0  # seconds in which a second Ctrl-C means all, not just this training

_last = -np.inf
_is_pressed = False


def is_second_interrupt() -> bool:
    """Record a Ctrl-C, and say whether another one came within `PAUSE` seconds."""
    global _last
    now = time.monotonic()
    is_second = now - _last < PAUSE
    _last = now
    return is_second


@contextmanager
def recorded(*, is_joint: bool = False) -> Iterator[None]:
    """Record each Ctrl-C before it is handled as before.

    Signals reach the main thread alone, and nothing where they are ignored. In a joint
    training of several processes only a second one is handled: the first ends it after
    a step, the same in all of them.
    """
    before = signal.getsignal(signal.SIGINT)
    is_handled = callable(before) or is_joint
    if threading.current_thread() is not threading.main_thread() or not is_handled:
        yield
        return

    def record(number: int, frame: FrameType | None) -> None:
        global _is_pressed
        _is_pressed = True
        if callable(before) and not (is_joint and not is_second_interrupt()):
            before(number, frame)

    signal.signal(signal.SIGINT, record)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def is_pressed() -> bool:
    """Say whether Ctrl-C was pressed since it was last forgotten."""
    return _is_pressed


def take_press() -> bool:
    """Say whether Ctrl-C was pressed since the last call, and forget it."""
    global _is_pressed
    was_pressed, _is_pressed = _is_pressed, False
    return was_pressed
