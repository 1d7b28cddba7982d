"""Train an encoder on by a few labels, with a head that tells classes apart."""

import copy
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sk_dim._batches import RowSubset, SliceLoader, Source
from sk_dim._features import Features
from sk_dim._net import InfomaxNet
from sk_dim._schedule import Schedule

N_LOOKS = 20  # rows of the history, and looks at held-out rows
N_STANDARD = 1000  # samples that the features are standardised by in the end
UNLABELLED_PER_LABELLED = 4  # rows a step
# Of a row's own average, between its visits, and of that over all rows, between steps.
RETENTION, RETENTION_OF_MEAN = 0.7, 0.95
N_SMOOTHING = 5  # labels of each class beside those there are, to guess frequencies by
TERMS = ("loss", "supervised", "unlabelled", "infomax", "confidence")


@dataclass(frozen=True)
class Recipe:
    """How to fine-tune; the names are those of DeepInfomaxClassifier's parameters."""

    n_steps: int | None
    max_time: float | None
    batch_size: int
    learning_rate: float
    rate_decay: float
    infomax_weight: float
    unlabelled_weight: float
    temperature: float
    n_looks_no_change: int


class Head(nn.Module):
    """A linear layer on standardised features, which begins with equal coefficients.

    Parameters
    ----------
    n_components : int
        Size of the global features.
    intercepts : Tensor of shape (n_classes,)
        To begin with.
    """

    def __init__(self, n_components: int, intercepts: Tensor) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(n_components, affine=False)
        # Not initialised, which would draw from torch's global generator.
        self.linear = nn.utils.skip_init(nn.Linear, n_components, len(intercepts))
        nn.init.zeros_(self.linear.weight)
        self.linear.bias = nn.Parameter(intercepts)

    def forward(self, features: Tensor) -> Tensor:
        """Score the classes."""
        return self.linear(self.norm(features.float()))

    @torch.no_grad()
    def standardise(self, features: Tensor) -> None:
        """Take mean and variance of these features in place of those of the views."""
        mean, variance = self._moments()
        mean.copy_(features.mean(dim=0))
        variance.copy_(features.var(dim=0, correction=0))

    @torch.no_grad()
    def linear_map(self) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients (n_classes, n_components) and intercepts (n_classes,)."""
        mean, variance = self._moments()
        coef = self.linear.weight / (variance + self.norm.eps).sqrt()
        intercept = self.linear.bias - coef @ mean
        return coef.cpu().numpy(), intercept.cpu().numpy()

    def _moments(self) -> tuple[Tensor, Tensor]:
        # To mypy they may be None, which they are not unless asked for.
        return self.norm.running_mean, self.norm.running_var  # type: ignore[return-value]


class Targets:
    """What classes unlabelled rows are taken to have, by what the head says of them.

    Averaged over the visits to a row, brought to the frequencies of the classes on
    average over the rows, so that no class takes over others, and sharpened.

    Parameters
    ----------
    n_rows : int
        Of the data set.
    frequencies : Tensor of shape (n_classes,)
        Of the classes, with sum 1.
    temperature : float
        Less than 1 sharpens.
    """

    def __init__(self, n_rows: int, frequencies: Tensor, temperature: float) -> None:
        self.sums = frequencies.new_zeros(n_rows, len(frequencies))
        self.frequencies = frequencies
        self.temperature = temperature
        self.mean = frequencies

    @torch.no_grad()
    def update(self, rows: Tensor, said: Tensor) -> Tensor:
        """Take in probabilities (n, n_classes) of rows (n,), and return their targets.

        Returns probabilities (n, n_classes).
        """
        sums = RETENTION * self.sums[rows] + (1 - RETENTION) * said
        self.sums[rows] = sums
        average = sums / sums.sum(dim=1, keepdim=True)
        self.mean = RETENTION_OF_MEAN * self.mean
        self.mean = self.mean + (1 - RETENTION_OF_MEAN) * average.mean(dim=0)
        aligned = average * self.frequencies / self.mean.clamp_min(1e-12)
        return (aligned.log() / self.temperature).softmax(dim=1)


class FineTuner:
    """Trains the encoder of a net, its objective and a head on views of the rows.

    A step takes labelled rows and, where there are any, unlabelled ones. On views of
    the labelled the head learns their classes. On one view of each unlabelled row, a
    part of which is erased, it learns the `Targets` that it made of what it said of the
    other view. The objective of the net is maximised on the unlabelled, or where there
    are none on the labelled.

    Parameters
    ----------
    net : InfomaxNet
        Whose encoder and critics are changed in place.
    rows : Source
        All rows.
    codes : ndarray of int, of shape (n,)
        Class of each row, -1 where it has no label.
    recipe : Recipe
        How to.
    class_weights : ndarray of shape (n_classes,) or None
        Of the cross-entropy.
    held_out : ndarray of int or None
        Labelled rows not to train on, but to stop by.
    seed : int
        Of batches and views.
    """

    def __init__(
        self,
        net: InfomaxNet,
        rows: Source,
        codes: np.ndarray,
        recipe: Recipe,
        class_weights: np.ndarray | None,
        held_out: np.ndarray | None,
        seed: int,
    ) -> None:
        self.net = net
        self.rows = rows
        self.recipe = recipe
        self.device = net.scaling.device
        self.codes = torch.from_numpy(codes).to(self.device)
        self.held_out = None if held_out is None else torch.from_numpy(held_out)
        self.encoder = net.module_
        counts = torch.from_numpy(np.bincount(codes[codes >= 0])).float()
        intercepts = torch.zeros_like(counts)
        self.class_weights = None
        frequencies = counts + N_SMOOTHING
        if class_weights is not None:
            weights = torch.from_numpy(class_weights).float()
            self.class_weights = weights.to(self.device)
            frequencies = weights * frequencies
            # Weights far apart would take a small learning rate long to follow.
            intercepts = (weights * counts).clamp_min(1e-12).log()
            intercepts = intercepts - intercepts.mean()
        self.head = Head(net.layer_shapes["global"][0], intercepts).to(self.device)
        self.optimizer = self._build_optimizer()
        self.generator = torch.Generator(self.device).manual_seed(seed)
        shuffler = torch.Generator().manual_seed(seed)
        labelled = np.flatnonzero(codes >= 0)
        if held_out is not None:
            labelled = np.setdiff1d(labelled, held_out)
        self.batches = _endless(torch.from_numpy(labelled), recipe.batch_size, shuffler)
        self.others = self.targets = None
        if (codes < 0).any() and (recipe.infomax_weight or recipe.unlabelled_weight):
            # Labelled rows among them: without their labels, they are rows like others.
            n_others = UNLABELLED_PER_LABELLED * recipe.batch_size
            others = torch.ones(len(rows), dtype=torch.bool)
            if self.held_out is not None:
                others[self.held_out] = False
            self.others = _endless(others.nonzero().flatten(), n_others, shuffler)
            if recipe.unlabelled_weight:
                shares = (frequencies / frequencies.sum()).to(self.device)
                self.targets = Targets(len(rows), shares, recipe.temperature)
        self.standard = torch.randperm(len(rows), generator=shuffler)[:N_STANDARD]
        self.history: list[dict[str, float]] = []

    def _build_optimizer(self) -> torch.optim.AdamW:
        """AdamW with a factor of the learning rate for each layer."""
        layers: list[nn.Module] = []
        for child in self.encoder.children():
            layers += list(child) if isinstance(child, nn.ModuleList) else [child]
        trained = [list(layer.parameters()) for layer in layers]
        trained = [parameters for parameters in trained if parameters]
        trained.append(list(self.head.parameters()))
        in_layers = {id(p) for parameters in trained for p in parameters}
        # Parameters of the encoder itself, and critics, which sit beside the head.
        rest = [*self.encoder.parameters(), *self.net.criterion_.critics.parameters()]
        trained[-1] += [p for p in rest if id(p) not in in_layers]
        return torch.optim.AdamW(
            [
                {"params": parameters, "factor": self.recipe.rate_decay**depth}
                for depth, parameters in enumerate(reversed(trained))
            ],
            weight_decay=1e-2,
            fused=self.device.type != "mps",
        )

    def run(self, verbose: int) -> None:
        """Train to the end of the schedule, or until held-out rows are no better.

        Raises
        ------
        ValueError
            If the training diverges.
        """
        recipe = self.recipe
        start = time.monotonic()
        schedule = Schedule(
            recipe.learning_rate, recipe.n_steps, recipe.max_time, start
        )
        view_scale = getattr(self.net.module_, "view_scale", None)
        if view_scale is not None:
            # The head is to see things as large as in the samples that it will predict.
            self.net.module_.view_scale = None
        best_score, best_look, best = -1.0, 0, None
        values = []
        for step in itertools.count():
            for group in self.optimizer.param_groups:
                group["lr"] = schedule.rate(step) * group["factor"]
            values.append(self._step())
            progress = schedule.progress(step + 1)
            if progress < (len(self.history) + 1) / N_LOOKS:
                continue
            row = self._record(step + 1, values, time.monotonic() - start)
            values = []
            if self.held_out is not None:
                row["valid_score"] = self._score_held_out(self.held_out)
                if row["valid_score"] > best_score:
                    best_score, best_look = row["valid_score"], len(self.history)
                    best = copy.deepcopy(self._states())
            if verbose:
                print(_line(row), flush=True)
            is_stale = len(self.history) - best_look >= recipe.n_looks_no_change
            if progress >= 1 or (self.held_out is not None and is_stale):
                break
        if best is not None:
            for module, state in zip((self.encoder, self.head), best, strict=True):
                module.load_state_dict(state)
        self._standardise()
        if view_scale is not None:
            self.net.module_.view_scale = view_scale
        # The terms were those before the last step.
        self._check_finite(np.concatenate(self.head.linear_map(), axis=None))

    def _states(self) -> list[dict[str, Any]]:
        return [module.state_dict() for module in (self.encoder, self.head)]

    def _step(self) -> Tensor:
        """Train on one batch; its terms, in the order of `TERMS`."""
        net, recipe = self.net, self.recipe
        for module in (self.encoder, self.head, net.criterion_):
            module.train()
        rows = next(self.batches)
        n_labelled = len(rows)
        if self.others is not None:
            rows = torch.cat([rows, next(self.others)])
        rows = rows.to(self.rows.device)
        self.optimizer.zero_grad(set_to_none=True)
        is_reduced = net.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_reduced):
            drawn = net.draw_views(self.rows.take(rows), self.generator)
            if self.targets is not None and len(drawn) == 2:
                drawn[1] = _erase(drawn[1], n_labelled, self.generator)
            views = net.encode_views(drawn)
            infomax = views[0].global_.new_zeros(())
            if recipe.infomax_weight:
                # Labelled rows, which may be in a batch many times, are no negatives.
                first = 0 if self.others is None else n_labelled
                parts = [_from_row(view, first) for view in views]
                terms = net.criterion_(parts, self.generator)
                if net.criterion_.has_adversary:
                    del terms["prior"]  # whose adversary is not trained here
                infomax = net.criterion_.loss(terms)
        scores = torch.stack([self.head(view.global_) for view in views])
        codes = self.codes[rows[:n_labelled].to(self.device)]
        supervised = cross_entropy(
            scores[:, :n_labelled].flatten(0, 1),
            codes.repeat(len(views)),
            self.class_weights,
        )
        unlabelled, confidence = self._learn_from_itself(
            rows[n_labelled:].to(self.device), scores[:, n_labelled:]
        )
        loss = (
            supervised
            + recipe.unlabelled_weight * unlabelled
            + recipe.infomax_weight * infomax
        )
        loss.backward()
        self.optimizer.step()
        return torch.stack([loss, supervised, unlabelled, infomax, confidence]).detach()

    def _learn_from_itself(self, rows: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the second view of rows to targets made by the first.

        Returns it, averaged over the n samples of ``scores (n_views, n, n_classes)``,
        and the mean probability of the most probable class in the targets; zeros where
        there are no targets, or one view only, which would learn what it says.
        """
        if self.targets is None or len(scores) == 1:
            return scores.new_zeros(()), scores.new_zeros(())
        targets = self.targets.update(rows, scores[0].detach().softmax(dim=-1))
        # Without class weights, to which the targets owe what they are.
        return cross_entropy(scores[1], targets), targets.amax(dim=1).mean()

    def _record(
        self, step: int, values: list[Tensor], seconds: float
    ) -> dict[str, float]:
        """Append the means since the last look to the history."""
        means = torch.stack(values).float().mean(dim=0).tolist()
        self._check_finite(means)
        row = {"step": step, **dict(zip(TERMS, means, strict=True))}
        self.history.append(row | {"valid_score": np.nan, "seconds": seconds})
        return self.history[-1]

    def _check_finite(self, values: ArrayLike) -> None:
        if not np.isfinite(values).all():
            raise ValueError(
                "fine-tuning diverged; lower learning_rate (now "
                f"{self.recipe.learning_rate:g})."
            )

    def _standardise(self) -> None:
        """Standardise by whole samples, which have other statistics than views."""
        self.head.standardise(self._encode(self.standard))

    def _encode(self, rows: Tensor) -> Tensor:
        """Global features of whole samples."""
        loader = SliceLoader(RowSubset(self.rows, rows), 512)
        return torch.cat([self.net.evaluation_step(b).global_ for b in loader]).float()

    def _score_held_out(self, rows: Tensor) -> float:
        """Accuracy on the held-out rows, whole."""
        self._standardise()
        self.head.eval()
        with torch.inference_mode():
            found = self.head(self._encode(rows)).argmax(dim=1)
        is_right = found == self.codes[rows.to(self.device)]
        return float(is_right.float().mean())


