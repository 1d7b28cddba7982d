"""A critic of pairs, its training and its judgement of rows that were held out."""

import copy
import math
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sk_dim._devices import seeded
from sk_dim._read_outs import ReadOut
from sk_dim._schedule import Schedule
from sk_dim._validation import warn
from sk_dim._variables import Variable

BATCH_SIZE = 128  # rows a step, each a candidate for all others
N_STEPS = 1000  # of max_iter="auto", where the rows are enough
MAX_EPOCHS = 60
N_LOOKS = 25  # at the rows that stop the training
N_STOP_CANDIDATES = 512  # each of them has, a quarter of the cost of 2048
PATIENCE = 8  # looks without a better value that end it
LEARNING_RATE = 8e-3
AVERAGED = 0.1  # share of the steps that the average of the weights looks back


class Fold:
    """A critic and what it was trained on."""

    def __init__(
        self, X: np.ndarray, Y: np.ndarray, build: Any, device: torch.device, seed: int
    ) -> None:
        self.of_x, self.of_y = Variable(X), Variable(Y)
        self.device = device
        self.seed = seed
        with seeded(seed, torch.device("cpu")):
            self.critic = build(self.of_x.shape, self.of_y.shape).to(device)

    def train(
        self,
        train: tuple[np.ndarray, np.ndarray],
        stop: tuple[np.ndarray, np.ndarray],
        read_out: ReadOut,
        n_epochs: Any,
    ) -> list[dict[str, float]]:
        """Train, and keep the critic that was best on the rows to stop by."""
        x, y = self._inputs(*train)
        if len(x) == 1:
            return []  # there is no other row to tell it from
        stop_inputs = self._inputs(*stop)
        learn_normal = getattr(self.critic, "learn_normal", None)
        if learn_normal is not None:
            learn_normal(x, y)
        n_batches = max(1, round(len(x) / BATCH_SIZE))
        if n_epochs == "auto":
            n_epochs = min(MAX_EPOCHS, -(-N_STEPS // n_batches))
        n_steps = n_epochs * n_batches
        training = _Training(self.critic, x, y, n_steps, read_out, self.seed)

        def held_out() -> float:
            critic = training.average.module
            shares, _ = _judge(critic, *stop_inputs, read_out, N_STOP_CANDIDATES)
            return float(shares.mean())

        best, n_worse = held_out(), 0
        kept = copy.deepcopy(self.critic.state_dict())
        history: list[dict[str, float]] = []
        start = time.monotonic()
        for look in range(1, min(N_LOOKS, n_steps) + 1):
            seen = training.run_to(n_steps * look // min(N_LOOKS, n_steps))
            value = held_out()
            epoch = training.n_done / n_batches
            history.append({"epoch": epoch, "train": seen, "stop": value})
            history[-1]["seconds"] = time.monotonic() - start
            if not (math.isfinite(seen) and math.isfinite(value)):
                warn(
                    "training diverged, and the critic of before is used; "
                    "bound='infonce' is more robust.",
                )
                break
            n_worse = 0 if value > best else n_worse + 1
            if value > best:
                best, kept = value, copy.deepcopy(training.average.module.state_dict())
            if n_worse >= PATIENCE:
                break
        self.critic.load_state_dict(kept)
        return history

    def _inputs(self, X: np.ndarray, Y: np.ndarray) -> tuple[Tensor, Tensor]:
        return self.of_x(X).to(self.device), self.of_y(Y).to(self.device)

    def judge(
        self, X: np.ndarray, Y: np.ndarray, read_out: ReadOut
    ) -> tuple[Tensor, int]:
        """Return what each row adds to the value, and how many candidates it had."""
        inputs = self._inputs(X, Y)
        return _judge(self.critic, *inputs, read_out, read_out.n_candidates)


@torch.inference_mode()
def _judge(
    critic: torch.nn.Module, x: Tensor, y: Tensor, read_out: ReadOut, n_candidates: int
) -> tuple[Tensor, int]:
    critic.eval()
    n_groups = -(-len(x) // n_candidates)
    shares = []
    for rows in torch.arange(len(x)).tensor_split(n_groups):
        own, others = x[rows], y[rows]
        blocks = [critic(block, others) for block in own.split(128)]
        shares.append(read_out.shares(torch.cat(blocks).double().cpu()))
    return torch.cat(shares), len(x) // n_groups


class _Training:
    """The steps of a training, taken some at a time.

    Parameters
    ----------
    critic : nn.Module
        Scores all pairs of two batches.
    x, y : Tensor of shape (n, ...)
        Inputs of the critic.
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
        n_steps: int,
        read_out: ReadOut,
        seed: int,
    ) -> None:
        self.critic, self.x, self.y = critic, x, y
        self.objective = read_out.objective()
        self.schedule = Schedule(LEARNING_RATE, n_steps)
        self.optimiser = torch.optim.AdamW(
            critic.parameters(), lr=LEARNING_RATE, weight_decay=1e-2, fused=True
        )
        decay = 1 - 1 / max(1.0, AVERAGED * n_steps)
        self.average = AveragedModel(
            critic, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
        )
        self.seed = seed
        self.shuffler = torch.Generator().manual_seed(seed)
        self.batches: list[Tensor] = []
        self.n_done = 0

    def run_to(self, n_steps: int) -> float:
        """Train on until `n_steps` are done; the mean of the objective."""
        self.critic.train()
        values = []
        with seeded(self.seed + self.n_done, self.x.device):
            while self.n_done < n_steps:
                rows = self._next_batch()
                value = self.objective(self.critic(self.x[rows], self.y[rows]))
                self.optimiser.param_groups[0]["lr"] = self.schedule.rate(self.n_done)
                self.optimiser.zero_grad(set_to_none=True)
                (-value).backward()
                self.optimiser.step()
                self.average.update_parameters(self.critic)
                values.append(value.detach())
                self.n_done += 1
        return float(torch.stack(values).mean())

    def _next_batch(self) -> Tensor:
        if not self.batches:
            order = torch.randperm(len(self.x), generator=self.shuffler)
            n_batches = max(1, round(len(self.x) / BATCH_SIZE))
            self.batches = list(order.to(self.x.device).tensor_split(n_batches))
        return self.batches.pop()
