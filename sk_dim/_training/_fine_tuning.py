"""Fine-tuning: train an encoder on, by a few labels, with a linear head."""

import copy
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sk_dim._devices import exact_float32, reduced_precision
from sk_dim._inputs._batches import (
    RowSubset,
    SliceLoader,
    Source,
    endless_batches,
    rows_that_fit,
    take_each,
)
from sk_dim._threads import ThreadWatch
from sk_dim._training._captured import StepGraphs, can_record
from sk_dim._training._head import Head, guess_frequencies
from sk_dim._training._interrupts import is_second_interrupt
from sk_dim._training._net import InfomaxNet
from sk_dim._training._optimizers import build_layered_optimizer, set_rates
from sk_dim._training._pseudo_labels import Targets, erase_box
from sk_dim._training._recipe import Recipe
from sk_dim._training._schedule import Schedule
from sk_dim._validation import warn
from sk_dim.encoders._contract import Features, tuned

N_CHECKS = 20  # rows of the history, and early-stopping checks, of a full run
N_STANDARD = 1000  # samples that the features are standardised by in the end
UNLABELLED_PER_LABELLED = 4  # rows a step
N_FEW_STEPS = 10  # of a training by time, below which it is no training
TERMS = ("loss", "supervised", "unlabelled", "infomax", "confidence")


class Best(NamedTuple):
    """The best model of the early-stopping checks so far."""

    score: float
    n_checks: int  # up to this one
    states: list[dict[str, Any]] | None  # of encoder and head