def _from_row(features: Features, first: int) -> Features:
    """Return the features of the samples from `first` on."""
    return Features._make(None if part is None else part[first:] for part in features)


def _erase(batch: Tensor, first: int, generator: torch.Generator) -> Tensor:
    """Set a box of each sample from `first` on to zero (DeVries & Taylor 2017).

    Zero is the mean of the data. The box covers up to a quarter of an image or series,
    and can reach beyond the sides. Of tables, whose columns have no neighbours, nothing
    is erased.
    """
    sides = batch.shape[2:]
    if not sides:
        return batch
    is_inside = torch.ones(len(batch), *sides, dtype=torch.bool, device=batch.device)
    for axis, side in enumerate(sides):
        unit = torch.rand(len(batch), 1, generator=generator, device=batch.device)
        places = torch.arange(side, device=batch.device)
        reach = 0.25 ** (1 / len(sides)) * side / 2
        is_near = ((unit * side).floor() - places).abs() < reach
        shape = [len(batch), *(n if i == axis else 1 for i, n in enumerate(sides))]
        is_inside &= is_near.view(shape)
    is_inside[:first] = False
    return batch.masked_fill(is_inside.unsqueeze(1), 0.0)


def _endless(rows: Tensor, n_rows: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of `n_rows`, all rows in random order before any comes again."""
    ahead = rows[:0]
    while True:
        while len(ahead) < n_rows:
            order = torch.randperm(len(rows), generator=generator)
            ahead = torch.cat([ahead, rows[order]])
        yield ahead[:n_rows]
        ahead = ahead[n_rows:]


def _line(row: dict[str, float]) -> str:
    """One line of what `verbose` prints."""
    names = ("supervised", "unlabelled", "infomax")
    terms = "  ".join(f"{name} {row[name]:.3f}" for name in names)
    line = f"step {row['step']:.0f}  {terms}  confidence {row['confidence']:.2f}"
    if np.isfinite(row["valid_score"]):
        line += f"  held-out accuracy {row['valid_score']:.3f}"
    return f"{line}  {row['seconds']:.0f} s"
