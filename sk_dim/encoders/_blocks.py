"""Rows in blocks that a CPU's cache holds, on as many threads as torch may use.

Torch shares each operation among its threads, which then wait for one another; small
operations gain nothing from it. Here each thread computes whole blocks by itself. What
is computed does not depend on the number of threads.

This module imports nothing of its own package.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def map_blocks(
    function: Callable[[Tensor, Tensor | None], T],
    series: Tensor,
    lengths: Tensor | None,
    n_rows: int,
) -> list[T]:
    """Call a function, without gradients, with so many rows at a time.

    An exported program cannot count rows, and takes all at once.

    Parameters
    ----------
    function : callable
        Of some rows of `series` and of `lengths`.
    series : Tensor of shape (n, c, l)
        Samples.
    lengths : Tensor of int, of shape (n,), or None
        Where they end.
    n_rows : int
        At a time.

    Returns
    -------
    list
        What the function returned, in the order of the rows.
    """
    if torch.compiler.is_exporting():
        return [function(series, lengths)]

    @torch.no_grad()  # which each thread has for itself
    def compute(start: int) -> T:
        rows = slice(start, start + n_rows)
        return function(series[rows], None if lengths is None else lengths[rows])

    starts = range(0, len(series), n_rows)
    n_threads = torch.get_num_threads()
    if n_threads == 1 or len(starts) == 1 or series.device.type != "cpu":
        return [compute(start) for start in starts]
    try:
        with ThreadPoolExecutor(
            min(n_threads, len(starts)),
            initializer=torch.set_num_threads,
            initargs=(1,),
        ) as pool:
            return list(pool.map(compute, starts))
    finally:
        # What a thread sets for itself is the default of those to come.
        torch.set_num_threads(n_threads)