class FineTuner:
    """Trains the encoder of a net, its objective and a head on views of the rows.

    A step takes labelled rows and, where there are any, unlabelled ones. From views of
    the labelled ones the head learns their classes. From one view of each unlabelled
    row, a part of which is erased, it learns the pseudo-label that was made of its
    prediction for the other view. The objective of the net is maximised on the
    unlabelled, or where there are none on the labelled.

    Parameters
    ----------
    net : InfomaxNet
        Whose encoder and critics are changed in place.
    rows : Source
        All rows.
    class_ids : ndarray of int, of shape (n,)
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
        class_ids: np.ndarray,
        recipe: Recipe,
        class_weights: np.ndarray | None,
        held_out: np.ndarray | None,
        seed: int,
    ) -> None:
        self.net = net
        self.rows = rows
        self.recipe = recipe
        self.device = torch.device(net.device)
        self.class_ids = torch.from_numpy(class_ids).to(self.device)
        self.held_out = None if held_out is None else torch.from_numpy(held_out)
        self.encoder = net.module_
        counts = torch.from_numpy(np.bincount(class_ids[class_ids >= 0])).float()
        ratios = None
        if class_weights is not None:
            # The cross-entropy divides by their sum: only ratios count.
            ratios = torch.from_numpy(class_weights / class_weights.max()).float()
        self.class_weights = None if ratios is None else ratios.to(self.device)
        frequencies, intercepts = guess_frequencies(counts, ratios)
        self.head = Head(net.layer_shapes["global"][0], intercepts).to(self.device)
        self.optimizer = build_layered_optimizer(
            self.encoder,
            self.head,
            nn.ModuleList([net.criterion_.critics, net.criterion_.tasks]),
            recipe.rate_decay,
            self.device,
        )
        self.generator = torch.Generator(self.device).manual_seed(seed)
        shuffler = torch.Generator().manual_seed(seed)
        self._plan_batches(class_ids, shuffler)
        self.targets = None
        if self.others is not None and recipe.unlabelled_weight:
            self.targets = Targets(
                len(rows), frequencies.to(self.device), recipe.temperature
            )
        self.standard = torch.randperm(len(rows), generator=shuffler)[:N_STANDARD]
        self.graphs: StepGraphs | None = None
        self.n_steps = 0
        self.terms: list[Tensor] = []  # of the steps since the last row of the history
        self.history: list[dict[str, float]] = []
        self.best = Best(-1.0, 0, None)
        self.not_finite_before = self._not_finite()  # a mask of -inf, say

    def _plan_batches(self, class_ids: np.ndarray, shuffler: torch.Generator) -> None:
        """Set the endless batches of labelled rows, and of others if they are used.

        No row may be in a step twice among those that are each other's negatives, or
        among those that get pseudo-labels.
        """
        recipe = self.recipe
        is_trained_on = np.ones(len(class_ids), dtype=bool)
        if self.held_out is not None:
            is_trained_on[self.held_out] = False
        # Labelled rows among the others: without their labels, they are rows like them.
        others = np.flatnonzero(is_trained_on)
        labelled = np.flatnonzero(is_trained_on & (class_ids >= 0))
        size = recipe.batch_size
        self.others = None
        uses_others = bool(recipe.infomax_weight or recipe.unlabelled_weight)
        if uses_others and (class_ids < 0).any():
            n_others = min(UNLABELLED_PER_LABELLED * size, len(others))
            self.others = endless_batches(torch.from_numpy(others), n_others, shuffler)
        elif recipe.infomax_weight:
            size = min(size, len(labelled))
        self.n_labelled = size  # of a step, which come first in it
        self.batches = endless_batches(torch.from_numpy(labelled), size, shuffler)
        self.steps = _read_steps(self.rows, self.batches, self.others)

    def run(self, verbose: int) -> None:
        """Train to the end of the schedule, or until held-out rows are no better.

        Ctrl-C ends the training, and the model of the last step is kept, or with
        held-out rows that of the best check.

        Raises
        ------
        ValueError
            If the training diverges.
        KeyboardInterrupt
            At a second Ctrl-C within two seconds.
        """
        if can_record(self.net, self.rows.groups):
            self.graphs = StepGraphs(self, self._compute_step)
        with ThreadWatch(self.device) as self.threads:
            is_interrupted = _ends_by_interrupt(lambda: self._train(verbose))
        self.graphs = None  # which hold this
        # Unfinished there is no model to keep, so this starts again after a Ctrl-C.
        while _ends_by_interrupt(self._finish):
            is_interrupted = True
        self._warn_of_few_steps(is_interrupted)

    def _train(self, verbose: int) -> None:
        """Take steps, with a check after each twentieth of the schedule."""
        recipe = self.recipe
        self.start = time.monotonic()
        schedule = Schedule(
            recipe.learning_rate, recipe.n_steps, recipe.max_time, self.start
        )
        for step in itertools.count():
            set_rates(self.optimizer, schedule.rate(step))
            self.terms.append(self._step())
            self.threads.look()
            self.n_steps = step + 1
            progress = schedule.progress(self.n_steps)
            if progress < (len(self.history) + 1) / N_CHECKS:
                continue
            self._record()
            if self.held_out is not None:
                self._check(self.held_out)
            if verbose:
                print(_line(self.history[-1]), flush=True)
            n_checks_no_better = len(self.history) - self.best.n_checks
            is_stale = self.held_out is not None and (
                n_checks_no_better >= recipe.patience
            )
            if progress >= 1 or is_stale:
                return

    def _finish(self) -> None:
        """Make of the steps done a model of whole samples, if it is finite."""
        if self.terms:
            self._record()
        if self.best.states is not None:
            for module, state in zip(self._trained(), self.best.states, strict=True):
                module.load_state_dict(state)
        self._standardise()
        self.optimizer.zero_grad(set_to_none=True)  # as large as the model
        # The terms were those before the last step, and the features may overflow.
        if self._not_finite() - self.not_finite_before:
            raise self._diverged()

    def _trained(self) -> tuple[nn.Module, nn.Module]:
        return self.encoder, self.head

    def _not_finite(self) -> set[str]:
        """Names of weights and buffers that hold NaN or infinity."""
        everything = nn.ModuleList([*self._trained(), self.net.criterion_])
        tensors = [*everything.named_parameters(), *everything.named_buffers()]
        return {name for name, values in tensors if not bool(values.isfinite().all())}

    def _warn_of_few_steps(self, is_interrupted: bool) -> None:
        """Say that Ctrl-C or the time allowed few steps."""
        recipe, limit = self.recipe, self.recipe.max_time
        if is_interrupted:
            of = "" if recipe.n_steps is None else f" of {recipe.n_steps}"
            kept = f"after step {self.n_steps}{of}; the model is kept and can be used"
            if self.n_steps == 0:
                kept = "before its first step; the encoder is kept, the head knows "
                kept += "nothing of the classes"
            warn(
                f"Ctrl-C ended the fine-tuning {kept}. Press Ctrl-C twice within two "
                "seconds to end everything."
            )
        elif limit is None or self.n_steps >= N_FEW_STEPS:
            return
        elif self.history[-1]["seconds"] >= limit:  # which early stopping forestalls
            warn(
                f"max_time={limit:g} seconds were over after {self.n_steps} of the "
                "steps of the fine-tuning, which teaches the head little; raise "
                "max_time, or set n_steps in its place."
            )

    def _step(self) -> Tensor:
        """Train on one batch; its terms, in the order of `TERMS`."""
        rows, samples = next(self.steps)
        compute = self.graphs or self._compute_step
        with exact_float32(self.device):
            # A step that is replayed writes over what the last one returned.
            return compute(rows.to(self.device), samples).clone()

    def _compute_step(self, rows: Tensor, samples: Tensor) -> Tensor:
        """Do what the device has to do in a step, of which labelled rows come first."""
        net, recipe = self.net, self.recipe
        for module in (*self._trained(), net.criterion_):
            module.train()
        n_labelled = self.n_labelled
        self.optimizer.zero_grad(set_to_none=True)
        with reduced_precision(self.device, net.precision), tuned(self.encoder):
            views = self._encode_views(samples, n_labelled)
            infomax = self._infomax(views, rows, n_labelled)
        scores = torch.stack([self.head(view.global_) for view in views])
        supervised = cross_entropy(
            scores[:, :n_labelled].flatten(0, 1),
            self.class_ids[rows[:n_labelled]].repeat(len(views)),
            self.class_weights,
        )
        unlabelled, confidence = self._self_training(
            rows[n_labelled:], scores[:, n_labelled:]
        )
        loss = (
            supervised
            + recipe.unlabelled_weight * unlabelled
            + recipe.infomax_weight * infomax
        )
        loss.backward()
        self.optimizer.step()
        return torch.stack([loss, supervised, unlabelled, infomax, confidence]).detach()

    def _encode_views(self, samples: Tensor, n_labelled: int) -> list[Features]:
        """Features of the views, a box erased in the second of unlabelled rows."""
        # The head is to see things as large as in the samples that it will predict.
        drawn = self.net.draw_views(samples, self.generator, is_shrunk=False)
        if self.targets is not None and len(drawn) == 2:
            drawn[1] = erase_box(drawn[1], n_labelled, self.generator)
        return self.net.encode_views(drawn)

    def _infomax(self, views: list[Features], rows: Tensor, n_labelled: int) -> Tensor:
        """Loss of Deep InfoMax; zero without its weight."""
        if not self.recipe.infomax_weight:
            return views[0].global_.new_zeros(())
        criterion = self.net.criterion_
        # Labelled rows, which may be in a batch many times, are no negatives.
        first = 0 if self.others is None else n_labelled
        groups = self.rows.groups
        if groups is not None:
            groups = groups[rows[first:].to(groups.device)].to(self.device)
        views = [_from_row(view, first) for view in views]
        terms = criterion(views, self.generator, groups)
        if criterion.has_adversary:
            del terms["prior"]  # whose adversary is not trained here
        return criterion.loss(terms)

    def _self_training(self, rows: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the second view of rows to pseudo-labels from the first.

        Returns it, averaged over the n samples of ``scores (n_views, n, n_classes)``,
        and the mean probability of the most probable class in the pseudo-labels; zeros
        where there are none, or one view only, which would learn what it predicts.
        """
        if self.targets is None or len(scores) == 1:
            return scores.new_zeros(()), scores.new_zeros(())
        targets = self.targets.update(rows, scores[0].detach().softmax(dim=-1))
        # Without class weights, to which the targets owe what they are.
        return cross_entropy(scores[1], targets), targets.amax(dim=1).mean()

    def _record(self) -> None:
        """Append the mean terms since the last row to the history."""
        means = torch.stack(self.terms).float().mean(dim=0).tolist()
        self.terms = []
        if not np.isfinite(means).all():
            raise self._diverged()
        row = {"step": self.n_steps, **dict(zip(TERMS, means, strict=True))}
        seconds = time.monotonic() - self.start
        self.history.append(row | {"valid_score": np.nan, "seconds": seconds})

    def _check(self, held_out: Tensor) -> None:
        """Early-stopping check: score the held-out rows, and keep the best model."""
        score = self._score_held_out(held_out)
        self.history[-1]["valid_score"] = score
        if score > self.best.score:
            states = [copy.deepcopy(module.state_dict()) for module in self._trained()]
            self.best = Best(score, len(self.history), states)

    def _diverged(self) -> ValueError:
        return ValueError(
            "fine-tuning diverged; lower learning_rate (now "
            f"{self.recipe.learning_rate:g})."
        )

    def _standardise(self) -> None:
        """Standardise by whole samples, which have other statistics than views."""
        self.head.standardise(self._encode(self.standard))

    def _encode(self, rows: Tensor) -> Tensor:
        """Global features of whole samples."""
        n_at_once = rows_that_fit(self.rows.take(slice(0, 1)).numel(), 512)
        loader = SliceLoader(RowSubset(self.rows, rows), n_at_once)
        return torch.cat([self.net.evaluation_step(b).global_ for b in loader]).float()

    def _score_held_out(self, rows: Tensor) -> float:
        """Accuracy on the held-out rows, whole."""
        self._standardise()
        self.head.eval()
        with torch.inference_mode():
            found = self.head(self._encode(rows)).argmax(dim=1)
        is_right = found == self.class_ids[rows.to(self.device)]
        return float(is_right.float().mean())


