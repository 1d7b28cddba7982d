"""Rows that are held out, and critics that are trained without them and judge them."""

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from sk_dim._devices import seeded
from sk_dim._information._critic_training import BATCH_SIZE, CriticTraining
from sk_dim._information._judging import PairRows, judge, standard_error
from sk_dim._information._pair_critic import PAIR_CRITICS
from sk_dim._information._read_outs import ReadOut
from sk_dim._training._captured import StepGraphs
from sk_dim._validation import warn

N_PARTS = 5  # of the rows, in equal numbers
MAX_PART = 10_000  # rows of a part, above which there are more parts
N_JUDGED = 1_000  # rows, or groups of them, that are judged at least, if there are
N_STOP = 2_000  # rows at most that stop a training
STOP_SHARE = 0.1  # of the rows of a training, to stop it by
N_STEPS = 1000  # of max_iter="auto", where the rows are enough and critics don't say
MAX_EPOCHS = 60
N_CHECKS = 25  # of the early stopping, in a training of full length
PATIENCE = 8  # checks without a better value that end it

_threads_lock = threading.Lock()
_n_inside = 0  # fits that compute on one thread now
_n_threads = 1  # of torch, before the first of them began


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread, and give the others back at the end.

    Steps of small nets take longer on several threads than on one, and by far where
    other processes work. The number of threads belongs to the whole process, so the
    last of several fits gives back what the first one found.
    """
    global _n_inside, _n_threads
    with _threads_lock:
        if not _n_inside:
            _n_threads = torch.get_num_threads()
        _n_inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _threads_lock:
            _n_inside -= 1
            torch.set_num_threads(_n_threads)


def draw_folds(groups: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Assign each row to a part, rows of a group to the same."""
    n_groups = groups.max() + 1
    # At least two in each, else there is nothing to tell a row from.
    n_folds = max(2, min(N_PARTS, n_groups // 2), -(-n_groups // MAX_PART))
    return (rng.permutation(n_groups) % n_folds)[groups]


def draw_stop(
    groups: np.ndarray,
    rows: np.ndarray,
    rng: np.random.RandomState,
    apart: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut rows into those of a training and those that stop it, groups in one piece.

    `apart` (n,) are the rows, as bool, that rather do not stop a training.
    """
    drawn = rng.permutation(np.unique(groups[rows]))
    if apart is not None:
        is_apart = np.isin(drawn, groups[apart])
        drawn = drawn[np.argsort(is_apart, kind="stable")]
    # Two at least, to tell from one another, where that leaves as many to learn from.
    n_stop = min(N_STOP, max(2, round(STOP_SHARE * len(drawn))))
    n_stop = max(1, min(n_stop, len(drawn) - 2))
    place = np.zeros(groups.max() + 1, dtype=int)
    place[drawn] = np.arange(len(drawn))
    places = place[groups[rows]]
    order = np.argsort(places, kind="stable")
    n_first = int(np.sum(places < n_stop))
    return rows[order[n_first:]], rows[order[:n_first]]


def n_judged(folds: np.ndarray, groups: np.ndarray) -> int:
    """Count the folds that it takes to judge as many groups of rows as are wanted."""
    _, first = np.unique(groups, return_index=True)
    n_groups = np.cumsum(np.bincount(folds[first]))
    return min(len(n_groups), max(2, 1 + int(np.sum(n_groups < N_JUDGED))))


class TrainedCritic:
    """A critic, and how it is shown its rows.

    It is none at first, and stays none if it is worse than none, by more than a
    standard error, on rows that it did not learn from: all pairs then score alike.

    Parameters
    ----------
    name : str
        Of the critic, in `builds`.
    of_x, of_y : callable
        From the variables to inputs of the critic, with their `shape`, and with
        `is_normal`, which says what the normal part may use.
    builds : dict of callable
        Build critics from the shapes of both inputs.
    device : torch.device
        Where it computes.
    seed : int
        Seeds weights, batches, dropout, and which rows compete when they are judged.
    """

    def __init__(
        self,
        name: str,
        of_x: Any,
        of_y: Any,
        builds: Mapping[str, Any],
        device: torch.device,
        seed: int,
    ) -> None:
        self.name, self.of_x, self.of_y = name, of_x, of_y
        self.is_static = builds[name] in PAIR_CRITICS.values()
        self.device = device
        self.seed = seed
        self.is_none = True
        self.best = -math.inf  # value on the rows that stop its training, and what
        self.stop_shares = torch.zeros(1)  # each of them adds to it
        with seeded(seed, torch.device("cpu")):
            critic = builds[name](of_x.shape, of_y.shape)
        if not isinstance(critic, nn.Module):
            raise TypeError(
                f"critic returned {type(critic).__name__}; a callable for critic takes "
                "(x_shape, y_shape) and must return a torch.nn.Module."
            )
        self.critic = critic.to(device)
        # 0 where all that it learns is in closed form.
        self.n_training_steps = getattr(self.critic, "n_training_steps", N_STEPS)

    def train(
        self, train: PairRows, stop: PairRows, read_out: ReadOut, n_epochs: Any
    ) -> Iterator[dict[str, float]]:
        """Train, and keep the critic that was best on the rows to stop by.

        Yields what is known at each check, so that a training can be dropped.
        """
        x, y, _ = train
        if train.is_one_group:
            return  # there is no other row to tell it from
        learn_normal = getattr(self.critic, "learn_normal", None)
        if learn_normal is not None:
            of = [torch.from_numpy(p.is_normal).to(x) for p in (self.of_x, self.of_y)]
            learn_normal(x, y, *of)
        n_batches = max(1, round(len(x) / BATCH_SIZE))
        n_steps = self.n_training_steps
        if n_steps:
            if n_epochs == "auto":
                n_epochs = min(MAX_EPOCHS, -(-n_steps // n_batches))
            n_steps = n_epochs * n_batches
        n_checks = min(N_CHECKS, n_steps)
        training = CriticTraining(
            self.critic, train, stop, n_steps, read_out, self.seed
        )
        if self.is_static and self.device.type == "cuda":
            training.graphs = StepGraphs(training, training.compute_step)
        training.check()
        self.best, self.stop_shares = training.best, training.best_shares
        seconds = 0.0
        for i in range(1, n_checks + 1):
            start = time.monotonic()
            seen = training.run_to(n_steps * i // n_checks)
            value = training.check()
            self.best, self.stop_shares = training.best, training.best_shares
            seconds += time.monotonic() - start  # others may compute in between
            is_finite = math.isfinite(seen) and math.isfinite(value)
            if not is_finite:
                warn(
                    "training diverged, and the critic of before is used; "
                    "bound='infonce' is more robust.",
                )
            yield {
                "epoch": training.n_done / n_batches,
                "train": seen,
                "stop": value,
                "seconds": seconds,
            }
            if not is_finite or training.n_worse >= PATIENCE:
                break
        # No critic at all tells 0 nats. Few rows to stop by tell that only roughly.
        self.is_none = not self.best > -standard_error(self.stop_shares)
        if training.kept:
            self.critic.load_state_dict(training.kept)
        training.end()

    def judge(
        self, rows: PairRows, read_out: ReadOut, *, even_if_none: bool = False
    ) -> tuple[Tensor, float]:
        """Return what each group of rows adds to the value, and their cap."""
        critic = None if self.is_none and not even_if_none else self.critic
        return judge(critic, rows, read_out, read_out.n_candidates, self.seed)

    @torch.inference_mode()
    def score_pairs(self, rows: PairRows) -> np.ndarray:
        """Return the scores of all pairs of rows, (n, n), even where it is none."""
        self.critic.eval()
        return rows.score_in_blocks(self.critic).numpy()

    # Pickled as arrays, which can be read where the device is not.

    def pack(self) -> dict[str, Any]:
        """Return all but the net itself, its weights as arrays."""
        weights = {} if self.is_none else self.critic.state_dict()
        return {
            "name": self.name,
            "of_x": self.of_x,
            "of_y": self.of_y,
            "seed": self.seed,
            "is_none": self.is_none,
            "weights": {name: _to_array(w) for name, w in weights.items()},
        }

    @classmethod
    def unpack(
        cls, packed: dict[str, Any], builds: Mapping[str, Any], device: torch.device
    ) -> Self:
        """Build the net again, on a device that is there."""
        shown = packed["of_x"], packed["of_y"]
        self = cls(packed["name"], *shown, builds, device, packed["seed"])
        self.is_none = packed["is_none"]
        if not self.is_none:
            weights = {k: torch.tensor(w) for k, w in packed["weights"].items()}
            self.critic.load_state_dict(weights)
        return self


def _to_array(weight: Tensor) -> np.ndarray:
    # numpy has no bfloat16, and float32 holds it.
    weight = weight.detach().cpu()
    return (weight.float() if weight.dtype == torch.bfloat16 else weight).numpy()
