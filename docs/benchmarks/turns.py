"""The training step of two checkouts of this repository, in turns.

On a machine whose speed changes by the minute, only steps that are done in turns can be
compared: a process for each checkout waits for its turn to train a few steps. Printed
are medians and minima in milliseconds, and the median of the ratios of neighbouring
turns, with its quartiles::

    git worktree add ../before COMMIT
    python docs/benchmarks/turns.py ../before . --rounds 24
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

TRAINER = """
import itertools, sys, time
import numpy as np, torch
from sk_dim import DeepInfomaxTransformer
rng = np.random.default_rng(0)
X, parameters = {
    "photos": (rng.integers(0, 256, (1024, 32, 32, 3), dtype=np.uint8),
               {"augment": "natural"}),
    "grey": (rng.integers(0, 256, (1024, 28, 28), dtype=np.uint8), {}),
    "small": (rng.random((1280, 8, 8), dtype=np.float32), {}),
    "table": (rng.normal(size=(4000, 50)).astype(np.float32), {}),
}[sys.argv[1]]
dim = DeepInfomaxTransformer(
    max_iter=2, device="cpu", random_state=0, warm_start=True, **parameters
).fit(X)
batch = torch.from_numpy(X[:128])
if batch.ndim > 2:
    batch = batch.movedim(-1, 1) if batch.ndim == 4 else batch.unsqueeze(1)
batch = dim.model_.scaling(batch)
for line in itertools.chain(["3"], sys.stdin):
    start = time.perf_counter()
    for _ in range(int(line)):
        dim.net_.train_step(batch)
    print((time.perf_counter() - start) / int(line) * 1e3, flush=True)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--samples", nargs="+", default=["photos"])
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--steps", type=int, default=6)
    arguments = parser.parse_args()
    for samples in arguments.samples:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", TRAINER, samples],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=path,
                env=os.environ | {"PYTHONPATH": str(path.resolve())},
            )
            for path in (arguments.before, arguments.after)
        ]
        for process in processes:
            process.stdout.readline()
        times = [[], []]
        for turn in range(arguments.rounds):
            for i in (0, 1) if turn % 2 else (1, 0):
                processes[i].stdin.write(f"{arguments.steps}\n")
                processes[i].stdin.flush()
                times[i].append(float(processes[i].stdout.readline()))
        for process in processes:
            process.stdin.close()
            process.wait()
        low, middle, high = statistics.quantiles(map(_ratio, *times), n=4)
        shown = (f"{statistics.median(t):.1f} ({min(t):.1f})" for t in times)
        print(
            f"{samples}: {' before, '.join(shown)} after, ms a step; "
            f"ratio {middle:.2f} ({low:.2f} to {high:.2f})",
            flush=True,
        )


def _ratio(before, after):
    return before / after


if __name__ == "__main__":
    main()
