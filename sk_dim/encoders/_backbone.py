"""BackboneEncoder: a pretrained net, and what DIM learns on it."""

import copy
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torch.nn.modules.batchnorm import _NormBase

from sk_dim.encoders._backbone_nets import (
    Backbone,
    Trace,
    build_net,
    count_channels,
    keep_outputs,
    load_weights,
    pretraining_of,
    run_net,
)
from sk_dim.encoders._contract import (
    Augment,
    Encoder,
    Features,
    FixedViews,
    check_shape,
)
from sk_dim.encoders._net_input import NetInput, resize
from sk_dim.encoders._shrunk_map import ShrunkMap
from sk_dim.encoders._view_basis import shuffle

WIDTH = 1024  # a power of 2, of which features have exactly the same variance
VIEW_SCALE = 0.75  # crops show things larger than whole images do, by about as much
LEAST_VIEW = 64  # pixels on the shorter side of a view that is shrunk
PIXELS_AT_ONCE = 2**20  # of images that are encoded without gradients
GRID = 3  # windows on a side of the middle map, whose means are features
LOCAL_SIDE = 6  # locations on a side of the local features, at most
MAX_VIEWED = 2**25  # values of views that are kept
EPOCHS, EPOCHS_OF_NET = 0.5, 0.15  # factors of their number, as an epoch takes minutes
N_VIEWS = 2  # of each of these samples
NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
# Factors of the learning rate of the last layer, and of the first one's beside it.
RATES = {
    "none": (0.0, 0.0),
    "norms": (0.3, 1.0),
    "last": (0.03, 0.1),
    "all": (0.03, 0.1),
}

Viewed = list[tuple[Tensor, Tensor]]  # features and local features of views


