"""Every pair of columns judged on rows that its table has not learnt from."""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sk_dim._information._bins import MAX_BINS, Bins
from sk_dim._information._certainty import (
    N_TESTED,
    draw_ways,
    interval_of,
    p_value_of_independence,
)
from sk_dim._information._held_out import N_PARTS, one_thread
from sk_dim._information._row_groups import RowGroups
from sk_dim._information._tables import SMOOTHNESS, Fit, Pairs, judge

MAX_CELLS = 2**17  # of the pairs that are fitted together, for the processor's cache
FINER = 3.0  # times e^nats - 1 over the bins: nats that edges finer than bins may hide
MIN_GROUPS = 10  # of rows that differ, below which nothing is known
N_LEARNT_TO_TEST = 3  # of five parts; the others are permuted


@dataclass(frozen=True)
class PairEstimate:
    """What is known of one pair of columns, in nats but for the p-value."""

    value: float
    error: float
    interval: tuple[float, float]
    p_value: float


UNKNOWN = PairEstimate(0.0, 0.0, (0.0, math.inf), 1.0)


def estimate_pairs(
    pairs: Sequence[tuple[Bins, Bins]],
    groups: Sequence[RowGroups],
    n_permutations: int,
    device: torch.device,
    seed: int,
) -> list[PairEstimate]:
    """Estimate each pair, many at once.

    Parameters
    ----------
    pairs : sequence of pair of Bins
        The columns.
    groups : sequence of RowGroups
        Rows of one group of a pair are in one part.
    n_permutations : int
        For p-values.
    device : torch.device
        Where tables are fitted.
    seed : int
        Seeds parts of the rows and permutations.
    """
    out = [UNKNOWN] * len(pairs)
    alike: dict[bytes, list[int]] = {}
    for i, each in enumerate(groups):
        alike.setdefault(each.numbers.tobytes(), []).append(i)
    for chosen in alike.values():
        own = groups[chosen[0]]
        if own.numbers.max() + 1 < MIN_GROUPS:
            continue
        rng = np.random.RandomState(seed)
        found = _estimate_pairs(
            [pairs[i] for i in chosen], own, n_permutations, device, rng
        )
        for i, estimate in zip(chosen, found, strict=True):
            out[i] = estimate
    return out


def _estimate_pairs(
    pairs: Sequence[tuple[Bins, Bins]],
    row_groups: RowGroups,
    n_permutations: int,
    device: torch.device,
    rng: np.random.RandomState,
) -> list[PairEstimate]:
    """Estimate pairs whose rows may be cut into the same parts."""
    groups, units = row_groups.numbers, row_groups.units
    folds = (rng.permutation(groups.max() + 1) % N_PARTS)[groups]
    parts = [np.flatnonzero(folds == k) for k in range(N_PARTS)]
    tested = np.flatnonzero(folds >= N_LEARNT_TO_TEST)
    # One row of each group: copies would not be permuted apart.
    _, first = np.unique(groups[tested], return_index=True)
    tested = rng.permutation(tested[first])[:N_TESTED]
    ways_rng = np.random.default_rng(rng.randint(2**31))
    ways = draw_ways(len(tested), n_permutations, ways_rng)
    weights = 1 / np.bincount(units)[units]
    out = [UNKNOWN] * len(pairs)
    for chunk in _alike(pairs):
        some = [pairs[i] for i in chunk]
        stacked = Pairs.of(some, device)
        counts = stacked.count(some, parts, weights)
        with one_thread() if device.type == "cpu" else nullcontext():
            estimates = _cross_fit(stacked, counts, some, parts, units)
            scores = _learn(stacked, counts[:N_LEARNT_TO_TEST])[0]
        for i, (a, b), estimate, table in zip(
            chunk, some, estimates, scores.cpu().double().numpy(), strict=True
        ):
            of_rows = table[a.codes[tested][:, None], b.codes[tested]]
            p_value = p_value_of_independence(of_rows, ways, ways_rng)
            out[i] = PairEstimate(*estimate, p_value)
    return out


def _alike(pairs: Sequence[tuple[Bins, Bins]]) -> Iterator[list[int]]:
    """Cut pairs into those of about as many bins, which little is added to."""
    sizes = [(len(a), len(b)) for a, b in pairs]
    chunk: list[int] = []
    n_x = n_y = 0  # of the largest in the chunk
    for i in sorted(range(len(pairs)), key=sizes.__getitem__):
        larger = max(n_x, sizes[i][0]), max(n_y, sizes[i][1])
        if chunk and math.prod(larger) * (len(chunk) + 1) > MAX_CELLS:
            yield chunk
            chunk, larger = [], sizes[i]
        n_x, n_y = larger
        chunk.append(i)
    if chunk:
        yield chunk


