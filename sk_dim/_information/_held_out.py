"""Rows that are held out, and critics that are trained without them and judge them."""

import copy
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from sk_dim._devices import exact_float32, seeded
from sk_dim._information._pair_critic import PAIR_CRITICS
from sk_dim._information._read_outs import ReadOut
from sk_dim._training._captured import StepGraphs
from sk_dim._training._optimizers import adam_w, set_rates
from sk_dim._training._schedule import Schedule
from sk_dim._validation import warn

Inputs = tuple[Tensor, Tensor]  # of a critic: (n, ...) of X, and of Y

N_PARTS = 5  # of the rows, in equal numbers
MAX_PART = 10_000  # rows of a part, above which there are more parts
N_JUDGED = 1_000  # rows that are judged at least, where there are as many
N_STOP = 2_000  # rows at most that stop a training
STOP_SHARE = 0.1  # of the rows of a training, to stop it by
BATCH_SIZE = 128  # rows a step, each a candidate for all others
N_STEPS = 1000  # of max_iter="auto", where the rows are enough and critics don't say
MAX_EPOCHS = 60
N_CHECKS = 25  # of the early stopping, in a training of full length
N_STOP_CANDIDATES = (
    512  # each of the rows to stop by has, a quarter of the cost of 2048
)
PATIENCE = 8  # checks without a better value that end it
LEARNING_RATE = 8e-3
AVERAGED = 0.1  # share of the steps that the average of the weights looks back

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
    groups: np.ndarray, rows: np.ndarray, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Cut rows into those of a training and those that stop it, groups in one piece."""
    drawn = rng.permutation(np.unique(groups[rows]))
    n_stop = max(1, min(N_STOP, round(STOP_SHARE * len(drawn))))
    place = np.zeros(groups.max() + 1, dtype=int)
    place[drawn] = np.arange(len(drawn))
    places = place[groups[rows]]
    order = np.argsort(places, kind="stable")
    n_first = int(np.sum(places < n_stop))
    return rows[order[n_first:]], rows[order[:n_first]]


def standard_error(shares: Tensor) -> float:
    """Return that of the mean of what rows add to a value."""
    return float(shares.std(correction=0) / math.sqrt(len(shares)))


def n_judged(folds: np.ndarray) -> int:
    """Count the folds that it takes to judge as many rows as are wanted."""
    n_rows = np.cumsum(np.bincount(folds))
    return min(len(n_rows), max(2, 1 + int(np.sum(n_rows < N_JUDGED))))


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
            self.critic = builds[name](of_x.shape, of_y.shape).to(device)

    def train(
        self, train: Inputs, stop: Inputs, read_out: ReadOut, n_epochs: Any
    ) -> Iterator[dict[str, float]]:
        """Train, and keep the critic that was best on the rows to stop by.

        Yields what is known at each check, so that a training can be left.
        """
        x, y = train
        if len(x) == 1:
            return  # there is no other row to tell it from
        learn_normal = getattr(self.critic, "learn_normal", None)
        if learn_normal is not None:
            of = [torch.from_numpy(p.is_normal).to(x) for p in (self.of_x, self.of_y)]
            learn_normal(x, y, *of)
        n_batches = max(1, round(len(x) / BATCH_SIZE))
        n_steps = getattr(self.critic, "n_training_steps", N_STEPS)
        if n_steps:
            if n_epochs == "auto":
                n_epochs = min(MAX_EPOCHS, -(-n_steps // n_batches))
            n_steps = n_epochs * n_batches
        n_checks = min(N_CHECKS, n_steps)
        training = _Training(self.critic, x, y, *stop, n_steps, read_out, self.seed)
        if self.is_static and self.device.type == "cuda":
            training.graphs = StepGraphs(training, training._compute_step)
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
        training.graphs = None  # which hold it, and memory of the device
        # No critic at all tells 0 nats. Few rows to stop by tell that only roughly.
        self.is_none = not self.best > -standard_error(self.stop_shares)
        if training.kept:
            self.critic.load_state_dict(training.kept)

    def judge(
        self, inputs: Inputs, read_out: ReadOut, *, even_if_none: bool = False
    ) -> tuple[Tensor, int]:
        """Return what each row adds to the value, and how many candidates it had."""
        n, n_rows = read_out.n_candidates, len(inputs[0])
        if self.is_none and not even_if_none:
            return torch.zeros(n_rows, dtype=torch.float64), n_rows // -(-n_rows // n)
        return _judge(self.critic, *inputs, read_out, n, self.seed)

    @torch.inference_mode()
    def score_pairs(self, inputs: Inputs) -> np.ndarray:
        """Return the scores of all pairs of rows, (n, n), even where it is none."""
        self.critic.eval()
        return _score(self.critic, *inputs).numpy()

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


@torch.inference_mode()
def _judge(
    critic: torch.nn.Module,
    x: Tensor,
    y: Tensor,
    read_out: ReadOut,
    n_candidates: int,
    seed: int,
) -> tuple[Tensor, int]:
    """Judge rows in groups of at most so many, drawn at random.

    Neighbours in sorted rows are alike, and would be harder to tell apart.
    """
    critic.eval()
    n_groups = -(-len(x) // n_candidates)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    shares = torch.empty(len(x), dtype=torch.float64)
    for rows in order.tensor_split(n_groups):
        own, others = x[rows], y[rows]
        shares[rows] = read_out.shares(_score(critic, own, others))
    return shares, len(x) // n_groups


def _score(critic: torch.nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Score all pairs, in blocks of rows: (m, n), float64, on the CPU."""
    return torch.cat([critic(block, y) for block in x.split(128)]).cpu().double()


