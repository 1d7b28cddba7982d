"""Which rows may not be torn apart: those of one group, and copies of one another."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from sk_dim._information._columns import Variable
from sk_dim._information._variables import continuous_columns, number_rows
from sk_dim._inputs._groups import read_groups

MAX_COPIES = 10  # of a row on average, above which repeats are taken for its nature
MANY_COPIES = 0.05  # share of rows that look like copies, above which it is said
MAX_GROUP = 0.02  # share of all rows that may be kept together as copies of one


@dataclass(frozen=True)
class RowGroups:
    """Groups of rows that may not be torn apart.

    Parameters
    ----------
    numbers : ndarray of shape (n,), int
        Of the group of each row, from 0.
    are_units : bool, default=False
        Whether each counts as one. Copies that were found do not: some are there by
        chance, and then what repeats more often weighs more.
    n_copies : int, default=0
        Rows that look like copies of others.
    """

    numbers: np.ndarray
    are_units: bool = False
    n_copies: int = 0

    @classmethod
    def of(cls, X: Variable, Y: Variable, given: Any = None) -> Self:
        """Take groups that are given, or find copies of rows of both variables."""
        own = read_groups(given, len(X), n_least=1)
        if own is not None:
            return cls(own, are_units=True)
        copies, n_copies = group_copies(X, Y)
        return cls(copies, n_copies=n_copies)

    @property
    def units(self) -> np.ndarray:
        """Numbers (n,) of what counts as one: the group of each row, or the row."""
        return self.numbers if self.are_units else np.arange(len(self.numbers))

    def check_enough(self, n_least: int) -> None:
        """Raise a ValueError where too few rows, or groups, can be held apart."""
        if len(self) < n_least:
            raise ValueError(
                f"{self} cannot be cut into those to learn from and those to hold out; "
                f"at least {n_least} are needed, and hundreds for a useful estimate."
            )
        n_apart = int(self.numbers.max()) + 1
        if n_apart < n_least:
            raise ValueError(
                f"only {n_apart} of {len(self)} rows differ, and the others look like "
                f"copies; at least {n_least} that differ are needed. If values repeat "
                "by their nature, pass discrete=True."
            )

    def __len__(self) -> int:
        return int(self.units.max()) + 1 if len(self.numbers) else 0

    def __str__(self) -> str:
        unit = "group" if self.are_units else "sample"
        return f"{len(self)} {unit}{'s' * (len(self) != 1)}"


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
