"""SeriesEncoder: kernels of all time scales, and what DIM learns on them."""

from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from sk_dim.encoders._contract import (
    Augment,
    Encoder,
    Features,
    FixedViews,
    check_shape,
)
from sk_dim.encoders._lengths import count_values, map_similar, split_lengths
from sk_dim.encoders._series_kernels import (
    MOST_TIMES,
    SIZE,
    CompetingKernels,
    Proportions,
    find_outside,
)
from sk_dim.encoders._series_sizes import SeriesSizes
from sk_dim.encoders._view_basis import (
    HasBasis,
    hadamard,
    learn_basis,
    shuffle,
    turn,
)

WIDTH = 1024  # a power of 2, of which features have exactly the same variance
MAX_LEARNT = 1024  # samples that the basis is learnt from
MAX_VIEWED = 256  # of them, that views are made of
N_VIEWS = 2  # of each of these
N_FITTED = 16  # samples that thresholds are quantiles of
N_VALUES = 128  # values of a series that count by their place, at most
N_PLACES = 4  # parts of the time that do
N_LOCATIONS = 16  # parts of the time that local features are of
COUNTS_WEIGHT = 0.7  # of counts beside shares
EVENNESS = 0.3  # power of their norm that a sample's features are divided by
STRETCH = 0.1  # largest change of the length that views of unequal lengths make


