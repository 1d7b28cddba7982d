"""Threads of torch that share the CPUs with other processes.

This module imports nothing of its own package.
"""

import os
import threading
import time
from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor

FIRST_LOOK = 2.0  # seconds into the work; further ones after twice the time
LAST_WAIT = 60.0  # seconds from look to look at most
LOOK = 0.05  # seconds
GRAIN = 2**15  # values that torch does not share among threads
PIECE = 2**18  # values a thread, work of some 50 microseconds
HELD_UP = 4.0  # times longer on all threads than on one; 1 where CPUs are free


class ThreadWatch:
    """Lets threads that wait for one another sleep where other processes need CPUs.

    Threads of OpenMP spin until all of them are through with an operation, which is
    fast while each has a CPU of its own. Where another process runs on one of them, all
    wait for its turn to be over, in every operation: training takes ten times as long.
    So `look` measures, once in a while, what a small operation takes; and once it is
    held up, threads sleep instead until the work ends. What is computed is the same.

    GNU's OpenMP lets threads spin for short where a process has more of them than CPUs
    (manual of libgomp, GOMP_SPINCOUNT). A team that does nothing makes them more.
    Elsewhere than on Linux, and where torch has one thread or fewer than CPUs, nothing
    is measured.

    Parameters
    ----------
    device : torch.device
        That the work is done on.

    Examples
    --------
    >>> with ThreadWatch(torch.device("cpu")) as threads:
    ...     for _ in range(3):
    ...         threads.look()  # after each step of the work
    """

    def __init__(self, device: torch.device) -> None:
        self.is_over = device.type != "cpu" or not _may_be_held_up()
        self.next_look = time.monotonic() + FIRST_LOOK
        self.wait = FIRST_LOOK
        self.end = threading.Event()
        self.idle: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.end.set()
        if self.idle is not None:
            self.idle.join()

    def look(self) -> None:
        """Measure if it is time to, and let threads sleep if they are held up."""
        if self.is_over or time.monotonic() < self.next_look:
            return
        self.wait = min(2 * self.wait, LAST_WAIT)
        if delay_of_threads() > HELD_UP:
            self.is_over, is_ready = True, threading.Event()
            self.idle = threading.Thread(
                target=_hold_team, args=(is_ready, self.end), daemon=True
            )
            self.idle.start()
            is_ready.wait()
        self.next_look = time.monotonic() + self.wait


def _may_be_held_up() -> bool:
    """Whether torch has a thread for each CPU that this process may run on."""
    if not hasattr(os, "sched_getaffinity"):
        return False
    return 1 < len(os.sched_getaffinity(0)) <= torch.get_num_threads()


def _hold_team(is_ready: threading.Event, end: threading.Event) -> None:
    """Make a team of threads for this one, by work for all of them, and keep it."""
    torch.zeros(torch.get_num_threads() * PIECE).add_(1.0)
    is_ready.set()
    end.wait()


def delay_of_threads() -> float:
    """Return how many times longer a small operation takes on all threads than on one.

    Each thread has as much to do as the one.
    """
    values = torch.zeros(torch.get_num_threads() * PIECE)
    # In parts that torch leaves to one thread: their number is set for all of Python.
    parts = values[:PIECE].split(GRAIN)
    alone = min(_time(parts) for _ in range(5))
    start, n_done = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < LOOK or not n_done:
        values.add_(1.0)
        n_done += 1
    return spent / n_done / alone


def _time(parts: Iterable[Tensor]) -> float:
    start = time.perf_counter()
    for part in parts:
        part.add_(1.0)
    return time.perf_counter() - start
