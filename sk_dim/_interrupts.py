"""Ctrl-C: the first ends a training and keeps the model, a second ends everything."""

import time

import numpy as np

PAUSE = 2.0  # seconds in which a second Ctrl-C means all, not just this training

_last = -np.inf


def is_second_interrupt() -> bool:
    """Record a Ctrl-C, and say whether another one came within `PAUSE` seconds."""
    global _last
    now = time.monotonic()
    is_second = now - _last < PAUSE
    _last = now
    return is_second