class _Training:
    """The steps of a training, taken some at a time.

    Parameters
    ----------
    critic : nn.Module
        Scores all pairs of two batches.
    x, y : Tensor of shape (n, ...)
        Inputs of the critic.
    stop_x, stop_y : Tensor of shape (m, ...)
        Inputs that it does not learn from, to stop by.
    n_steps : int
        In all.
    read_out : ReadOut
        Whose objective is raised.
    seed : int
        Of batches and dropout.
    """

    def __init__(
        self,
        critic: torch.nn.Module,
        x: Tensor,
        y: Tensor,
        stop_x: Tensor,
        stop_y: Tensor,
        n_steps: int,
        read_out: ReadOut,
        seed: int,
    ) -> None:
        self.critic, self.x, self.y = critic, x, y
        self.stop = stop_x, stop_y
        self.read_out = read_out
        self.objective = copy.copy(read_out.objective)  # some keep an average
        self.schedule = Schedule(LEARNING_RATE, n_steps)
        self.device = x.device
        self.generator = None  # dropout draws from the global one
        group = {"params": list(critic.parameters()), "factor": 1.0}
        self.optimiser = adam_w([group], self.device)
        self.decay = 1 - 1 / max(1.0, AVERAGED * n_steps)
        self.average = copy.deepcopy(critic)
        self.graphs: StepGraphs | None = None
        self.seed = seed
        self.shuffler = torch.Generator().manual_seed(seed)
        self.batches: list[Tensor] = []
        self.n_done = 0
        self.best = -math.inf
        self.best_shares = torch.zeros(1)  # of the rows to stop by
        self.kept: dict[str, Tensor] = {}
        self.n_worse = 0  # checks since the best

    def run_to(self, n_steps: int) -> float:
        """Train on until `n_steps` are done; the mean of the objective."""
        self.critic.train()
        values = []
        compute = self.graphs or self._compute_step
        with seeded(self.seed + self.n_done, self.device), exact_float32(self.device):
            while self.n_done < n_steps:
                set_rates(self.optimiser, self.schedule.rate(self.n_done))
                # A step that is replayed writes over what the last one returned.
                values.append(compute(self._next_batch()).clone())
                self.n_done += 1
        return float(torch.stack(values).mean())

    def _compute_step(self, rows: Tensor) -> Tensor:
        """Raise the objective of some rows, and return it."""
        value = self.objective(self.critic(self.x[rows], self.y[rows]))
        self.optimiser.zero_grad(set_to_none=True)
        (-value).backward()
        self.optimiser.step()
        self._take_average()
        return value.detach()

    @torch.no_grad()
    def _take_average(self) -> None:
        """Let the average of the weights follow; at first it is what they are.

        torch's AveragedModel asks the device in each step how many it has averaged,
        which a step that is recorded may not.
        """
        share = 1 - self.decay if self.n_done else 1.0
        averages, values = (
            [*critic.parameters(), *critic.buffers()]
            for critic in (self.average, self.critic)
        )
        for average, value in zip(averages, values, strict=True):
            if value.is_floating_point():
                average.lerp_(value, share)
            else:  # counts of batch normalisation
                average.copy_(value)

    def check(self) -> float:
        """Judge the averaged critic by the rows to stop by, and keep the best."""
        critic = self.average
        shares, _ = _judge(
            critic, *self.stop, self.read_out, N_STOP_CANDIDATES, self.seed
        )
        value = float(shares.mean())
        self.n_worse += 1
        if value > self.best:
            self.best, self.kept = value, copy.deepcopy(critic.state_dict())
            self.best_shares = shares
            self.n_worse = 0
        return value

    def _next_batch(self) -> Tensor:
        if not self.batches:
            order = torch.randperm(len(self.x), generator=self.shuffler)
            n_batches = max(1, round(len(self.x) / BATCH_SIZE))
            self.batches = list(order.to(self.x.device).tensor_split(n_batches))
        return self.batches.pop()
