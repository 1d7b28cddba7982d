"""Which rows may not be torn apart: those of one group, and copies of one another."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from sk_dim._information._columns import Variable
from sk_dim._information._variables import continuous_columns, number_rows
from sk_dim._inputs._groups import read_groups

MAX_COPIES = 10  # of a row on average, above which repeats are taken for its nature
MAX_GROUP = 0.02  # share of all rows that may be kept together as copies of one


@dataclass(frozen=True)
class RowGroups:
    """Groups of rows that are independent of one another.

    Parameters
    ----------
    numbers : ndarray of shape (n,), int
        Of the group of each row, from 0.
    n_copies : int
        Rows that look like copies of others, or of those in other groups.
    unit : str
        What they are, for messages.
    """

    numbers: np.ndarray
    n_copies: int
    unit: str

    @classmethod
    def of(cls, X: Variable, Y: Variable, given: Any = None) -> Self:
        """Find copies of rows of both, and join them with groups that are given."""
        copies, n_copies = group_copies(X, Y)
        own = read_groups(given, len(X), n_least=1)
        if own is None:
            return cls(copies, n_copies, "different " * bool(n_copies) + "samples")
        joined = join_groups(own, copies) if n_copies else own
        # Those of one group are kept together anyway.
        n_copies = min(n_copies, int(own.max() - joined.max()))
        return cls(joined, n_copies, "groups")

    def __len__(self) -> int:
        return int(self.numbers.max()) + 1 if len(self.numbers) else 0


def group_copies(X: Variable, Y: Variable) -> tuple[np.ndarray, int]:
    """Find rows that look like copies of one another.

    A critic that has seen a row knows its copy. Discrete values repeat by their nature
    instead, and so does a value that many rows share, such as 0 of an amount of rain.

    Returns
    -------
    groups : ndarray of shape (n,), int
        Numbers of groups that must not be torn apart, from 0.
    n_copies : int
        Rows that look like copies of others.
    """
    numbers = number_rows(X, Y)
    n, counts = len(numbers), np.bincount(numbers)
    is_discrete = not any(
        V.is_image or continuous_columns(V, len(counts)) for V in (X, Y)
    )
    if is_discrete or len(counts) == n:
        return np.arange(n), 0
    if len(counts) * MAX_COPIES < n:
        return np.arange(n), n - len(counts)
    is_apart = counts > max(MAX_COPIES, MAX_GROUP * n)
    groups = np.where(is_apart[numbers], len(counts) + np.arange(n), numbers)
    distinct, groups = np.unique(groups, return_inverse=True)
    return groups, n - len(distinct)


def join_groups(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Give rows the same number that share a group of either, directly or by others."""
    n = int(first.max()) + 1
    places = first, n + second
    size = n + int(second.max()) + 1
    links = coo_matrix((np.ones(len(first)), places), shape=(size, size))
    _, parts = connected_components(links, directed=False)
    return np.unique(parts[first], return_inverse=True)[1]
