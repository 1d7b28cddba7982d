"""From the array a user has to float32 batches with channels first.

:class:`Rows` takes batches out of X as it is (no copy of the whole, whatever its dtype
and layout), and :class:`Scaling` brings them to mean 0 and variance 1 by what it learnt
in ``fit``.
"""

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from sk_dim._arrays import as_array, check_numbers
from sk_dim._formats import InputFormat, read_format, warn_if_pixels, warn_if_series
from sk_dim._validation import warn

BLOCK_VALUES = 2**21  # values that statistics are summed over at a time
SAMPLE_VALUES = 2**23  # values that a first layer is learnt from
MAX_SCALED = 1e15  # standard deviations, whose square float32 still holds
SMALL_SPREAD = 1e-6  # of the spread, of what is nothing beside a fill value
RARE = 0.01  # share of values that are a handful
HUGE = 1e15  # a value that more than a handful can have only if it fills gaps
MAX_SAMPLE_VALUES = 2**26  # of the 64 samples that are drawn even if they are large


def check_rows(
    estimator: BaseEstimator, X: Any, fmt: InputFormat | None, n_min: int
) -> np.ndarray:
    """Check X as scikit-learn does, against `fmt` unless this is the first fit.

    Raises
    ------
    ValueError or TypeError
        For what is no array, empty, not finite, not real, masked, sparse, of too few
        rows, or of another shape than `fmt`.
    """
    X = check_numbers(estimator, as_array(X), n_min, is_first=fmt is None)
    if fmt is not None and X.ndim > 2:
        fmt.check(X.shape)
    return X


def read_rows(estimator: BaseEstimator, X: Any) -> "Rows":
    """Check X in a first fit, and decide what its samples are."""
    array = check_rows(estimator, X, None, n_min=2)
    input_type = estimator.input_type
    fmt = read_format(
        array.shape, input_type, estimator.input_shape, estimator.data_format
    )
    if fmt.kind == "table" and input_type == "auto":
        warn_if_pixels(array)
    if array.ndim == 3 and input_type == "auto" and estimator.input_shape is None:
        warn_if_series(array)
    estimator.n_features_in_ = fmt.n_features
    return Rows(array, fmt)


