"""How each variable is shown to critics, and which critics are tried on it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from sk_dim._information._columns import Reader, Variable, kind_of_samples
from sk_dim._information._component_critics import N_LEADING
from sk_dim._information._features import (
    WIDE,
    Components,
    Encoded,
    Encoder,
    show_features,
    transformed,
)
from sk_dim._information._shown_rows import ShownRows
from sk_dim._information._variables import Preprocessor

CHOICES = "auto", "columns", "features"
GIVEN = "given"  # name of the critic that the user chose

Shown = Components | Encoded | Preprocessor


class Side:
    """How one variable is read, and shown to critics.

    Parameters
    ----------
    label : {"X", "Y"}
        For messages.
    discrete : "auto", bool or sequence of bool
        Which columns hold names.
    choice : {"auto", "columns", "features"} or transformer
        What the user said of its representation.
    """

    def __init__(self, label: str, discrete: Any, choice: Any) -> None:
        self.label, self.choice = label, choice
        self.transformer = fitted_transformer(choice)
        is_transformer = not isinstance(choice, str)
        self.reader = Reader(
            label,
            "auto" if is_transformer else discrete,
            finds_images=not is_transformer and choice != "columns",
        )

    def read_first(self, V: Any) -> Variable:
        """Return V as numbers, and decide how it is shown."""
        variable = self.reader.fit(self._transformed(V, self.label))
        self.encoder: Encoder | None = None
        if not isinstance(self.choice, str):
            if self.transformer is None:
                self.encoder = Encoder(self.label, self.choice)
        elif variable.is_image:
            kind = kind_of_samples(variable.values.shape)
            if self.choice != "columns":
                self.encoder = Encoder(self.label, kind=kind)
            elif kind == "series":
                raise ValueError(
                    f"{self.label} has rows of shape {variable.values.shape[1:]}, "
                    "which look like series: no critic reads them as they are; use "
                    f"representation='features', or {self.label}.reshape"
                    f"(len({self.label}), -1) for columns."
                )
        is_wide = variable.values.shape[1] >= WIDE and self.choice != "columns"
        self.is_wide = is_wide or self.choice == "features"
        return variable

    def read(self, V: Any, label: str | None = None) -> Variable:
        """Return V as numbers; its rows must be as in `read_first`."""
        label = label or self.label
        return self.reader.read(self._transformed(V, label), label)

    def _transformed(self, V: Any, label: str) -> Any:
        if self.transformer is None:
            return V
        return transformed(self.transformer, label, V)

    @property
    def learns(self) -> bool:
        """Whether more than the scale of columns is learnt from the rows."""
        return self.encoder is not None or self.is_wide

    def fit(self, learnt_from: "_TrainingRows", encoder: Encoder | None) -> list[Shown]:
        """Learn ways to show its variable, the best for many columns first."""
        if encoder is not None:
            return [Encoded(encoder, learnt_from.by(encoder))]
        V = learnt_from.variable
        if self.transformer is not None and not V.is_name.any():
            return [show_features(V)]
        columns = Preprocessor(V)
        if not self.is_wide:
            return [columns]
        return [Components(learnt_from.by(columns), columns), columns]


class _TrainingRows:
    """Rows of one variable that ways to show it are learnt from."""

    def __init__(
        self, shown: ShownRows, side: int, rows: np.ndarray, extra: Variable | None
    ) -> None:
        self.shown, self.side, self.rows, self.extra = shown, side, rows, extra
        V = shown.variables[side][rows]
        self.variable = V if extra is None else _below(V, extra)

    def by(self, first: Encoder | Preprocessor) -> Any:
        """Return what a first step makes of them."""
        made = self.shown.by(first, self.side)[self.rows]
        return made if self.extra is None else _below(made, first(self.extra))


def _below(upper: Any, lower: Any) -> Any:
    """Put rows of the same variable, or of the same tensor, below others."""
    if isinstance(upper, Variable):
        return upper.with_rows(lower)
    return torch.cat([upper, lower])


class Representation:
    """Ways to show both variables, and the critics that are tried on them.

    Parameters
    ----------
    sides : pair of Side
        How each is read and shown.
    extra : pair of Variable or None
        Rows that are in no pair, from which ways to show them are learnt too.
    tries_others : bool, default=True
        Whether other critics than the given one are tried on components.
    """

    def __init__(
        self,
        sides: Sequence[Side],
        extra: Sequence[Variable | None] = (None, None),
        *,
        tries_others: bool = True,
    ) -> None:
        self.sides = sides
        self.extra = extra
        self.tries_others = tries_others

    @property
    def learns(self) -> bool:
        """Whether more than the scale of columns is learnt from the rows."""
        return any(side.learns for side in self.sides)

    def fit(
        self, shown: ShownRows, rows: np.ndarray, rng: np.random.RandomState
    ) -> list[tuple[str, Shown, Shown]]:
        """Learn from training rows; names of critics and how both are shown to them."""
        learnt_from = [
            _TrainingRows(shown, side, rows, extra)
            for side, extra in enumerate(self.extra)
        ]
        ways_x, ways_y = self._fit_ways(learnt_from, rng)
        if not (self.learns and self.tries_others):
            return [(GIVEN, ways_x[0], ways_y[0])]
        names = ["mixture", *_normal_critics(ways_x[0], ways_y[0])]
        if ways_x[0] is ways_y[0]:
            names.insert(0, "tied mixture")
        others = [(name, ways_x[0], ways_y[0]) for name in names]
        return [(GIVEN, ways_x[-1], ways_y[-1]), *others]

    def _fit_ways(
        self, learnt_from: list[_TrainingRows], rng: np.random.RandomState
    ) -> list[list[Shown]]:
        """Learn ways to show each, or one for both where they are of one kind."""
        X, Y = (rows.variable for rows in learnt_from)
        first, second = (side.encoder for side in self.sides)
        is_alike = X.values.shape[1:] == Y.values.shape[1:]
        if first and second and is_alike and first.is_like(second):
            encoder = first.fit(X.with_rows(Y).values, rng.randint(2**31))
            features = _below(*(rows.by(encoder) for rows in learnt_from))
            ways: list[Shown] = [Encoded(encoder, features)]
            return [ways, ways]
        return [
            side.fit(
                rows,
                side.encoder
                and side.encoder.fit(rows.variable.values, rng.randint(2**31)),
            )
            for side, rows in zip(self.sides, learnt_from, strict=True)
        ]


def _normal_critics(of_x: Shown, of_y: Shown) -> Iterator[str]:
    """Names of the normal critics that make a difference."""
    if not (of_x.is_normal.any() and of_y.is_normal.any()):
        return
    most = max(*of_x.shape, *of_y.shape)
    for k, before in zip(N_LEADING, (0, *N_LEADING), strict=False):
        if before < most:
            yield f"normal {k}"


# What the user says of it


def check_representation(representation: Any) -> tuple[Any, Any]:
    """Return what `representation` says of X and of Y."""
    is_pair = isinstance(representation, list | tuple) and len(representation) == 2
    pair = tuple(representation) if is_pair else (representation, representation)
    for choice in pair:
        if isinstance(choice, str):
            is_known = choice in CHOICES
        else:
            is_known = hasattr(choice, "transform") and not isinstance(choice, type)
        if not is_known:
            raise ValueError(
                f"representation={representation!r}; it must be 'auto', 'columns', "
                "'features', a transformer, or a pair of these for X and for Y."
            )
    return pair


def fitted_transformer(choice: Any) -> Any:
    """Return a transformer that is fitted already; None for any other choice."""
    if isinstance(choice, str):
        return None
    if not hasattr(choice, "fit"):
        return choice
    try:
        check_is_fitted(choice)
    except NotFittedError:
        return None
    return choice