class BackboneEncoder(Encoder):
    """Encoder of images around a pretrained net, better on your images than the net.

    The first layer is a pretrained net of another library. Its features are the means
    of its last map, and those in 3x3 windows of the map before, at twice the resolution
    in most nets. `learn_first` then learns a linear map of these features from views of
    the samples, in closed form: directions in which views of one image differ are
    shrunk. So the features of the net stay in what `transform` returns. With `trained`,
    parts of a copy of the net are trained on, and the features of the copy stand beside
    those of the net.

    Parameters
    ----------
    input_shape : tuple of int
        ``(channels, height, width)``. Grey images are repeated for a net of colours.
    n_components : int
        Size of the global features; above 1,024, columns repeat.
    backbone : str, torch.nn.Module or callable
        The net: a name of a model of timm, a module, which is copied, or a function
        without parameters that returns one. It must be convolutional, and make maps
        (n, c, h, w) within. What stands behind the last one does not run.
    weights : str or path-like, default=None
        File of its weights, a state_dict of torch or safetensors. None leaves those
        that a module or function brings. Names may be those of another library, if the
        tensors are the same and in the same order; what does not run may be missing.
        The file is read in `fit` alone.
    trained : {"none", "norms", "last", "all"}, default="none"
        What DIM trains of the net: nothing, weights and biases of its normalisations,
        all layers after the middle map, or all layers, the earlier the less. Statistics
        of batch norms never change.
    size : int, default=None
        Shorter side that images are resized to, in pixels. None keeps that of the
        images between 96 and what the net was trained on, or 224 if it does not say.
    mean, std : sequence of float, default=None
        By which images of values from 0 to 1 were standardised when the net was
        trained. None takes what a net of timm says, and those of ImageNet for others.
    n_units : int, default=256
        Units of the small net on top, whose output the critics see.

    Attributes
    ----------
    net : torch.nn.Module
        The net, trained on as `trained` says.
    frozen : torch.nn.Module or None
        As it was, if it is trained on.

    Notes
    -----
    Where views are flipped, the features of an image are averaged over it and its
    mirror image, so that both have the same; that takes twice the time. Training views
    are shrunk by a quarter, as crops enlarge things, unless less than 64 pixels remain.

    Images of values from 0 to 1, 255 or 65,535 are recognised by the largest value of
    most. Where that is less than half of the range, as with 12 bits, it is what images
    are divided by. Those with negative values are taken as standardised.

    The hidden features are those of the net before the linear map, the conv features
    its last map, and local features are those of the middle map.

    With ``trained="none"`` views are encoded once, and a training takes seconds.
    Otherwise `transform` runs both nets.

    Licence and origin of weights are those of whoever publishes them.

    References
    ----------
    R. Balestriero, Y. LeCun (2022). Contrastive and non-contrastive self-supervised
    learning recover global and local spectral embedding methods. arXiv:2205.11508.

    J. Frankle, D. J. Schwab, A. S. Morcos (2020). Training BatchNorm and only
    BatchNorm: on the expressive power of random features in CNNs. arXiv:2003.00152.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Sequential(
    ...     torch.nn.Conv2d(3, 8, 3, stride=4),
    ...     torch.nn.ReLU(),
    ...     torch.nn.Conv2d(8, 16, 3, stride=4),
    ... )
    >>> encoder = BackboneEncoder((3, 32, 32), 64, backbone=net)
    >>> views = encoder.learn_first(torch.randn(20, 3, 32, 32), seed=0)
    >>> features = encoder.eval()(torch.randn(2, 3, 32, 32))
    >>> features.global_.shape, features.local.shape
    (torch.Size([2, 64]), torch.Size([2, 8, 6, 6]))
    """

    kinds = ("image",)
    n_first = 2000
    n_learnt: Tensor

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_components: int,
        *,
        backbone: Backbone,
        weights: str | os.PathLike[str] | None = None,
        trained: str = "none",
        size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        n_units: int = 256,
    ) -> None:
        super().__init__()
        check_shape(self, input_shape)
        self._check(backbone, weights, trained, size, n_units)
        self.weights = weights
        self.trained = trained
        self.has_fixed_part = trained == "none"
        self.epochs = EPOCHS if self.has_fixed_part else EPOCHS_OF_NET
        self.net = build_net(backbone).eval()
        n_taken = self._count_channels(input_shape[0])
        told = pretraining_of(self.net)
        self.prepare = NetInput(input_shape, n_taken, told, size, mean, std)
        is_large = VIEW_SCALE * self.prepare.shortest >= LEAST_VIEW
        self.view_scale = VIEW_SCALE if is_large else None
        trace = Trace(self.net, (n_taken, *self.prepare.sides))
        maps = trace.last_maps()
        self.middle, self.last = maps[max(0, len(maps) - 2)], maps[-1]
        names = sorted([self.middle.name, self.last.name], key=trace.position)
        keep_outputs(self.net, names, trace.n_calls[names[-1]])
        self.needed = trace.needed(names[-1])
        n_middle, height, width = self.middle.shape
        self.grid = (min(GRID, height), min(GRID, width))
        self.local_sides = (min(LOCAL_SIDE, height), min(LOCAL_SIDE, width))
        self.register_buffer("n_learnt", torch.zeros((), dtype=torch.int64))
        sizes = [n_middle * math.prod(self.grid), self.last.shape[0]]
        self.frozen: nn.Module | None = None
        if not self.has_fixed_part:
            self.frozen = copy.deepcopy(self.net).requires_grad_(False)
            self.inner = ShrunkMap(sizes, n_components)  # what critics see
            sizes *= 2
        self.map = ShrunkMap(sizes, n_components)
        self.code = nn.Sequential(
            nn.BatchNorm1d(n_components),
            nn.Linear(n_components, n_units),
            nn.ReLU(),
            nn.Linear(n_units, n_units),
        )
        self.factors = self._choose_trained(trace)
        self.is_first_training = False

    @staticmethod
    def _check(
        backbone: Backbone, weights: Any, trained: Any, size: Any, n_units: Any
    ) -> None:
        """Raise an error for parameters that are wrong, whatever the net is."""
        if not isinstance(trained, str) or trained not in RATES:
            raise ValueError(
                f"trained={trained!r}; choose one of {', '.join(map(repr, RATES))}."
            )
        if isinstance(backbone, str) and weights is None:
            raise ValueError(
                f"backbone={backbone!r} without weights would be a random net; give "
                "weights=, the path of their file, or a function that returns a net "
                "with weights."
            )
        if not isinstance(weights, str | os.PathLike | None):
            raise TypeError(
                f"weights is {type(weights).__name__}; give the path of a file, or "
                "None and a net that has its weights."
            )
        if size is not None and not _is_count(size):
            raise ValueError(
                f"size={size!r}; give the shorter side of images in pixels, or None."
            )
        if not _is_count(n_units):
            raise ValueError(f"n_units={n_units!r}; give an integer of at least 1.")

    def _count_channels(self, n_channels: int) -> int:
        """Return how many channels the net takes, if images can have as many."""
        n_taken = count_channels(self.net)
        if n_channels not in (1, n_taken):
            raise ValueError(
                f"backbone={type(self.net).__name__} takes images with channels: "
                f"{n_taken}, and these have {n_channels}; convert them, as "
                "ImageLoader(mode='RGB') or mode='L' does, or give another net."
            )
        return n_taken

    def _choose_trained(self, trace: Trace) -> dict[str, float]:
        """Let gradients train what is to be trained, and return factors of rates."""
        first, last = trace.position(self.middle.name), trace.position(self.last.name)
        rate, decay = RATES[self.trained]
        factors = {}
        for name, parameter in self.net.named_parameters():
            owner = name.rpartition(".")[0]
            position = trace.position(owner)
            parameter.requires_grad_(
                self.trained != "none"
                and position <= last
                and (self.trained != "last" or position > first)
                and (
                    self.trained != "norms"
                    or isinstance(self.net.get_submodule(owner), NORMS)
                )
            )
            if parameter.requires_grad:
                factors[f"net.{name}"] = rate * decay ** (1 - position / last)
        if self.trained != "none" and not factors:
            raise ValueError(
                f"trained={self.trained!r} would train nothing of "
                f"backbone={type(self.net).__name__}; choose trained='none' or 'all'."
            )
        return factors

    @staticmethod
    def full_width(input_shape: tuple[int, ...]) -> int:
        """Return 1,024, for images of any shape.

        Parameters
        ----------
        input_shape : tuple of int
            ``(channels, height, width)``.

        Returns
        -------
        int
        """
        return WIDTH

    def rate_factor(self, name: str) -> float:
        """Return the factor of a parameter's learning rate: below 1 in the net.

        Parameters
        ----------
        name : str
            Of the parameter in the encoder.

        Returns
        -------
        float
        """
        return self.factors.get(name, 1.0)

    def train(self, mode: bool = True) -> "BackboneEncoder":
        """Set the mode of all but the net, whose statistics and units stay."""
        super().train(mode)
        for net in (self.net, self.frozen):
            if net is not None:
                net.eval()
        return self

    def learn_scaling(self, mean: Tensor, std: Tensor) -> None:
        """Take note of how samples are scaled, so that the net sees them as it wants.

        Parameters
        ----------
        mean, std : Tensor of shape (c, 1, 1)
            An image is ``batch * std + mean``.
        """
        self.prepare.own_mean.copy_(mean)
        self.prepare.own_std.copy_(std)

    @torch.no_grad()
    def learn_first(
        self, batch: Tensor, seed: int, augment: Augment | None = None
    ) -> FixedViews | None:
        """Read the weights, and learn the map of the features from scaled samples.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w)
            Some of the training samples.
        seed : int
            Seeds the choice of samples and the views.
        augment : callable or None, default=None
            Makes views; with None the map is that of principal components.

        Returns
        -------
        FixedViews or None
            What `view_fixed` returns for the same arguments, if nothing is trained.

        Raises
        ------
        FileNotFoundError or ValueError
            If there are no such weights.
        """
        if self.weights is not None:
            load_weights(self.net, self.weights, self.needed)
        self.prepare.learn(batch)
        self.n_learnt.fill_(len(batch))
        if self.frozen is None:
            order, viewed = self._learn_map(self.map, batch, seed, augment)
            return self._fix(order, viewed)
        self.frozen.load_state_dict(self.net.state_dict())
        self.is_first_training = True
        self._learn_map(self.inner, batch, seed, augment)
        return None

    @torch.no_grad()
    def learn_last(
        self, batch: Tensor, seed: int, augment: Augment | None = None
    ) -> None:
        """Learn the map of the features of both nets, where one was trained.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w)
            Some of the training samples, scaled.
        seed : int
            Seeds the choice of samples and the views.
        augment : callable or None, default=None
            Makes views; with None the map is that of principal components.
        """
        self.is_first_training = False
        # A much smaller part of a stream would make a worse map.
        if 2 * len(batch) >= self.n_learnt:
            self._learn_map(self.map, batch, seed, augment)

    @torch.no_grad()
    def view_fixed(
        self, batch: Tensor, seed: int, augment: Augment | None
    ) -> FixedViews:
        """Return global and local features of views of the samples.

        Parameters
        ----------
        batch : Tensor of shape (n, c, h, w)
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
        return self._fix(order, self._view(batch[order], generator, augment))

    def forward(self, batch: Tensor) -> Features:
        """Encode a scaled batch."""
        own, local, last = self._run(self.net, batch, is_view=self.training)
        if self.frozen is None:
            global_ = code = self.map(own)
        else:
            # In the first training critics see the code alone, and the map is to come.
            is_unseen = self.training and self.is_first_training
            before = own
            if not is_unseen:
                before = self._run(self.frozen, batch, is_view=self.training)[0]
            global_ = self.map(torch.cat([before, own], dim=1))
            code = self.inner(own)
        return Features(global_, own, last, local, self.code(code))

    def finish(self, fixed: Tensor) -> Features:
        """Return the features of a view of `view_fixed`, without hidden ones."""
        n_components = self.map.rotation.shape[1]
        global_, local = fixed[:, :n_components], fixed[:, n_components:]
        local = local.unflatten(1, (-1, *self.local_sides))
        return Features(global_, None, None, local, self.code(global_))

    def _learn_map(
        self, map_: ShrunkMap, batch: Tensor, seed: int, augment: Augment | None
    ) -> tuple[Tensor, Viewed]:
        """Learn a map from samples and their views; return an order, and the views."""
        order, generator = shuffle(batch, seed)
        samples = batch[order]
        is_whole = map_ is self.map
        features, _ = self._encode(samples, is_whole=is_whole)
        viewed = self._view(samples, generator, augment, is_whole=is_whole)
        map_.learn(features, [] if augment is None else [each for each, _ in viewed])
        return order, viewed

    def _view(
        self,
        samples: Tensor,
        generator: torch.Generator,
        augment: Augment | None,
        *,
        is_whole: bool = True,
    ) -> Viewed:
        """Return features and local features of views of as many samples as are kept.

        Without views it is those of the samples.
        """
        n_values = self.map.rotation.shape[1]
        n_values += self.middle.shape[0] * math.prod(self.local_sides)
        samples = samples[: max(2, MAX_VIEWED // n_values // N_VIEWS)]
        if augment is None:
            return [self._encode(samples, is_whole=is_whole)]
        views = (self._shrink(augment(samples, generator)) for _ in range(N_VIEWS))
        return [self._encode(v, is_whole=is_whole, is_view=True) for v in views]

    def _fix(self, order: Tensor, viewed: Viewed) -> FixedViews:
        """Map the features of views of the first samples of an order."""
        parts = [torch.cat([self.map(f), local.flatten(1)], 1) for f, local in viewed]
        values = torch.stack(parts, 1)
        return FixedViews(order[: len(values)], values)

    def _encode(
        self, samples: Tensor, *, is_whole: bool, is_view: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return features, with those of the frozen net if whole, and local ones."""
        own, local, _ = self._run(self.net, samples, is_view=is_view)
        if is_whole and self.frozen is not None:
            before = self._run(self.frozen, samples, is_view=is_view)[0]
            own = torch.cat([before, own], dim=1)
        return own, local

    def _run(
        self, net: nn.Module, batch: Tensor, *, is_view: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what a net makes of a batch: pooled features, middle and last map.

        They are the means of those of images and of their mirror images, but of views,
        of which half are mirrored.
        """
        made = self._run_once(net, batch)
        if is_view or not self.is_mirrored:
            return made
        pooled, *maps = self._run_once(net, batch.flip(-1))
        mirrored = [pooled, *(each.flip(-1) for each in maps)]
        first, second, third = (
            (a + b) / 2 for a, b in zip(made, mirrored, strict=True)
        )
        return first, second, third

    def _run_once(self, net: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if torch.is_grad_enabled() or torch.compiler.is_exporting():
            return self._run_part(net, batch)
        n_at_once = max(1, PIXELS_AT_ONCE // math.prod(self.prepare.sides))
        parts = [self._run_part(net, part) for part in batch.split(n_at_once)]
        pooled, middle, last = (torch.cat(each) for each in zip(*parts, strict=True))
        return pooled, middle, last

    def _run_part(self, net: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = run_net(net, self.prepare(batch))
        middle, last = maps[self.middle.name], maps[self.last.name]
        means = adaptive_avg_pool2d(middle, self.grid).flatten(1)
        pooled = torch.cat([means, last.mean(dim=(2, 3))], dim=1).float()
        return pooled, adaptive_avg_pool2d(middle, self.local_sides), last

    def _shrink(self, view: Tensor) -> Tensor:
        scale = self.view_scale or 1
        return resize(view, [round(scale * side) for side in view.shape[2:]])


def _is_count(value: Any) -> bool:
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return is_integer and value > 0
