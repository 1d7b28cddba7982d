"""A display of rows that were selected: to label, as near duplicates, as outliers."""

from typing import Any, Self

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from sk_dim.arrays import is_lazy, read
from sk_dim.evaluation._samples import as_samples
from sk_dim.plotting._pictures import draw_sample, pyplot

MAX_ROWS = 64  # that one figure has place for


class SelectionDisplay:
    """Samples that were selected: to label first, near duplicates, or outliers.

    Parameters
    ----------
    samples : ndarray
        Those of the rows, in their order: images (n, h, w) or (n, h, w, 3) between 0
        and 1, series (n, c, l), or rows of a table (n, d).
    kind : {"image", "series", "table"}
        What the samples are. The columns of a table are drawn as bars.
    rows : ndarray of int, of shape (n,) or (n / 2, 2)
        Their row numbers; pairs are drawn side by side.
    values : array-like of shape (n,) or (n / 2,), default=None
        A number for each row or pair, for its title.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of the shape of `rows`
        One for each sample.
    figure_ : matplotlib Figure
        The figure of the axes.

    See Also
    --------
    sk_dim.selection : Which rows to label first, near duplicates, outliers.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_dim.selection import near_duplicates, outliers, suggest_labels
    >>> images = np.random.default_rng(0).normal(size=(64, 8, 8))
    >>> images[7] = images[3]
    >>> Z = images.reshape(64, -1)  # better: dim.transform(images)

    What to label first:

    >>> rows = suggest_labels(Z, 10)
    >>> SelectionDisplay.from_rows(images, rows).axes_.shape
    (10,)

    Pairs that are nearly the same, with their distances:

    >>> pairs, distances = near_duplicates(Z)
    >>> display = SelectionDisplay.from_rows(images, pairs, distances)
    >>> display.axes_[0, 1].get_title()
    'row 7: 0'

    The strangest samples, with their scores:

    >>> scores = outliers(Z)
    >>> rows = np.argsort(-scores)[:5]
    >>> display = SelectionDisplay.from_rows(images, rows, scores[rows])
    """

    def __init__(
        self, samples: np.ndarray, kind: str, rows: np.ndarray, values: Any = None
    ) -> None:
        self.samples = samples
        self.kind = kind
        self.rows = rows
        self.values = values

    @classmethod
    def from_rows(
        cls,
        X: Any,
        rows: Any,
        values: Any = None,
        *,
        estimator: Any = None,
        ax: Any = None,
    ) -> Self:
        """Draw some rows, or pairs of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            All samples. Only those of `rows` are read.
        rows : array-like of int, of shape (n,) or (n, 2)
            Row numbers, or pairs of them, at most 64 samples.
        values : array-like of shape (n,), default=None
            Numbers for the titles, such as distances or scores.
        estimator : fitted DeepInfomaxTransformer, default=None
            That says what the samples are: where the channels of images are, and which
            arrays are series. None takes three axes for grey images, four for colour
            images, and two for a table.
        ax : ndarray of matplotlib Axes, default=None
            To draw into, one for each sample; None makes them.

        Returns
        -------
        SelectionDisplay
            What was drawn.

        Raises
        ------
        ValueError
            If `rows` are none, more than 64 samples, or out of range, or there are not
            as many `values`.
        """
        rows = np.asarray(rows)
        n_samples = _num_samples(X)
        if rows.dtype.kind not in "iu" or not (
            rows.ndim == 1 or (rows.ndim == 2 and rows.shape[1] == 2)
        ):
            raise ValueError(
                f"rows have shape {rows.shape} and type {rows.dtype}; pass row numbers "
                "of shape (n,), or pairs of them of shape (n, 2)."
            )
        if not 1 <= rows.size <= MAX_ROWS:
            most = MAX_ROWS // rows[0].size if len(rows) else MAX_ROWS
            raise ValueError(
                f"rows of {rows.size} samples; pass 1 to {MAX_ROWS}, such as "
                f"rows[:{most}]."
            )
        if rows.min() < 0 or rows.max() >= n_samples:
            raise ValueError(
                f"rows are from {rows.min()} to {rows.max()}; the {n_samples} rows of "
                f"X are 0 to {n_samples - 1}."
            )
        if values is not None and np.shape(values) != (len(rows),):
            raise ValueError(
                f"values have shape {np.shape(values)}; give one for each of the "
                f"{len(rows)} rows or pairs."
            )
        given = read(X, rows.ravel()) if is_lazy(X) else _safe_indexing(X, rows.ravel())
        kind, samples = as_samples(given, estimator)
        values = None if values is None else np.asarray(values)
        return cls(samples, kind, rows, values).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the samples, each with its row number and value.

        Parameters
        ----------
        ax : ndarray of matplotlib Axes, default=None
            To draw into, one for each sample; None makes them.

        Returns
        -------
        SelectionDisplay
            Itself.
        """
        n = len(self.samples)
        if ax is None:
            # Pairs stay together, as 8 is even.
            n_columns = min(n, 8)
            n_rows = -(-n // n_columns)
            _, ax = pyplot().subplots(
                n_rows,
                n_columns,
                figsize=(max(1.3 * n_columns, 2.6), 1.5 * n_rows),
                layout="constrained",
                squeeze=False,
            )
        axes = np.ravel(ax)
        if len(axes) < n:
            raise ValueError(f"ax holds {len(axes)} axes; {n} samples need as many.")
        for rest in axes[n:]:
            rest.set_axis_off()
        numbers = np.ravel(self.rows)
        for i, (each, sample) in enumerate(zip(axes, self.samples, strict=False)):
            draw_sample(each, self.kind, sample)
            title = f"row {numbers[i]}"
            if self.values is not None:
                title += f": {self.values[i * len(self.rows) // n]:.3g}"
            each.set_title(title, fontsize=9)
        self.axes_ = axes[:n].reshape(np.shape(self.rows))
        self.figure_ = axes[0].figure
        return self