def _read_steps(
    source: Source, batches: Iterator[Tensor], others: Iterator[Tensor] | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows of each step and their samples, while those of the next are read.

    No method, for a generator that holds the tuner which holds it would stay in memory.
    """
    joined = batches if others is None else map(_join, batches, others)
    return take_each(source, (rows.to(source.device) for rows in joined))


def _join(*parts: Tensor) -> Tensor:
    return torch.cat(parts)


def _from_row(features: Features, first: int) -> Features:
    """Return the features of the samples from `first` on."""
    return Features._make(None if part is None else part[first:] for part in features)


def _ends_by_interrupt(stage: Callable[[], None]) -> bool:
    """Run a stage, and say whether Ctrl-C ended it; a second Ctrl-C is raised."""
    try:
        stage()
    except KeyboardInterrupt:
        if is_second_interrupt():
            raise
        return True
    return False


def _line(row: dict[str, float]) -> str:
    """One line of what `verbose` prints."""
    names = ("supervised", "unlabelled", "infomax")
    terms = "  ".join(f"{name} {row[name]:.3f}" for name in names)
    line = f"step {row['step']:.0f}  {terms}  confidence {row['confidence']:.2f}"
    if np.isfinite(row["valid_score"]):
        line += f"  held-out accuracy {row['valid_score']:.3f}"
    return f"{line}  {row['seconds']:.0f} s"
