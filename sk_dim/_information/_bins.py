"""Single columns as bins, and functions of them from smooth to rough."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from sk_dim._information._columns import Variable

MAX_BINS = 64  # of an ordered column
MAX_NAMES = 256  # of a column of names, one of them for all rare ones
MAX_SMOOTH = 32  # functions of an ordered one


@dataclass(frozen=True)
class Bins:
    """A column whose values are put in bins.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        The bin of each row.
    place : ndarray of shape (n_bins,)
        Where each bin of ordered values is, in standard deviations of a normal
        distribution; 0 for names.
    basis : ndarray of shape (n_bins, n_functions)
        The constant function, and others. The mean of their products over the rows is 1
        for equal ones, and 0 for different ones.
    roughness : ndarray of shape (n_functions,)
        Mean square of the second derivative; 0 for names, which have no order.
    n_merged : int
        Values that share a bin with others.
    share_merged : float
        Share of the rows that have one of these.
    """

    codes: np.ndarray
    place: np.ndarray
    basis: np.ndarray
    roughness: np.ndarray
    n_merged: int
    share_merged: float

    def __len__(self) -> int:
        """Return the number of bins."""
        return len(self.place)


def columns_as_bins(V: Variable) -> list[Bins]:
    """Put the values of each column of a table in bins."""
    return [
        _of_numbers(column) if is_number else _of_names(column)
        for column, is_number in zip(V.values.T, V.is_number, strict=True)
    ]


def _of_names(column: np.ndarray) -> Bins:
    """Give each name a bin, and what is left of rare ones a bin together."""
    _, codes, counts = np.unique(column, return_inverse=True, return_counts=True)
    n_merged, share_merged = 0, 0.0
    if len(counts) > MAX_NAMES:
        bins = np.full(len(counts), MAX_NAMES - 1)
        frequent = np.argsort(-counts, kind="stable")[: MAX_NAMES - 1]
        bins[frequent] = np.arange(MAX_NAMES - 1)
        codes = bins[codes]
        n_merged = len(counts) - MAX_NAMES + 1
        share_merged = float(np.mean(codes == MAX_NAMES - 1))
    shares = np.bincount(codes) / len(codes)
    roots = np.sqrt(shares)
    # The first column is the constant, and all others are made orthogonal to it.
    others = np.eye(len(shares))[:, 1:]
    whitened, _ = np.linalg.qr(np.column_stack([roots, others]))
    basis = whitened * np.sign(whitened[0, 0]) / roots[:, None]
    zeros = np.zeros(len(shares))
    return Bins(codes, zeros, basis, zeros, n_merged, share_merged)


def _of_numbers(column: np.ndarray) -> Bins:
    """Put equal numbers of rows in each bin, equal values in the same."""
    _, codes, counts = np.unique(column, return_inverse=True, return_counts=True)
    is_merged = len(counts) > MAX_BINS
    if is_merged:
        middles = (np.cumsum(counts) - counts / 2) / len(column)
        _, bins = np.unique((middles * MAX_BINS).astype(int), return_inverse=True)
        codes = bins[codes]
    shares = np.bincount(codes) / len(codes)
    place = ndtri(np.cumsum(shares) - shares / 2)
    n_bins = len(shares)
    roots = np.sqrt(shares)
    # Second differences over unequal distances, each with the share of its bin.
    left, right = np.diff(place)[:-1], np.diff(place)[1:]
    second = np.zeros((max(0, n_bins - 2), n_bins))
    rows = np.arange(len(second))
    second[rows, rows] = 2 / (left * (left + right))
    second[rows, rows + 1] = -2 / (left * right)
    second[rows, rows + 2] = 2 / (right * (left + right))
    second *= roots[1:-1, None] / roots
    penalty = second.T @ second
    # The constant and the line both have no roughness: the constant is made the
    # roughest of all, to be told from the line.
    penalty += (1 + np.trace(penalty)) * np.outer(roots, roots)
    roughness, functions = np.linalg.eigh(penalty)
    n_functions = min(MAX_SMOOTH, n_bins - 1)
    smooth = functions[:, :n_functions] / roots[:, None]
    return Bins(
        codes,
        place,
        np.column_stack([np.ones(n_bins), smooth]),
        np.concatenate([[0.0], np.maximum(roughness[:n_functions], 0.0)]),
        len(counts) * is_merged,
        float(is_merged),
    )
