"""What kind each column of a variable is, and the variable as numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sk_dim._information._flattened import MAX_COMPARED, MIN_SIDE, find_side
from sk_dim._information._values import read_columns, to_names, to_numbers
from sk_dim._inputs._formats import read_format
from sk_dim._validation import warn

MAX_VALUES = 50  # distinct ones of whole numbers that are taken for names
MAX_TOLD_APART = 255  # distinct ones of other numbers, above which only order counts
MIN_REPEATS = 5  # rows of each of those, on average
MANY_NAMES = 0.5  # share of the rows from which on names that differ are warned of


@dataclass(frozen=True)
class Variable:
    """A variable as numbers: columns of a table, or images.

    Parameters
    ----------
    values : ndarray of shape (n, d), float64, or of images (n, ...)
        Names are numbered; -1 stands for one that `fit` did not see.
    is_name, is_number : ndarray of shape (d,), bool
        How columns are shown to a critic: by one input for each value, by their rank,
        or by both. Empty for images.
    """

    values: np.ndarray
    is_name: np.ndarray
    is_number: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: np.ndarray) -> "Variable":
        return Variable(self.values[rows], self.is_name, self.is_number)

    def with_rows(self, other: "Variable") -> "Variable":
        """Return the variable with rows of another one below its own."""
        values = np.concatenate([self.values, other.values])
        return Variable(values, self.is_name, self.is_number)

    @property
    def is_image(self) -> bool:
        """Whether a row has more than one axis: an image, or a series."""
        return self.values.ndim > 2

    @property
    def is_constant(self) -> bool:
        """Whether all rows are equal."""
        return bool((self.values == self.values[:1]).all())


class Reader:
    """Reads a variable, in `score` as in `fit`.

    Parameters
    ----------
    label : {"X", "Y"}
        For messages.
    discrete : "auto", bool or sequence of bool
        Which columns hold names.
    finds_images : bool, default=False
        Whether numbers that look like the pixels of square images are read as such,
        unless `discrete` says what they are.
    """

    def __init__(
        self, label: str, discrete: Any, *, finds_images: bool = False
    ) -> None:
        self.label = label
        self.discrete = discrete
        self.finds_images = finds_images and isinstance(discrete, str)
        self.side = 0  # of images that are flattened

    def fit(self, V: Any) -> Variable:
        """Decide the kinds of the columns, and return V as numbers."""
        columns, titles = read_columns(self.label, V)
        self.names: list[np.ndarray] = []
        self.is_name = self.is_number = np.zeros(0, dtype=bool)
        self.shape = _shape(columns)
        if self.finds_images and not isinstance(columns, np.ndarray):
            self.side = side_of_images(self.label, columns, titles)
        if self.side:
            return self._convert(columns, titles)
        if not isinstance(columns, np.ndarray):
            self._learn_kinds(columns, titles)
        elif not isinstance(self.discrete, str) and np.any(self.discrete):
            raise ValueError(
                f"discrete={self.discrete!r} for {self.label}, which holds images of "
                f"shape {self.shape}; only columns can be discrete."
            )
        else:
            _check_images(self.label, columns.shape)
        return self._convert(columns, titles)

    def _learn_kinds(self, columns: list[np.ndarray], titles: list[str]) -> None:
        choices = _spread(self.label, self.discrete, len(columns))
        kinds = []
        for column, title, choice in zip(columns, titles, choices, strict=True):
            is_name, is_number = _kind(f"{self.label}{title}", column, choice)
            names = np.zeros(0, dtype=str) if is_number else np.unique(to_names(column))
            if len(names) > max(2, MANY_NAMES * len(column)):
                warn(
                    f"{self.label}{title} has {len(names)} different names in "
                    f"{len(column)} rows: names that hardly repeat tell next to "
                    "nothing, and the value will be too low. Pass numbers and dates as "
                    "such (with discrete=False for digits in text), and leave out "
                    "identifiers.",
                )
            kinds.append((is_name, is_number))
            self.names.append(names)
        self.is_name, self.is_number = np.array(kinds).T

    def read(self, V: Any, label: str | None = None) -> Variable:
        """Return V as numbers; its rows must be as in `fit`."""
        label = label or self.label
        columns, titles = read_columns(label, V)
        shape = _shape(columns)
        if len(shape) == len(self.shape) == 1 and shape != self.shape:
            raise ValueError(
                f"{label} has {shape[0]} features, but MutualInformationEstimator "
                f"is expecting {self.shape[0]} features as input, as many as in fit."
            )
        if shape != self.shape:
            raise ValueError(
                f"{label} has rows of shape {shape}, but had {self.shape} in fit."
            )
        return self._convert(columns, titles)

    def _convert(
        self, columns: list[np.ndarray] | np.ndarray, titles: list[str]
    ) -> Variable:
        if isinstance(columns, np.ndarray):
            return Variable(columns, self.is_name, self.is_number)
        if self.side:
            table = stack_numbers(self.label, columns, titles)
            images = table.reshape(-1, self.side, self.side)
            return Variable(images, self.is_name, self.is_number)
        values = [
            to_numbers(f"{self.label}{title}", column)
            if is_number
            else _positions(to_names(column), names)
            for column, title, is_number, names in zip(
                columns, titles, self.is_number, self.names, strict=True
            )
        ]
        return Variable(np.stack(values, axis=1), self.is_name, self.is_number)


def side_of_images(label: str, columns: list[np.ndarray], titles: list[str]) -> int:
    """Return the side of square images whose pixels the columns look like, or 0."""
    is_table = all(column.dtype.kind in "iuf" for column in columns)
    if not is_table or len(columns) < MIN_SIDE**2:
        return 0
    some = [column[:: -(-len(column) // MAX_COMPARED)] for column in columns]
    return find_side(stack_numbers(label, some, titles))


def stack_numbers(
    label: str, columns: list[np.ndarray], titles: list[str]
) -> np.ndarray:
    """Return finite columns of numbers as a table (n, d), float64."""
    return np.stack(
        [
            to_numbers(f"{label}{title}", column)
            for column, title in zip(columns, titles, strict=True)
        ],
        axis=1,
    )


def kind_of_samples(shape: tuple[int, ...]) -> str:
    """Say whether samples of more than one axis are read as images or as series.

    Images are never thinner than a quarter of their length, and 8 pixels at least,
    where they have no channels.

    Raises
    ------
    ValueError
        If they can be read as neither.
    """
    sides = shape[1:]
    is_image = len(sides) > 2 or (min(sides) >= 8 and max(sides) <= 4 * min(sides))
    kinds = ["image", "series"] if is_image else ["series", "image"]
    for kind in kinds:
        try:
            read_format(shape, kind, None, "auto")
        except ValueError:
            continue
        return kind
    raise ValueError(f"samples of shape {sides} are neither images nor series.")


def _check_images(label: str, shape: tuple[int, ...]) -> None:
    """Raise a ValueError where rows of more than one axis cannot be read."""
    try:
        kind_of_samples(shape)
    except ValueError as error:
        # Its own words name parameters that mutual information does not have.
        raise ValueError(
            f"{label} has rows of shape {shape[1:]}, which cannot be read as images or "
            "series; pass images (n, H, W), (n, C, H, W) or (n, H, W, C), with sides "
            "of at least 4 and C from 1 to 4, series (n, C, L), or columns, as in "
            f"{label}.reshape(len({label}), -1)."
        ) from error


def _shape(columns: list[np.ndarray] | np.ndarray) -> tuple[int, ...]:
    """Shape of a row."""
    return columns.shape[1:] if isinstance(columns, np.ndarray) else (len(columns),)


def check_discrete(discrete: Any) -> tuple[Any, Any]:
    """Return what `discrete` says of X and of Y."""
    pair = discrete if isinstance(discrete, list | tuple) else (discrete, discrete)
    if len(pair) == 2 and all(_is_choice(each) for each in pair):
        return pair[0], pair[1]
    raise ValueError(
        f"discrete={discrete!r}; it must be 'auto', True, False, or a pair (for X, for "
        "Y) of these or of lists with one bool for each column."
    )


def _is_choice(value: Any) -> bool:
    if isinstance(value, str):
        return value == "auto"
    if isinstance(value, list | tuple | np.ndarray):
        return len(value) > 0 and all(isinstance(v, bool | np.bool_) for v in value)
    return isinstance(value, bool | np.bool_)


def _spread(label: str, discrete: Any, n_columns: int) -> list[Any]:
    """Say of each column whether it is discrete: "auto", True or False."""
    if isinstance(discrete, str | bool | np.bool_):
        return [discrete] * n_columns
    if len(discrete) != n_columns:
        raise ValueError(
            f"discrete has {len(discrete)} entries for {label}, which has {n_columns} "
            "columns; pass one bool for each column."
        )
    return list(discrete)


def _kind(where: str, column: np.ndarray, is_discrete: Any) -> tuple[bool, bool]:
    """Whether a column is seen as names, and whether as numbers."""
    if not isinstance(is_discrete, str):
        return bool(is_discrete), not is_discrete
    if column.dtype.kind in "Ub":
        return True, False
    values = to_numbers(where, column)
    n_values, n_rows = len(np.unique(values)), len(values)
    is_ordered = column.dtype.kind in "mM"  # dates and durations are no codes
    if not is_ordered and is_whole(values) and n_values <= min(MAX_VALUES, n_rows / 2):
        return True, False
    return n_values <= min(MAX_TOLD_APART, n_rows / MIN_REPEATS), True


def is_whole(values: np.ndarray) -> bool:
    """Whether all numbers are whole."""
    return bool((values == np.round(values)).all())


def _positions(values: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Numbers of values among sorted names, -1 for those that are not there."""
    found = np.minimum(np.searchsorted(names, values), len(names) - 1)
    return np.where(names[found] == values, found, -1).astype(np.float64)