class Rows:
    """The rows of an array as samples, taken a batch at a time.

    Parameters
    ----------
    X : ndarray of shape (n, *layout) or (n, n_features)
        Any real dtype; a memory map is read batch by batch.
    fmt : InputFormat
        What the rows are.
    """

    device = torch.device("cpu")

    def __init__(self, X: np.ndarray, fmt: InputFormat) -> None:
        self.X = X
        self.fmt = fmt

    def __len__(self) -> int:
        return len(self.X)

    def take(self, rows: Tensor | slice) -> Tensor:
        """Return the samples of `rows`, channels first, as uint8, float32 or float64.

        Dtypes that float32 holds exactly become float32, all wider ones float64;
        uint8 stays, so that a batch travels to the device at a byte a value.
        """
        if isinstance(rows, slice):
            # Not a view of X, which torch must not be able to change.
            batch = np.array(self.X[rows])
        else:
            # Read from front to back, as a memory map is read fast.
            order = rows.argsort()
            batch = np.empty((len(rows), *self.X.shape[1:]), self.X.dtype)
            batch[order.numpy()] = self.X[rows[order].numpy()]
        if batch.dtype.kind == "b":
            batch = batch.view(np.uint8)
        elif batch.dtype not in (np.uint8, np.float32):
            is_narrow = np.can_cast(batch.dtype, np.float32)
            batch = batch.astype(np.float32 if is_narrow else np.float64)
        return self.fmt.to_channels_first(torch.from_numpy(batch))

    def draw(self, seed: int) -> Tensor:
        """Draw up to 2,000 samples, fewer where they are large."""
        n_values = self.fmt.n_features
        n_most = max(64, min(2000, SAMPLE_VALUES // n_values))
        n_most = max(2, min(n_most, MAX_SAMPLE_VALUES // n_values))
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(len(self), generator=generator)[:n_most]
        return self.take(drawn.sort().values)

    def to(self, device: torch.device) -> "Rows | ResidentRows":
        """Return rows that lie on the device where they fit, else these."""
        if device.type != "cuda" or not self._fits(device):
            return self
        return ResidentRows(self, device)

    def _fits(self, device: torch.device) -> bool:
        """Whether all rows take no more than a quarter of the memory that is free."""
        one = self.take(slice(0, 1))
        n_bytes = len(self) * one.numel() * one.element_size()
        return n_bytes <= torch.cuda.mem_get_info(device)[0] / 4


class ResidentRows:
    """All rows on a device, from where batches are taken without the CPU.

    Parameters
    ----------
    rows : Rows
        Copied to the device in blocks, uint8 as such.
    device : torch.device
        Where to.
    """

    def __init__(self, rows: Rows, device: torch.device) -> None:
        self.device = device
        block = max(1, BLOCK_VALUES // rows.fmt.n_features)
        first = rows.take(slice(0, 1))
        self.samples = first.new_empty((len(rows), *first.shape[1:]), device=device)
        for start in range(0, len(rows), block):
            part = slice(start, start + block)
            self.samples[part] = rows.take(part)

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, rows: Tensor | slice) -> Tensor:
        """Return the samples of `rows` as a new tensor on the device."""
        samples = self.samples[rows]
        return samples.clone() if isinstance(rows, slice) else samples


class Scaling:
    """Centre and scale to variance 1, each channel or each column of a table.

    Parameters
    ----------
    mean, std : Tensor of shape (c, 1, ...) or (d,), float64, on the CPU
        What `learn` found.
    device : torch.device
        Where scaled batches go.

    Notes
    -----
    Means and variances are summed in float64, one block of rows at a time. Values that
    never vary are only centred. Batches of uint8 and float32 are scaled on the device;
    float64 is centred in float64, so that large offsets (time stamps,
    say) do not eat the digits that vary.
    """

    def __init__(self, mean: Tensor, std: Tensor, device: torch.device) -> None:
        self.mean = mean
        self.std = std
        self.device = device
        self._mean_on_device = mean.float().to(device)
        self._std_on_device = std.float().to(device)
        # Batches of float64 lie on the CPU, or with all rows on the device.
        self._exact = {"cpu": (mean, std)}
        if device.type == "cuda":
            self._exact["cuda"] = (mean.to(device), std.to(device))

    @classmethod
    def learn(cls, rows: Rows, device: torch.device) -> Self:
        """Learn means and standard deviations from all rows."""
        shape = (rows.fmt.shape[0], *[1] * (len(rows.fmt.shape) - 1))
        axes = [axis for axis in range(len(shape) + 1) if axis != 1]
        count = 0
        mean = squares = torch.zeros(shape[0], dtype=torch.float64)
        low, high = torch.full_like(mean, torch.inf), torch.full_like(mean, -torch.inf)
        block = max(1, BLOCK_VALUES // rows.fmt.n_features)
        for start in range(0, len(rows), block):
            values = rows.take(slice(start, start + block)).double()
            n_values = values.numel() // shape[0]
            low = torch.minimum(low, values.amin(dim=axes))
            high = torch.maximum(high, values.amax(dim=axes))
            block_mean = values.mean(dim=axes)
            centred = values - block_mean.view(shape)
            # Chan, Golub & LeVeque (1979): join the moments of two sets of values.
            delta = block_mean - mean
            total = count + n_values
            squares = squares + (centred * centred).sum(dim=axes)
            squares = squares + delta * delta * (count * n_values / total)
            mean = mean + delta * (n_values / total)
            count = total
        std = (squares / count).sqrt()
        if not bool(std.isfinite().all()):
            raise ValueError(
                "X has values too large to be scaled (beyond 1e150); divide them "
                "first, or take logarithms."
            )
        # Below this a standard deviation is the rounding error of the mean.
        error = 1e-14 * mean.abs()
        is_constant = std <= error
        if is_constant.all():
            warn(
                "X is constant, so there is nothing to learn from; all rows will get "
                "the same features.",
            )
        elif not _is_narrow(rows.X.dtype):
            warn_of_fill_values(rows, std, low, high)
        std = torch.where(is_constant, error.clamp_min(1.0), std)
        return cls(mean.view(shape), std.view(shape), device)

    def __call__(self, batch: Tensor) -> Tensor:
        """Scale a batch as `Rows.take` gives it, to float32 on the device."""
        if batch.dtype == torch.float64:
            mean, std = self._exact[batch.device.type]
            return ((batch - mean) / std).float().to(self.device)
        values = batch.to(self.device).float()
        return (values - self._mean_on_device) / self._std_on_device

    def checked(self, batch: Tensor) -> Tensor:
        """Scale a batch, but raise a ValueError where a value is too large to encode.

        Not for training: the device would stop for the answer at every step.
        """
        scaled = self(batch)
        if batch.dtype != torch.uint8:
            _check_size(batch, scaled)
        return scaled

    def check(self, rows: Rows) -> None:
        """Raise a ValueError where any of the rows hold values too large to encode."""
        if not _is_narrow(rows.X.dtype):
            block = max(1, BLOCK_VALUES // rows.fmt.n_features)
            for start in range(0, len(rows), block):
                self.checked(rows.take(slice(start, start + block)))


def _is_narrow(dtype: np.dtype) -> bool:
    """Whether all values of a dtype are near enough to one another to be scaled."""
    return dtype.kind == "b" or dtype.itemsize <= 2


def _check_size(batch: Tensor, scaled: Tensor) -> None:
    """Raise a ValueError where a scaled value is too large to be encoded."""
    if bool((scaled.abs() <= MAX_SCALED).all()):
        return
    value = batch.flatten()[batch.abs().argmax()].item()
    raise ValueError(
        f"X holds the value {value:g}, which is more than {MAX_SCALED:g} standard "
        "deviations from the mean that fit learnt; if it stands for missing data, "
        "leave such rows out or fill it in, and if not, take logarithms before fit."
    )


@torch.no_grad()
def warn_of_fill_values(rows: Rows, std: Tensor, low: Tensor, high: Tensor) -> None:
    """Warn where a column or channel owes its spread to values far from all others.

    Values that stand for missing data, such as 9.97e36, leave what varies beside them
    equal once it is scaled.

    Parameters
    ----------
    rows : Rows
        Samples, of which some are looked at.
    std, low, high : Tensor of shape (c,) or (d,), float64
        Standard deviation, least and greatest value of each channel or column.
    """
    n_rows = max(1, min(len(rows), BLOCK_VALUES // rows.fmt.n_features))
    drawn = torch.linspace(0, len(rows) - 1, n_rows).long()
    values = rows.take(drawn).double().transpose(0, 1).flatten(1)  # (c, m)
    median = values.median(dim=1).values
    is_high = (high - median) > (median - low)
    extreme = torch.where(is_high, high, low)
    distance = (extreme - median).abs()
    near = (values - median[:, None]).abs() <= SMALL_SPREAD * distance[:, None]
    # By hand, because the spread of all values but the far ones is asked for.
    n_near = near.sum(dim=1)
    centre = torch.where(near, values, 0.0).sum(dim=1) / n_near
    squares = torch.where(near, values - centre[:, None], 0.0).square().sum(dim=1)
    spread = (squares / n_near).sqrt()
    is_rare = n_near >= (1 - RARE) * values.shape[1]
    is_huge = (extreme.abs() >= HUGE) & (n_near > values.shape[1] / 2)
    is_bad = (spread > 0) & (spread < SMALL_SPREAD * std) & (is_rare | is_huge)
    bad = is_bad.nonzero().flatten().tolist()
    if bad:
        first = bad[0]
        what = "column" if rows.fmt.kind == "table" else "channel"
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        warn(
            f"the spread of {what} {first}{more} of X comes from a few values such as "
            f"{extreme[first].item():g}, beside which all others look equal; if these "
            "stand for missing data, leave such rows out or fill them in before fit."
        )
