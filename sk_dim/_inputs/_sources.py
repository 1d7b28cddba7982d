"""Sources: scaled samples on the device, a batch at a time."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sk_dim._inputs._batches import Source
from sk_dim._inputs._rows import Rows
from sk_dim._inputs._scaling import Scaling
from sk_dim._inputs._streams import ShuffledStream

SHARE_OF_FREE_MEMORY = 1 / 4  # of the device, that all rows may take


class StreamedRows:
    """Rows that stay where they are, scaled when a batch of them is taken.

    Parameters
    ----------
    rows : Rows
        Samples in memory or in a file.
    scale : callable
        Batch of `Rows.take` to scaled batch on the device.
    groups : ndarray of int, of shape (n,), or None, default=None
        Codes of the groups that the rows belong to.
    """

    device = torch.device("cpu")  # of the indices

    def __init__(
        self,
        rows: Rows,
        scale: Callable[[Tensor], Tensor],
        groups: np.ndarray | None = None,
    ) -> None:
        self.rows = rows
        self.scale = scale
        self.groups = None if groups is None else torch.from_numpy(groups)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Tensor | slice) -> Tensor:
        """Return the scaled samples of `rows` as a new tensor on the device."""
        return self.scale(self.rows.take(rows))

    def read_ahead(self, rows: Tensor | slice) -> None:
        """Begin to read rows that will be taken next, where they can tell how."""
        self.rows.read_ahead(rows)


class ResidentRows:
    """All rows on a device, from where batches are taken without the CPU.

    Parameters
    ----------
    rows : Rows
        Copied in blocks: uint8 as such, a byte a value, and scaled when a batch is
        taken; all others scaled on the way, as float32.
    scaling : Scaling
        By what, and on which device.
    groups : ndarray of int, of shape (n,), or None, default=None
        Codes of the groups that the rows belong to.
    """

    def __init__(
        self, rows: Rows, scaling: Scaling, groups: np.ndarray | None = None
    ) -> None:
        self.device = scaling.device
        self.groups = None
        if groups is not None:
            self.groups = torch.from_numpy(groups).to(self.device)
        self.scaling = scaling
        first = rows.take(slice(0, 1))
        self.is_scaled = first.dtype != torch.uint8
        self.samples = torch.empty(
            (len(rows), *first.shape[1:]),
            dtype=torch.float32 if self.is_scaled else torch.uint8,
            device=self.device,
        )
        start = 0
        for values in rows.blocks():
            end = start + len(values)
            self.samples[start:end] = scaling(values) if self.is_scaled else values
            start = end

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, rows: Tensor | slice) -> Tensor:
        """Return the scaled samples of `rows` as a new tensor on the device."""
        samples = self.samples[rows]
        if not self.is_scaled:
            return self.scaling(samples)
        return samples.clone() if isinstance(rows, slice) else samples


def to_device(rows: Rows, scaling: Scaling, groups: np.ndarray | None = None) -> Source:
    """Return a source of scaled rows that lie on the device, where they fit."""
    if scaling.device.type == "cuda":
        first = rows.take(slice(0, 1))
        n_bytes = len(rows) * first.numel() * min(4, first.element_size())
        free, _ = torch.cuda.mem_get_info(scaling.device)
        if n_bytes <= free * SHARE_OF_FREE_MEMORY:
            return ResidentRows(rows, scaling, groups)
    return stream(rows, scaling, groups)


def stream(
    rows: Rows,
    scale: Callable[[Tensor], Tensor],
    groups: np.ndarray | None = None,
) -> Source:
    """Return a source that reads rows one by one where it can, else in blocks."""
    if rows.is_streamed:
        return ShuffledStream(rows, scale, groups)
    return StreamedRows(rows, scale, groups)
