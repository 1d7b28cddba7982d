"""The training of a critic of pairs, taken some steps at a time."""

import copy
import math

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from sk_dim._devices import exact_float32, seeded
from sk_dim._information._judging import PairRows, judge
from sk_dim._information._read_outs import ReadOut
from sk_dim._training._captured import StepGraphs
from sk_dim._training._optimizers import adam_w, set_rates
from sk_dim._training._schedule import Schedule

BATCH_SIZE = 128  # rows a step, each a candidate for all others
N_STOP_CANDIDATES = 512  # of rows to stop by, at a quarter of the cost of 2048
LEARNING_RATE = 8e-3
AVERAGED = 0.1  # share of the steps that the average of the weights looks back


class CriticTraining:
    """The steps of a training, taken some at a time.

    Parameters
    ----------
    critic : nn.Module
        Scores all pairs of two batches.
    train, stop : PairRows
        Rows that it learns from, and others to stop by.
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
        train: PairRows,
        stop: PairRows,
        n_steps: int,
        read_out: ReadOut,
        seed: int,
    ) -> None:
        self.critic, self.rows, self.stop = critic, train, stop
        self.groups = None if train.groups is None else train.groups.cpu()
        self.read_out = read_out
        self.objective = copy.copy(read_out.objective)  # some keep an average
        self.schedule = Schedule(LEARNING_RATE, n_steps)
        self.device = train.x.device
        self.generator = None  # dropout draws from the global one
        self.weights = _flatten(critic)
        group = {"params": self.weights, "factor": 1.0}
        self.optimiser = adam_w([group], self.device)
        self.decay = 1 - 1 / max(1.0, AVERAGED * n_steps)
        self.average = copy.deepcopy(critic)
        self.averages = _all_values(self.average, _flatten(self.average, learns=False))
        self.values = _all_values(critic, self.weights)
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
        compute = self.graphs or self.compute_step
        with seeded(self.seed + self.n_done, self.device), exact_float32(self.device):
            while self.n_done < n_steps:
                set_rates(self.optimiser, self.schedule.rate(self.n_done))
                # A step that is replayed writes over what the last one returned.
                values.append(compute(self._next_batch()).clone())
                self.n_done += 1
        return float(torch.stack(values).mean())

    def compute_step(self, rows: Tensor) -> Tensor:
        """Raise the objective of some rows, and return it."""
        value = self.objective(self.rows.take(rows).score(self.critic))
        self.optimiser.zero_grad(set_to_none=False)
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
        for average, value in zip(self.averages, self.values, strict=True):
            if value.is_floating_point():
                average.lerp_(value, share)
            else:  # counts of batch normalisation
                average.copy_(value)

    def check(self) -> float:
        """Judge the averaged critic by the rows to stop by, and keep the best."""
        critic = self.average
        shares, _ = judge(
            critic, self.stop, self.read_out, N_STOP_CANDIDATES, self.seed
        )
        value = float(shares.mean())
        self.n_worse += 1
        if value > self.best:
            self.best, self.kept = value, copy.deepcopy(critic.state_dict())
            self.best_shares = shares
            self.n_worse = 0
        return value

    def _next_batch(self) -> Tensor:
        while True:
            if not self.batches:
                order = torch.randperm(len(self.rows.x), generator=self.shuffler)
                n_batches = max(1, round(len(order) / BATCH_SIZE))
                self.batches = list(order.tensor_split(n_batches))
            batch = self.batches.pop()
            # Rows of one group alone have no other to be told from.
            if self.groups is None or len(self.groups[batch].unique()) > 1:
                return batch.to(self.device)

    def end(self) -> None:
        """Give weights storage of their own again, and free what training needs."""
        self.graphs = None
        for weight in self.critic.parameters():
            if not is_lazy(weight):
                weight.data, weight.grad = weight.detach().clone(), None


def _all_values(critic: torch.nn.Module, weights: list[Tensor]) -> list[Tensor]:
    """Return weights that learn, and all else that a critic may change in a step."""
    frozen = [weight for weight in critic.parameters() if not weight.requires_grad]
    return [*weights, *frozen, *critic.buffers()]


def _flatten(critic: torch.nn.Module, *, learns: bool = True) -> list[Tensor]:
    """Put the weights that learn into one vector, and their gradients into another.

    An optimiser takes a millisecond for a score of small weights, as long as all their
    matrix products, and a fraction of that for one vector that they are parts of.
    """
    weights = [weight for weight in critic.parameters() if weight.requires_grad]
    kinds = {(weight.dtype, weight.device) for weight in weights}
    if len(kinds) != 1 or any(is_lazy(w) or not _is_dense(w) for w in weights):
        return list(weights)
    flat = torch.nn.Parameter(torch.cat([w.detach().flatten() for w in weights]))
    flat.grad = torch.zeros_like(flat) if learns else None
    start = 0
    for weight in weights:
        # With its own strides, which differ where channels come last.
        place = weight.shape, weight.stride(), start
        part = flat.detach().as_strided(*place)
        part.copy_(weight.detach())
        weight.data = part
        if flat.grad is not None:
            weight.grad = flat.grad.as_strided(*place)
        start += weight.numel()
    return [flat]


def _is_dense(weight: Tensor) -> bool:
    """Whether its elements fill a piece of memory."""
    steps = zip(weight.shape, weight.stride(), strict=True)
    return sum((n - 1) * step for n, step in steps) + 1 == weight.numel()
