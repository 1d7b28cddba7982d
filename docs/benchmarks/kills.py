"""SIGKILL at random moments of a fit with a checkpoint, and of saving.

A fit is killed at a random moment and gone on with in another process. The file, the
epochs in it and the bits at the end are compared with those of a fit that was not
killed. Saving is killed while it goes on without a break; the file must then be one of
the two estimators that were saved in turn::

    OMP_NUM_THREADS=1 python docs/benchmarks/kills.py

With `--n-devices 2`, fits are of two processes on the CPU, and the kill is of one of
them or of the process that started them; saving is left out.
"""

import argparse
import multiprocessing as mp
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import joblib
import numpy as np
from skorch.callbacks import Callback

import sk_dim
from sk_dim._training import _checkpoint_files, _checkpoints
from sk_dim._training._launch import cloudpickle

# Processes that have the imports done, and no memory in common.
CONTEXT = mp.get_context("forkserver")
N_EPOCHS = 5


class Announce(Callback):
    """Tells how many epochs are over, when the next one begins."""

    def __init__(self, path):
        self.path = path

    def on_epoch_begin(self, net, **_):
        _checkpoints.SECONDS = 0.1  # so that kills meet checkpoints within epochs too
        with self.path.open("a") as file:
            file.write(f"{len(net.history) - 1}\n")


def make(path, told=None, n_devices=1):
    callbacks = None if told is None else [Announce(told)]
    return sk_dim.DeepInfomaxTransformer(
        256,
        encoder="conv",
        max_iter=N_EPOCHS,
        random_state=0,
        callbacks=callbacks,
        device="auto" if n_devices == 1 else "cpu",
        n_devices=n_devices,
        checkpoint=path,
        warm_start=True,
    )


def images():
    return np.random.default_rng(0).normal(size=(1500, 8, 8))


def fit(path, told, n_devices, pipe):
    """Fit, and send the features, unless a process that it started is killed."""
    tempfile.tempdir = str(path.parent)  # where those processes leave their numbers
    cloudpickle.register_pickle_by_value(sys.modules[Announce.__module__])
    with suppress(RuntimeError):
        pipe.send(make(path, told, n_devices).fit(images()).transform(images()))


def run_fit(path, n_devices, seconds=None, rng=None):
    """Run a fit, of which one process is killed so many seconds after it began.

    Returns finished epochs, features or None, and how long it took.
    """
    told = path.with_suffix(".told")
    told.unlink(missing_ok=True)
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=fit, args=(path, told, n_devices, theirs))
    process.start()
    theirs.close()
    while not told.exists() and not ours.poll(0.01):  # of a finished fit, features
        pass
    start = time.monotonic()
    if seconds is not None:
        process.join(seconds)
        started = [each.name for each in path.parent.glob("sk_dim_*/process-*")]
        pids = [process.pid, *(int(name.split("-")[1]) for name in started)]
        with suppress(ProcessLookupError):
            os.kill(rng.choice(pids), signal.SIGKILL)
    try:
        features = ours.recv()
    except (EOFError, OSError):  # also within a message
        features = None
    process.join()
    seconds = time.monotonic() - start
    if n_devices > 1:
        time.sleep(2.0)  # until the others have noticed
    for left in path.parent.glob("sk_dim_*"):
        shutil.rmtree(left)
    n_epochs = int(told.read_text().split()[-1]) if told.exists() else 0
    return n_epochs, features, seconds


def kill_fits(folder, n_kills, rng, n_devices):
    _, expected, seconds = run_fit(folder / "whole", n_devices)
    counts = dict.fromkeys(("corrupt", "lost", "equal", "within", "partial"), 0)
    for i in range(n_kills):
        path = folder / f"killed-{i}"
        after = rng.uniform(0.0, 0.95 * seconds)
        n_epochs, _, _ = run_fit(path, n_devices, after, rng)
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
        counts["lost"] += max(0, n_epochs - n_there)
        parts = list(folder.glob(".sk_dim-*.partial"))
        counts["partial"] += len(parts) > 0
        for part in parts:
            part.unlink()
        _, features, _ = run_fit(path, n_devices)
        counts["equal"] += bool(np.array_equal(features, expected))
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
    parser.add_argument("--n-devices", type=int, default=1)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    CONTEXT.set_forkserver_preload(["sk_dim"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fits = kill_fits(folder, args.kills, rng, args.n_devices)
        print("| killed | kills | of these while a file was written |", end="")
        print(" corrupt files | finished epochs lost | equal bits after going on |")
        print("|---|---|---|---|---|---|")
        print(
            f"| a fit with `checkpoint` | {args.kills} | {fits['partial']} "
            f"| {fits['corrupt']} | {fits['lost']} | {fits['equal']} |"
        )
        savings = ((True, "`sk_dim.save`"), (False, "`joblib.dump`"))
        for is_safe, title in savings if args.n_devices == 1 else ():
            corrupt, partial, size = kill_saving(folder, args.kills, rng, is_safe)
            within = partial if is_safe else ""
            print(f"| {title} | {args.kills} | {within} | {corrupt} | | |")
        if args.n_devices == 1:
            print(f"\nsaved files: {size:.1f} MB")
        print(f"\nkills that left the middle of an epoch in the file: {fits['within']}")


if __name__ == "__main__":
    main()