class SeriesEncoder(HasBasis, Encoder):
    """Encoder of series whose first layer is kernels of all time scales.

    The first layer is fixed: random kernels that compete
    (:class:`~sk_dim.encoders.CompetingKernels`), and shares of time for which others
    are above thresholds (:class:`~sk_dim.encoders.Proportions`), both of the values and
    of their differences. `learn_first` then learns a linear map of these features from
    views of the samples, in closed form: directions in which views of one series differ
    are shrunk. Where views change more than that, as in short series whose times have a
    meaning, the features stay as they are, and features of places come with them.
    Where sizes differ a hundredfold, each series has its own scale
    (:class:`~sk_dim.encoders.SeriesSizes`).

    Parameters
    ----------
    input_shape : tuple of int
        ``(channels, length)``, at least 9 long.
    n_components : int
        Size of the global features; above 1,024, columns repeat.
    n_groups : int, default=32
        Groups of 8 kernels at each dilation.
    n_thresholds : int, default=30
        Thresholds of each of the other 84 kernels, shared out among the dilations.
    n_units : int, default=256
        Units of the net on top, whose output the critics see.

    Attributes
    ----------
    trust : Tensor of shape ()
        How far views are trusted, from 0 to 1, once it is learnt.
    typical_length : Tensor of shape ()
        Mean length of the samples that it learnt from; 0 if all were of one length.

    Notes
    -----
    The global features are the map, turned so that all have the same variance, which
    leaves distances as they are whatever scaler comes after. What is trained by
    gradients is a small net on top of them: critics see its output, and with it
    `local_scores` are computed. Training does not change the global features.

    Where samples of unequal length are learnt from, all that is counted is counted in
    time: twice as long a series counts twice as much. Where all have one length, series
    of other lengths can be encoded too, and shares of their own time are counted.

    The hidden features are those of the first layer. Local features are shares in 16
    parts of the time, or in 4 of series of up to 64 values.

    References
    ----------
    A. Dempster, D. F. Schmidt, G. I. Webb (2023). Hydra: competing convolutional
    kernels for fast and accurate time series classification. arXiv:2203.13652.

    A. Dempster, D. F. Schmidt, G. I. Webb (2021). MiniRocket: a very fast (almost)
    deterministic transform for time series classification. arXiv:2012.08791.

    R. Balestriero, Y. LeCun (2022). Contrastive and non-contrastive self-supervised
    learning recover global and local spectral embedding methods. arXiv:2205.11508.

    Examples
    --------
    >>> import torch
    >>> from sk_dim.augmentations import warp
    >>> series = torch.randn(20, 1, 100)
    >>> encoder = SeriesEncoder((1, 100), n_components=64)
    >>> views = encoder.learn_first(series, seed=0, augment=warp)
    >>> features = encoder.eval()(series)
    >>> features.global_.shape, features.local.shape
    (torch.Size([20, 64]), torch.Size([20, 672, 16]))
    """

    kinds = ("series",)
    min_side = SIZE
    any_length = True
    has_fixed_part = True
    is_static = True
    epochs = 0.5
    mean: Tensor
    scale: Tensor
    basis: Tensor
    rotation: Tensor
    trust: Tensor
    typical_length: Tensor

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_components: int,
        *,
        n_groups: int = 32,
        n_thresholds: int = 30,
        n_units: int = 256,
    ) -> None:
        super().__init__()
        check_shape(self, input_shape)
        n_channels, length = input_shape
        self.n_parts = N_LOCATIONS if length > 4 * N_LOCATIONS else N_PLACES
        both = (length, length - 1)  # of values, and of their differences
        counts = [CompetingKernels(n_channels, n, n_groups=n_groups) for n in both]
        shares = [
            Proportions(n_channels, n, n_thresholds, n_parts=self.n_parts) for n in both
        ]
        self.counts, self.shares = nn.ModuleList(counts), nn.ModuleList(shares)
        self.sizes = SeriesSizes(n_channels)
        self.n_each = (
            sum(each.n_features for each in counts),
            sum(each.n_features for each in shares),
            N_PLACES * shares[0].n_kernels,
            n_channels * min(length, N_VALUES),
            self.sizes.n_features,
        )
        n_all = sum(self.n_each)
        self.register_buffer("mean", torch.zeros(n_all))
        self.register_buffer("scale", torch.ones(n_all) / n_all**0.5)
        # Random until it is learnt.
        basis = torch.randn(n_all, min(n_components, 64)) / 8
        self.register_buffer("basis", basis)
        self.register_buffer("rotation", hadamard(n_components), persistent=False)
        self.register_buffer("trust", torch.zeros(()))
        self.register_buffer("typical_length", torch.zeros(()))
        self.code = nn.Sequential(
            nn.BatchNorm1d(n_components),
            nn.Linear(n_components, n_units),
            nn.ReLU(),
            nn.Linear(n_units, n_units),
        )

    @staticmethod
    def full_width(input_shape: tuple[int, ...]) -> int:
        """Return 1,024, for series of any shape.

        Parameters
        ----------
        input_shape : tuple of int
            ``(channels, length)``.

        Returns
        -------
        int
        """
        return WIDTH

    @torch.no_grad()
    def learn_first(
        self, batch: Tensor, seed: int, augment: Augment | None = None
    ) -> FixedViews:
        """Learn thresholds and the map of the features from scaled samples.

        Parameters
        ----------
        batch : Tensor of shape (n, c, l)
            Some of the training samples.
        seed : int
            Seeds the choice of samples and the views.
        augment : callable or None, default=None
            Makes views; with None the map is that of principal components.

        Returns
        -------
        FixedViews
            What `view_fixed` returns for the same arguments.
        """
        order, generator = shuffle(batch, seed)
        batch = batch[order[:MAX_LEARNT]]
        lengths = count_values(batch).float()
        is_unequal = bool(lengths.min() < lengths.max())
        self.typical_length.fill_(lengths.mean() if is_unequal else 0.0)
        self.sizes.learn(batch)
        some = self.sizes.divide(batch[:N_FITTED])
        groups = [with_differences(each) for _, each in split_lengths(some)]
        for shares, series in zip(self.shares, zip(*groups, strict=True), strict=True):
            cast(Proportions, shares).learn(*series)
        # Without the maps, which are large.
        parts = batch.split(MAX_VIEWED)
        features = torch.cat([self._encode_first(part)[0] for part in parts])
        self._learn_scaling(features)
        viewed = self._view_first(batch[:MAX_VIEWED], generator, augment)
        n_pooled, n_placed = sum(self.n_each[:2]), sum(self.n_each[2:4])
        views = []
        if augment is not None:
            views = [self._standardise(each)[:, :n_pooled].cpu() for each, _ in viewed]
        standardised = self._standardise(features).cpu()
        n_most = len(self.rotation)
        basis, trust = learn_basis(standardised, n_pooled, n_placed, views, n_most)
        self.trust.fill_(trust)
        self.basis = basis.to(batch.device)
        return self._fix(order, viewed)

    @torch.no_grad()
    def view_fixed(
        self, batch: Tensor, seed: int, augment: Augment | None
    ) -> FixedViews:
        """Return global and local features of views of up to 256 samples.

        Parameters
        ----------
        batch : Tensor of shape (n, c, l)
            Some of the training samples, scaled.
        seed : int
            Seeds the choice of samples and the views.
        augment : callable or None
            Makes views; with None samples are their own only view.

        Returns
        -------
        FixedViews
        """
        order, generator = shuffle(batch, seed)
        samples = batch[order[:MAX_VIEWED]]
        return self._fix(order, self._view_first(samples, generator, augment))

    def forward(self, batch: Tensor) -> Features:
        """Encode a scaled batch; behind the last value of a series may be NaN."""
        features, local = self._encode_first(batch)
        global_ = self._map(features)
        return Features(global_, features, None, local, self.code(global_))

    def finish(self, fixed: Tensor) -> Features:
        """Return the features of a view of `view_fixed`, without hidden ones."""
        n_components = self.rotation.shape[1]
        global_, local = fixed[:, :n_components], fixed[:, n_components:]
        local = local.unflatten(1, (-1, self.n_parts))
        return Features(global_, None, None, local, self.code(global_))

    def _map(self, features: Tensor) -> Tensor:
        """Return global features of those of the first layer."""
        found = self._standardise(features) @ self.basis
        return turn(found, EVENNESS, self.rotation)

    def _view_first(
        self, batch: Tensor, generator: torch.Generator, augment: Augment | None
    ) -> list[tuple[Tensor, Tensor]]:
        """Return what the first layer makes of views, whose lengths change a bit."""
        if augment is None:
            return [self._encode_first(batch)]
        viewed = []
        for _ in range(N_VIEWS):
            features, local = self._encode_first(augment(batch, generator))
            if self.typical_length > 0:
                draw = torch.rand(len(batch), generator=generator, device=batch.device)
                self._stretch(features, 1 + STRETCH * (2 * draw - 1))
            viewed.append((features, local))
        return viewed

    def _fix(self, order: Tensor, viewed: list[tuple[Tensor, Tensor]]) -> FixedViews:
        """Map what the first layer made of views of the first samples of an order."""
        values = torch.stack(
            [torch.cat([self._map(f), local.flatten(1)], 1) for f, local in viewed], 1
        )
        return FixedViews(order[: len(values)], values)

    @torch.no_grad()
    def _encode_first(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of the first layer, and its map in parts of the time."""
        is_exporting = torch.compiler.is_exporting()  # to float32, and longer with it
        exact = torch.autocast(batch.device.type, enabled=False)
        with nullcontext() if is_exporting else exact:
            batch = batch.float()
            divided = self.sizes.divide(batch)
            features, maps = map_similar(self._encode_similar, divided, MOST_TIMES)
            features = torch.cat([features, self.sizes(batch)], dim=1)
        if self.typical_length > 0:
            self._stretch(features, count_values(batch) / self.typical_length)
        return features, maps

    def _encode_similar(
        self, batch: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Encode series of similar length, with zeros behind their ends."""
        series, differences = with_differences(batch)
        shorter = None if lengths is None else lengths - 1
        if shorter is not None:
            outside = find_outside(shorter, differences.shape[2])
            differences = differences.masked_fill(outside[:, None], 0.0)
        both = [(series, lengths), (differences, shorter)]
        counts = [self.counts[i](*each) for i, each in enumerate(both)]
        measured = [self.shares[i](*each) for i, each in enumerate(both)]
        shares, maps = zip(*measured, strict=True)
        places = maps[0].unflatten(2, (N_PLACES, -1)).mean(dim=3)
        values = self._values(batch, lengths)
        parts = [*counts, *shares, places.flatten(1), values.flatten(1)]
        return torch.cat(parts, dim=1), torch.cat(maps, dim=1)

    def _values(self, batch: Tensor, lengths: Tensor | None) -> Tensor:
        """Return a number of values of each series, interpolated from its own."""
        n_values = self.n_each[3] // batch.shape[1]
        if lengths is None:
            if batch.shape[2] == n_values:
                return batch
            return interpolate(batch, n_values, mode="linear")
        values = batch.new_empty(*batch.shape[:2], n_values)
        for length in lengths.unique().tolist():
            rows = lengths == length
            values[rows] = self._values(batch[rows, :, :length], None)
        return values

    def _stretch(self, features: Tensor, factors: Tensor) -> None:
        """Let what is counted count so many times, in place."""
        counts, shares, *_ = features.split(self.n_each, dim=1)
        counts *= factors.sqrt()[:, None]  # they are square roots
        shares *= factors[:, None]

    def _learn_scaling(self, features: Tensor) -> None:
        """Let each kind of features have the same variance in all."""
        mean = features.mean(dim=0)
        spread = features.std(dim=0, correction=0)
        scale = torch.where(spread > 1e-6 * (1 + mean.abs()), 1 / spread, 0.0)
        weights = (COUNTS_WEIGHT, 1.0, 0.5**0.5, 0.5**0.5, 1.0)
        parts = [
            part * (weight / (part > 0).sum().clamp_min(1).sqrt())
            for part, weight in zip(scale.split(self.n_each), weights, strict=True)
        ]
        self.mean.copy_(mean)
        self.scale.copy_(torch.cat(parts))

    def _standardise(self, features: Tensor) -> Tensor:
        return (features - self.mean) * self.scale


def with_differences(series: Tensor) -> tuple[Tensor, Tensor]:
    """Return series and the differences of neighbouring values."""
    return series, series.diff(dim=-1)
