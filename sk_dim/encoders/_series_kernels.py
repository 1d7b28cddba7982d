"""Fixed features of series: kernels in competition, and proportions above thresholds.

Both look at nine values at a time, at dilations that double up to the length of the
series, and are pooled over time, so that it does not matter when something happens.
They need no training and are the strongest features of their cost that are known.

In an exported program all rows and thresholds are taken at once: it cannot write into
memory that it has, and each operation is written out.
"""

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import hardshrink, pad

from sk_dim.encoders._blocks import map_blocks

SIZE = 9  # values that a kernel looks at
BLOCK_VALUES = 2**19  # of responses at a time, which a CPU keeps in its cache
MOST_TIMES = 1024  # of a series that kernels look at
MOST_VALUES = 2**14  # that a threshold is a quantile of
RAMP = 0.04  # share of the values that lie on the ramp around a threshold
MOST_CHANNELS = 8  # that a group of kernels sees
ROUNDING = 1e-6  # of scaled series
LUMP = 1e-5  # of the same: responses that are nearer are the same but for rounding


def plan_dilations(length: int) -> list[int]:
    """Return 1, 2, 4 and so on, as long as a dilated kernel is within the series."""
    most = max(1, (length - 1) // (SIZE - 1))
    return [2**i for i in range(int(math.log2(most)) + 1)]


def windows(series: Tensor, dilation: int) -> Tensor:
    """Stack what a dilated kernel sees around each time, less the value at that time.

    Series (..., n, l), padded with 0, become (..., 9, n * t), one matrix that kernels
    are multiplied with. Of more than 1,024 times, every second, third and so on is
    taken. Kernels of sum 0 make nothing of what is the same in all nine places: without
    it, where a series is flat, all responses are 0, and not what rounding leaves.
    """
    length = series.shape[-1]
    padded = pad(series, (SIZE // 2 * dilation, SIZE // 2 * dilation))
    step = -(-length // MOST_TIMES)
    starts = range(0, SIZE * dilation, dilation)
    middle = series[..., ::step]
    places = [padded[..., s : s + length : step] - middle for s in starts]
    return torch.stack(places, dim=-3).flatten(-2)


def find_outside(lengths: Tensor, n_times: int) -> Tensor:
    """Return which times (n, t) are behind the end of a series."""
    return torch.arange(n_times, device=lengths.device) >= lengths[:, None]


def count_times(length: int) -> int:
    """Return for how many times of a series there are windows."""
    step = -(-length // MOST_TIMES)
    return -(-length // step)


class CompetingKernels(nn.Module):
    r"""Count which of the random kernels in each group fits best, and which worst.

    At each time, in each group, the kernel of the largest response gets that response,
    and the one of the smallest response gets a count of 1. Both are averaged over time.
    Times at which all respond alike, where a series is flat, count for none.

    Parameters
    ----------
    n_channels, length : int
        Of a series.
    n_groups : int, default=32
        Groups at each dilation.
    n_kernels : int, default=8
        Kernels in each group.

    Notes
    -----
    A group sees a mixture of up to 8 random channels. Features are square roots of the
    averages, of negative ones 0, which makes their spread even.

    References
    ----------
    A. Dempster, D. F. Schmidt, G. I. Webb (2023). Hydra: competing convolutional
    kernels for fast and accurate time series classification. arXiv:2203.13652.

    Examples
    --------
    >>> import torch
    >>> kernels = CompetingKernels(1, 100, n_groups=4)
    >>> kernels(torch.randn(3, 1, 100)).shape
    torch.Size([3, 256])
    """

    kernels: Tensor
    mixing: Tensor

    def __init__(
        self, n_channels: int, length: int, *, n_groups: int = 32, n_kernels: int = 8
    ) -> None:
        super().__init__()
        self.dilations = plan_dilations(length)
        shape = (len(self.dilations), n_groups, n_kernels, SIZE)
        kernels = torch.randn(shape)
        kernels = kernels - kernels.mean(dim=-1, keepdim=True)
        kernels = kernels / kernels.abs().sum(dim=-1, keepdim=True)
        self.register_buffer("kernels", kernels)
        self.register_buffer("mixing", _draw_mixing(*shape[:2], n_channels))

    @property
    def n_features(self) -> int:
        """Features of a series: two for each kernel."""
        return 2 * self.kernels[..., 0].numel()

    @torch.no_grad()
    def forward(self, series: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Map series (n, c, l) to (n, n_features).

        Up to 1,024 long they may end at other lengths, with zeros behind their ends.
        """
        n_times = count_times(series.shape[2])
        n_responses = self.kernels[0, ..., 0].numel() * n_times
        n_rows = max(1, BLOCK_VALUES // n_responses)
        return torch.cat(map_blocks(self._count, series, lengths, n_rows))

    def _count(self, series: Tensor, lengths: Tensor | None) -> Tensor:
        found: list[Tensor] = []
        n_samples, n_times = series.shape[0], count_times(series.shape[2])
        outside = None if lengths is None else find_outside(lengths, n_times)
        # Memory that is taken once: to take it anew costs more than the products.
        shape = (*self.kernels.shape[1:3], n_samples * n_times)
        responses, share = series.new_empty(shape), series.new_empty(shape)
        for dilation, kernels, mixing in zip(
            self.dilations, self.kernels, self.mixing, strict=True
        ):
            if mixing.shape[1] == 1:
                seen, of_all = windows(series[:, 0], dilation), kernels.flatten(0, 1)
                torch.matmul(of_all, seen, out=responses.flatten(0, 1))
            else:
                seen = windows((mixing @ series).transpose(0, 1), dilation)
                # Mixtures of the same values may differ by rounding.
                torch.matmul(kernels, hardshrink(seen, ROUNDING), out=responses)
            best = responses.amax(dim=1, keepdim=True)
            worst = responses.amin(dim=1, keepdim=True)
            worst = worst.masked_fill(worst == best, torch.nan)  # no kernel is
            if outside is not None:
                best = best.masked_fill(outside.flatten(), torch.nan)
                worst = worst.masked_fill(outside.flatten(), torch.nan)
            # Sums, since means take twice as long, and `eq`, which is faster than `le`.
            of_each = (*shape[:2], n_samples, n_times)
            torch.eq(responses, worst, out=share)
            n_worst = share.view(of_each).sum(dim=-1)
            torch.eq(responses, best, out=share)
            found += [share.mul_(responses).view(of_each).sum(dim=-1), n_worst]
        sums = torch.cat([each.flatten(0, 1) for each in found])
        counted = n_times if lengths is None else lengths
        return (sums / counted).T.clamp_min(0).sqrt()


class Proportions(nn.Module):
    r"""Measure the share of time for which each kernel's response is above thresholds.

    The kernels are the 84 that have the weight 2 at three of nine places and -1 at the
    others. Thresholds are quantiles of their responses, which `learn` sets.

    Parameters
    ----------
    n_channels, length : int
        Of a series.
    n_thresholds : int, default=15
        Of each kernel, shared out among the dilations.
    n_parts : int, default=8
        Parts of the time, of equal length, that shares are taken in.

    Notes
    -----
    A step counts a response just above a threshold in full and one just below not at
    all; here a ramp over at most 4 % of the responses takes its place. Each kernel
    sees a mixture of up to 8 random channels.

    References
    ----------
    A. Dempster, D. F. Schmidt, G. I. Webb (2021). MiniRocket: a very fast (almost)
    deterministic transform for time series classification. arXiv:2012.08791.

    Examples
    --------
    >>> import torch
    >>> proportions = Proportions(1, 100)
    >>> series = torch.randn(3, 1, 100)
    >>> proportions.learn(series)
    >>> whole, parts = proportions(series)
    >>> whole.shape, parts.shape
    (torch.Size([3, 1344]), torch.Size([3, 336, 8]))
    """

    kernels: Tensor
    mixing: Tensor
    thresholds: Tensor
    scales: Tensor

    def __init__(
        self,
        n_channels: int,
        length: int,
        n_thresholds: int = 15,
        *,
        n_parts: int = 8,
    ) -> None:
        super().__init__()
        self.n_parts = n_parts
        self.dilations = plan_dilations(length)
        n_dilations = len(self.dilations)
        kernels = torch.full((84, SIZE), -1.0)
        for kernel, places in zip(
            kernels, itertools.combinations(range(SIZE), 3), strict=True
        ):
            kernel[list(places)] = 2.0
        self.register_buffer("kernels", kernels, persistent=False)
        self.register_buffer("mixing", _draw_mixing(n_dilations, 84, n_channels))
        each = math.ceil(n_thresholds / n_dilations)
        self.register_buffer("thresholds", torch.zeros(n_dilations, 84, each))
        self.register_buffer("scales", torch.ones(n_dilations, 84, each))

    @property
    def n_features(self) -> int:
        """Features of a series: one for each threshold."""
        return self.thresholds.numel()

    @property
    def n_kernels(self) -> int:
        """Kernels at all dilations."""
        return self.scales[..., 0].numel()

    @torch.no_grad()
    def learn(self, *series: Tensor) -> None:
        """Set the thresholds of each kernel to quantiles of its responses.

        Parameters
        ----------
        *series : Tensor of shape (n, c, l)
            Some of the training samples, those of each length by themselves.
        """
        n_quantiles = self.thresholds[0, 0].numel()
        # A sequence of low discrepancy: other quantiles for each kernel, evenly spread.
        order = torch.arange(1, 84 * n_quantiles + 1, dtype=torch.float64)
        shares = (order * (math.sqrt(5) - 1) / 2 % 1).view(84, n_quantiles)
        found = zip(*(self._responses(each) for each in series), strict=True)
        for i, responses in enumerate(found):
            values = torch.cat([each.flatten(1) for each in responses], 1)
            step = -(-values.shape[1] // MOST_VALUES)
            values = values[:, ::step].sort(dim=1).values
            n_values = values.shape[1]
            around = torch.stack([shares - RAMP / 2, shares, shares + RAMP / 2])
            places = (around.clamp(0, 1) * (n_values - 1)).round().long()
            places = places.sort(dim=2).values.to(values.device)
            start, middle, end = values.expand(3, -1, -1).gather(2, places)
            self.thresholds[i] = middle
            # By the side on which responses are nearer, or it would hold many more.
            width = 2 * torch.minimum(end - middle, middle - start)
            # Where many responses are the same, a ramp must be wider than rounding.
            least = values.std(dim=1, keepdim=True) / 100
            width = torch.where(width > LUMP, width, least)
            self.scales[i] = torch.where(width > 0, 1 / width, 1.0)

    @torch.no_grad()
    def forward(
        self, series: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Map series (n, c, l) to shares of the whole time and of parts of it.

        Parameters
        ----------
        series : Tensor of shape (n, c, l)
            Samples.
        lengths : Tensor of int, of shape (n,), default=None
            Where they end, if l is at most 1,024; behind it are zeros. None is l.

        Returns
        -------
        whole : Tensor of shape (n, n_features)
            For every threshold.
        parts : Tensor of shape (n, n_kernels, n_parts)
            For the middle one of the thresholds of each kernel at each dilation.
        """
        n_rows = max(1, BLOCK_VALUES // (84 * count_times(series.shape[2])))
        measured = map_blocks(self._measure, series, lengths, n_rows)
        whole, parts = zip(*measured, strict=True)
        return torch.cat(whole), torch.cat(parts)

    def _measure(self, series: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        whole: list[Tensor] = []
        parts: list[Tensor] = []
        n_times = count_times(series.shape[2])
        outside = None if lengths is None else find_outside(lengths, n_times)
        counted = n_times if lengths is None else lengths
        means = part_means(n_times, self.n_parts, series, lengths)
        middle = self.thresholds.shape[2] // 2
        for i, responses in enumerate(self._responses(series)):
            if outside is not None:
                responses.masked_fill_(outside, -torch.inf)  # below all thresholds
            width = 1 / self.scales[i].T[:, :, None, None]
            start = self.thresholds[i].T[:, :, None, None] - width / 2
            if torch.compiler.is_exporting():
                above = torch.minimum((responses - start).clamp(min=0), width)
                whole += (above.sum(dim=-1) / (counted * width[..., 0])).unbind()
                parts.append(above[middle] @ means / width[middle])
                continue
            above = torch.empty_like(responses)
            for place in range(len(start)):
                # The start comes off before the sum: after it, of two numbers that are
                # large and nearly the same, rounding would leave little.
                torch.sub(responses, start[place], out=above).clamp_(min=0)
                torch.minimum(above, width[place], out=above)
                # Sums, since means take twice as long.
                whole.append(above.sum(dim=-1) / (counted * width[place, ..., 0]))
                if place != middle:
                    continue
                if lengths is None:
                    of_parts = above @ means
                else:
                    of_parts = (above.transpose(0, 1) @ means).transpose(0, 1)
                parts.append(of_parts / width[place])
        return torch.cat(whole).T, torch.cat(parts).transpose(0, 1)

    def _responses(self, series: Tensor) -> Iterator[Tensor]:
        """Yield the responses (84, n, t) at each dilation."""
        for dilation, mixing in zip(self.dilations, self.mixing, strict=True):
            weights = mixing[:, :, None] * self.kernels[:, None]  # (84, c, 9)
            seen = windows(series.transpose(0, 1), dilation).flatten(0, 1)
            yield (weights.flatten(1) @ seen).unflatten(1, (series.shape[0], -1))


def part_means(
    length: int, n_parts: int, like: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """Matrix (length, n_parts) that takes means over parts of the time.

    With `lengths` (n,), one for each series, (n, length, n_parts). Parts share values
    where the length is no multiple of their number.
    """
    time = torch.arange(length, device=like.device)[:, None]
    edges = torch.arange(n_parts + 1, device=like.device)
    edges = edges * length if lengths is None else edges * lengths[:, None, None]
    start = edges[..., :-1].div(n_parts, rounding_mode="floor")
    end = -(-edges[..., 1:]).div(n_parts, rounding_mode="floor")
    shares = ((time >= start) & (time < end)).to(like.dtype)
    return shares / shares.sum(dim=-2, keepdim=True)


def _draw_mixing(n_dilations: int, n_groups: int, n_channels: int) -> Tensor:
    """Draw (n_dilations, n_groups, n_channels) of weights that mix random channels."""
    n_most = min(MOST_CHANNELS, n_channels)
    n_seen = torch.randint(1, n_most + 1, (n_dilations, n_groups, 1))
    order = torch.rand(n_dilations, n_groups, n_channels).argsort(dim=2).argsort(dim=2)
    return (order < n_seen) / n_seen.sqrt()
