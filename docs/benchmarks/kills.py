"""SIGKILL at random moments of a fit with a checkpoint, and of saving.

A fit is killed at a random moment and gone on with in another process. The file, the
epochs in it and the bits at the end are compared with those of a fit that was not
killed. Saving is killed while it goes on without a break; the file must then be one of
the two estimators that were saved in turn::

    OMP_NUM_THREADS=1 python docs/benchmarks/kills.py
"""

import argparse
import multiprocessing as mp
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np
from skorch.callbacks import Callback

import sk_dim
from sk_dim._training import _checkpoint_files, _checkpoints

# Processes that have the imports done, and no memory in common.
CONTEXT = mp.get_context("forkserver")
N_EPOCHS = 5


class Announce(Callback):
    """Tells how many epochs are over, when the next one begins."""

    def __init__(self, pipe):
        self.pipe = pipe

    def __deepcopy__(self, memo):
        return self

    def on_epoch_begin(self, net, **_):
        self.pipe.send(len(net.history) - 1)


def make(path, pipe=None):
    callbacks = None if pipe is None else [Announce(pipe)]
    return sk_dim.DeepInfomaxTransformer(
        256,
        encoder="conv",
        max_iter=N_EPOCHS,
        random_state=0,
        callbacks=callbacks,
        checkpoint=path,
        warm_start=True,
    )


def images():
    return np.random.default_rng(0).normal(size=(1500, 8, 8))


def fit(path, pipe):
    """Fit, and send the number of finished epochs, then the features."""
    _checkpoints.SECONDS = 0.1  # so that kills meet checkpoints within epochs too
    dim = make(path, pipe)
    pipe.send(dim.fit(images()).transform(images()))


def run_fit(path, seconds=None):
    """Run a fit, killed so many seconds after it began, and return what it sent."""
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=fit, args=(path, theirs))
    process.start()
    theirs.close()
    received = [ours.recv()]
    start = time.monotonic()
    if seconds is not None:
        process.join(seconds)
        process.kill()
    try:
        while True:
            received.append(ours.recv())
    except (EOFError, OSError):  # also within a message
        process.join()
    return received, time.monotonic() - start


def kill_fits(folder, n_kills, rng):
    expected, seconds = run_fit(folder / "whole")
    counts = dict.fromkeys(("corrupt", "lost", "equal", "within", "partial"), 0)
    for i in range(n_kills):
        path = folder / f"killed-{i}"
        received, _ = run_fit(path, rng.uniform(0.0, 0.95 * seconds))
        epochs = [each for each in received if isinstance(each, int)]
        n_there = 0
        try:
            state = _checkpoint_files.read(path, with_state=True)
        except ValueError:
            counts["corrupt"] += 1
            continue
        if state is not None:
            n_there = len(state["progress"]["history"])
            training = state["training"]
            counts["within"] += training is not None and training["part"] is not None
        counts["lost"] += max(0, epochs[-1] - n_there)
        parts = list(folder.glob(".sk_dim-*.partial"))
        counts["partial"] += len(parts) > 0
        for part in parts:
            part.unlink()
        received, _ = run_fit(path)
        counts["equal"] += bool(np.array_equal(received[-1], expected[-1]))
    return counts


def write_on(path, whole, pipe, is_safe):
    """Save two estimators in turn, until a kill."""
    states = [joblib.load(whole), None]
    states[1] = make(None).set_params(random_state=1, max_iter=1).fit(images())
    pipe.send("begin")
    while True:
        for state in states:
            if is_safe:
                sk_dim.save(state, path)
            else:
                joblib.dump(state, path)


def kill_saving(folder, n_kills, rng, is_safe):
    whole = folder / "whole.joblib"
    dim = make(None).set_params(warm_start=False, max_iter=1).fit(images())
    sk_dim.save(dim, whole)
    corrupt = partial = 0
    for i in range(n_kills):
        path = folder / f"saved-{is_safe}-{i}"
        sk_dim.save(dim, path)
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(
            target=write_on, args=(path, whole, theirs, is_safe), daemon=True
        )
        process.start()
        ours.recv()
        time.sleep(rng.uniform(0.0, 0.5))
        process.kill()
        process.join()
        parts = list(folder.glob(".sk_dim-*.partial"))
        partial += len(parts) > 0
        for part in parts:
            part.unlink()
        try:
            assert joblib.load(path).random_state in (0, 1)
        except Exception:
            corrupt += 1
    return corrupt, partial, whole.stat().st_size / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    CONTEXT.set_forkserver_preload(["sk_dim"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fits = kill_fits(folder, args.kills, rng)
        print("| killed | kills | of these while a file was written |", end="")
        print(" corrupt files | finished epochs lost | equal bits after going on |")
        print("|---|---|---|---|---|---|")
        print(
            f"| a fit with `checkpoint` | {args.kills} | {fits['partial']} "
            f"| {fits['corrupt']} | {fits['lost']} | {fits['equal']} |"
        )
        for is_safe, title in ((True, "`sk_dim.save`"), (False, "`joblib.dump`")):
            corrupt, partial, size = kill_saving(folder, args.kills, rng, is_safe)
            within = partial if is_safe else ""
            print(f"| {title} | {args.kills} | {within} | {corrupt} | | |")
        print(f"\nkills that left the middle of an epoch in the file: {fits['within']}")
        print(f"saved files: {size:.1f} MB")


if __name__ == "__main__":
    main()