def _learn(pairs: Pairs, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Learn scores from parts, the last of which chooses how smooth they are.

    Returns
    -------
    scores : Tensor of shape (n_pairs, bins, bins)
        Learnt from all of the parts.
    is_none : Tensor of shape (n_pairs,)
        Where they were worse than none, by more than a standard error, on the last.
    """
    fit = Fit(pairs, counts[:-1].sum(0))
    stop = counts[-1]
    best = torch.full((len(stop),), -torch.inf, dtype=torch.float64)
    error = torch.zeros_like(best)
    smoothness = torch.ones_like(fit.weights[:, :1, :1])
    kept = fit.weights
    for candidate, weights in zip(SMOOTHNESS, fit.path(), strict=True):
        judged = judge(fit.scores(), stop)
        is_better = judged.mean > best
        best = torch.where(is_better, judged.mean, best)
        error = torch.where(is_better, judged.error(float(stop[0].sum())), error)
        is_better = is_better[:, None, None].to(kept.device)
        kept = torch.where(is_better, weights, kept)
        smoothness = smoothness.masked_fill(is_better, candidate)
    again = Fit(pairs, counts.sum(0))
    again.weights = kept
    again.maximise(smoothness)
    return again.scores(), ~(best > -error)


def _cross_fit(
    pairs: Pairs,
    counts: Tensor,
    bins: Sequence[tuple[Bins, Bins]],
    parts: Sequence[np.ndarray],
    units: np.ndarray,
) -> list[tuple[float, float, tuple[float, float]]]:
    """Judge each part by scores of the others; value, error and interval of each."""
    n_units = int(units.max()) + 1
    mean = square = on_training = torch.zeros(1, dtype=torch.float64)
    cap = 0.0
    tables = []
    for k, rows in enumerate(parts):
        others = counts[[(k + i) % len(counts) for i in range(1, len(counts))]]
        scores, is_none = _learn(pairs, others)
        scores = scores.masked_fill(is_none[:, None, None].to(scores.device), 0.0)
        n_of_part = len(np.unique(units[rows]))
        share = n_of_part / n_units
        held_out, known = judge(scores, counts[k]), judge(scores, others.sum(0))
        mean = mean + share * held_out.mean
        square = square + share * held_out.square
        on_training = on_training + share * known.mean
        cap += share * math.log(n_of_part)
        tables.append(held_out.shares.numpy())
    error = ((square - mean.square()).clamp_min(0.0) / n_units).sqrt()
    if n_units < len(units):
        error = _errors_by_group(tables, bins, parts, units)
    out = []
    for m, e, t, pair in zip(
        mean.tolist(), error.tolist(), on_training.tolist(), bins, strict=True
    ):
        value = max(0.0, m)
        low, high = interval_of(m, e, t, cap, n_units)
        high += _hidden_by_bins(value, *pair)
        is_at_most = all(each.n_merged for each in pair)  # what their bins can tell
        if is_at_most and high > math.log(min(map(len, pair))):
            high = math.inf
        out.append((value, e, (low, high)))
    return out


def _errors_by_group(
    tables: Sequence[np.ndarray],
    bins: Sequence[tuple[Bins, Bins]],
    parts: Sequence[np.ndarray],
    groups: np.ndarray,
) -> Tensor:
    """Return standard errors of the mean over groups of what their rows add."""
    errors = np.zeros(len(bins))
    shares, counts = np.zeros(len(groups)), np.bincount(groups)
    for i, (a, b) in enumerate(bins):
        for table, rows in zip(tables, parts, strict=True):
            shares[rows] = table[i, a.codes[rows], b.codes[rows]]
        means = np.bincount(groups, shares) / counts
        errors[i] = means.std(ddof=1) / math.sqrt(len(means))
    return torch.from_numpy(errors)


def _hidden_by_bins(value: float, a: Bins, b: Bins) -> float:
    """Nats that values may tell which share a bin, as far as one can say."""
    hidden = FINER * math.expm1(value) / MAX_BINS
    hidden *= bool(a.place.any() or b.place.any())
    for names, others in ((a, b), (b, a)):
        if names.n_merged and not names.place.any():
            told_apart = min(names.n_merged, len(others))
            hidden += names.share_merged * math.log(max(1, told_apart))
    return hidden
