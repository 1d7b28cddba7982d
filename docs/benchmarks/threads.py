"""One thread or all, on a machine that is free and beside another busy process.

Samples a second of training, of fits of so many seconds, in turns; median of rounds.
"spinning" is all threads without `sk_dim._threads.ThreadWatch`, which lets them sleep
where others need the CPUs. Linux shares CPUs among sessions (terminals, services), and
then among the processes of each::

    python docs/benchmarks/threads.py --seconds 8 --rounds 3
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import torch

from sk_dim import DeepInfomaxTransformer, _threads

HELD_UP = _threads.HELD_UP
BESIDE = ("nothing", "a process of another session", "a process of the same session")


def sets():
    """Name, samples and parameters of the sets."""
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (1024, 32, 32, 3), dtype=np.uint8)
    yield "32x32 colour, natural views", photos, {"augment": "natural"}
    yield "8x8 grey", rng.random((1280, 8, 8), dtype=np.float32), {}
    yield "50 columns", rng.normal(size=(4000, 50)).astype(np.float32), {}


def rate(X, parameters, way, seconds):
    """Return the samples a second in the later half of a fit."""
    torch.set_num_threads(1 if way == "one thread" else N_THREADS)
    _threads.HELD_UP = np.inf if way == "spinning" else HELD_UP
    dim = DeepInfomaxTransformer(
        max_time=seconds, device="cpu", random_state=0, **parameters
    ).fit(X)
    rates = [row["samples_per_second"] for row in dim.history_]
    return statistics.median(rates[len(rates) // 2 :])


@contextmanager
def busy(beside):
    """Keep a CPU busy, or none."""
    if beside == "nothing":
        yield
        return
    process = subprocess.Popen(
        [sys.executable, "-c", "while True: pass"],
        start_new_session="another" in beside,
    )
    try:
        time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    ways = ("one thread", "all threads", "spinning")
    found = {}
    for _ in range(arguments.rounds):
        for beside, (name, X, parameters) in itertools.product(BESIDE, sets()):
            with busy(beside):
                for way in ways:
                    value = rate(X, parameters, way, arguments.seconds)
                    found.setdefault((name, beside, way), []).append(value)
                    print(name, beside, way, round(value), flush=True)
    print(f"\n{N_THREADS} threads, torch {torch.__version__}; samples a second\n")
    print(f"| samples | beside it | {' | '.join(ways)} |")
    print("|---|---|---|---|---|")
    for name, beside in dict.fromkeys(key[:2] for key in found):
        medians = (statistics.median(found[name, beside, way]) for way in ways)
        print(f"| {name} | {beside} | {' | '.join(f'{m:,.0f}' for m in medians)} |")


if __name__ == "__main__":
    N_THREADS = torch.get_num_threads()
    main()
