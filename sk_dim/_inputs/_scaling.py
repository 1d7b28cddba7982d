"""Scaling to mean 0 and variance 1, by what was learnt in fit."""

from typing import Self

import numpy as np
import torch
from torch import Tensor

from sk_dim._inputs._rows import Rows
from sk_dim._validation import warn

MAX_SCALED = 1e15  # standard deviations, whose square float32 still holds
SMALL_SPREAD = 1e-6  # of the spread, of what is nothing beside a fill value
RARE = 0.01  # share of values that are a handful
HUGE = 1e15  # a value that more than a handful can have only if it fills gaps


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
    float64 is scaled in float64, on the CPU, so that large offsets (time stamps, say)
    do not eat the digits that vary.
    """

    def __init__(self, mean: Tensor, std: Tensor, device: torch.device) -> None:
        self.mean = mean
        self.std = std
        self.device = device
        self._mean_on_device = mean.float().to(device)
        self._std_on_device = std.float().to(device)

    @classmethod
    def learn(cls, rows: Rows, device: torch.device) -> Self:
        """Learn means and standard deviations from all rows, or of many from some."""
        shape = (rows.fmt.shape[0], *[1] * (len(rows.fmt.shape) - 1))
        count = 0
        mean = squares = torch.zeros(shape[0], dtype=torch.float64)
        low, high = torch.full_like(mean, torch.inf), torch.full_like(mean, -torch.inf)
        for block in rows.typical_blocks():
            values = _without_padding(rows, block).double()
            axes = [axis for axis in range(values.ndim) if axis != 1]
            n_values = values.numel() // shape[0]
            low = torch.minimum(low, values.amin(dim=axes))
            high = torch.maximum(high, values.amax(dim=axes))
            block_mean = values.mean(dim=axes)
            centred = values - block_mean.view(-1, *[1] * (values.ndim - 2))
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
        elif not _is_narrow(rows.dtype):
            warn_of_fill_values(rows, std, low, high)
        std = torch.where(is_constant, error.clamp_min(1.0), std)
        return cls(mean.view(shape), std.view(shape), device)

    def __call__(self, batch: Tensor) -> Tensor:
        """Scale a batch as `Rows.take` gives it, to float32 on the device."""
        if batch.dtype == torch.float64:
            return self._move(((batch - self.mean) / self.std).float())
        values = self._move(batch).float()
        return (values - self._mean_on_device) / self._std_on_device

    def _move(self, batch: Tensor) -> Tensor:
        """Copy a batch to the device, without waiting for a GPU that is at work."""
        if self.device.type != "cuda" or batch.device.type != "cpu":
            return batch.to(self.device)
        return batch.pin_memory().to(self.device, non_blocking=True)

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
        if not _is_narrow(rows.dtype):
            for block in rows.blocks():
                self.checked(block)


def _is_narrow(dtype: np.dtype) -> bool:
    """Whether all values of a dtype are near enough to one another to be scaled."""
    return dtype.kind == "b" or dtype.itemsize <= 2


def _without_padding(rows: Rows, samples: Tensor) -> Tensor:
    """Return the values (m, c) of padded series, and other samples as they are."""
    if not rows.is_padded:
        return samples
    return samples.transpose(1, 2)[~samples[:, 0].isnan()]


def _check_size(batch: Tensor, scaled: Tensor) -> None:
    """Raise a ValueError where a scaled value is too large to be encoded."""
    if not bool((scaled.abs() > MAX_SCALED).any()):  # of NaN, which pads series, False
        return
    value = batch.flatten()[batch.abs().nan_to_num().argmax()].item()
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
    values = _without_padding(rows, rows.look()).double()
    values = values.transpose(0, 1).flatten(1)  # (c, m)
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
