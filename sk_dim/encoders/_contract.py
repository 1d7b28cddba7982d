"""What every encoder returns, and what it may have.

This module imports nothing of its own package.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import signature
from typing import Any, NamedTuple

from torch import Generator, Tensor, nn

Augment = Callable[[Tensor, Generator], Tensor]
KINDS = ("table", "series", "image")  # of samples of one, two and three axes
N_COMPONENTS = 1024  # where neither the user nor the encoder says
LAYERS = ("global", "hidden", "conv", "local")


class Features(NamedTuple):
    """Features of a batch of n samples, which the forward of an encoder returns.

    Parameters
    ----------
    global_ : Tensor of shape (n, n_components)
        One vector for each sample.
    hidden : Tensor of shape (n, n_hidden) or None
        The layer before the global features.
    conv : Tensor of shape (n, c, ...) or None
        The last map that still has axes of location.
    local : Tensor of shape (n, c, ...)
        One vector of c channels for each location, the locations on one or more axes.
    summary : Tensor of shape (n, k) or (n, k, ...) or None, default=None
        Smaller vector that critics and prior see instead of the global features, or a
        map of several, each of which is paired with all local features. If None, they
        see the global features.

    Examples
    --------
    >>> import torch
    >>> from sk_dim.encoders import ConvEncoder
    >>> features = ConvEncoder((1, 8, 8), n_components=16)(torch.zeros(2, 1, 8, 8))
    >>> features.global_.shape, features.local.shape
    (torch.Size([2, 16]), torch.Size([2, 64, 4, 4]))
    """

    global_: Tensor
    hidden: Tensor | None
    conv: Tensor | None
    local: Tensor
    summary: Tensor | None = None

    @property
    def code(self) -> Tensor:
        """What critics and prior see, (n, k) or (n, k, g)."""
        code = self.global_ if self.summary is None else self.summary
        return code if code.ndim < 4 else code.flatten(2)

    def layers(self) -> dict[str, Tensor]:
        """Return the layers that are not None, by the names that users give them."""
        named = zip(LAYERS, self[:-1], strict=True)
        return {name: layer for name, layer in named if layer is not None}


class FixedViews(NamedTuple):
    """Views of samples, as the part of an encoder leaves them that is not trained.

    Parameters
    ----------
    rows : Tensor of int, of shape (m,)
        Which samples of a batch they are of.
    values : Tensor of shape (m, v, k)
        Of v views of each, two or one.
    """

    rows: Tensor
    values: Tensor


class Encoder(nn.Module):
    """Base class of encoders, with the defaults of all that an encoder may have.

    An encoder need not be one: any ``torch.nn.Module`` will do, and what it does not
    have is taken from here.

    Attributes
    ----------
    kinds : tuple of str
        Kinds of samples that it takes, of "table", "series" and "image".
    min_side : int
        Shortest side of an image, or length of a series, that it takes.
    any_length : bool
        Whether it takes series of other lengths than that of `input_shape`, and of
        unequal lengths in one batch: behind the last value of each is NaN then.
    needs_head : bool
        Whether the critic between two views sees the global features through a trained
        head. Encoders that end in a trained linear layer need none.
    view_scale : float or None
        Factor by which training views of images are shrunk; None leaves them.
    is_mirrored : bool
        Set to True where views are flipped: in evaluation a sample and its mirror image
        must then get equal features.
    is_tuned : bool
        Set to True while labels train it. Without them, critics and prior see the
        summary alone where there is one, so that a pass in training may return it as
        global features too.
    has_fixed_part : bool
        Whether training leaves global and local features as they are. Then
        ``view_fixed(batch, seed, augment)`` encodes the views that training sees, only
        once, and ``finish(fixed)`` returns the Features that are made of a view.
    is_static : bool
        Whether a pass in training (`finish` where there is a fixed part) does the same
        operations whatever the values are, and waits for none. Then the training step
        is recorded on a GPU, and replayed.
    epochs : float
        Factor of the number of epochs that ``max_iter="auto"`` stands for, small where
        what is trained is little.
    n_first : int or None
        Number of samples that `learn_first` wants however large they are; None takes
        2,000, fewer of large ones.

    Examples
    --------
    >>> import torch
    >>> class Linear(Encoder):
    ...     kinds = ("table",)
    ...
    ...     def __init__(self, input_shape, n_components):
    ...         super().__init__()
    ...         self.linear = torch.nn.Linear(*input_shape, n_components)
    ...
    ...     def forward(self, batch):
    ...         global_ = self.linear(batch)
    ...         return Features(global_, None, None, local=batch.unsqueeze(1))
    >>> Linear((30,), 16)(torch.zeros(2, 30)).global_.shape
    torch.Size([2, 16])
    """

    kinds: tuple[str, ...] = KINDS
    min_side: int = 1
    any_length: bool = False
    needs_head: bool = False
    view_scale: float | None = None
    is_mirrored: bool = False
    is_tuned: bool = False
    has_fixed_part: bool = False
    is_static: bool = False
    epochs: float = 1.0
    n_first: int | None = None

    @staticmethod
    def full_width(input_shape: tuple[int, ...]) -> int:
        """Return the number of components that ``n_components=None`` stands for.

        Where it depends on settings of the encoder, it takes these by their names.

        Parameters
        ----------
        input_shape : tuple of int
            ``(d,)``, ``(c, l)`` or ``(c, h, w)``.

        Returns
        -------
        int
        """
        return N_COMPONENTS

    def learn_first(
        self, batch: Tensor, seed: int, augment: Augment | None
    ) -> FixedViews | None:
        """Choose weights that suit the samples, before training; by default none.

        Parameters
        ----------
        batch : Tensor of shape ``(n, *input_shape)``
            Some of the training samples, scaled.
        seed : int
            Seeds what is drawn.
        augment : callable or None
            Makes views, ``augment(batch, generator)``; None where there is one view.

        Returns
        -------
        FixedViews or None
            What `view_fixed` would return for the same arguments, if it is known now.
        """
        return None

    def learn_last(self, batch: Tensor, seed: int, augment: Augment | None) -> None:
        """Choose weights that no gradient trains, after training; by default none.

        Where `has_fixed_part`, training changed nothing of it, and it is not called. It
        is after each chunk of `partial_fit`.

        Parameters
        ----------
        batch : Tensor of shape ``(n, *input_shape)``
            Some of the training samples, scaled.
        seed : int
            Seeds what is drawn.
        augment : callable or None
            Makes views, ``augment(batch, generator)``; None where there is one view.
        """

    def learn_scaling(self, mean: Tensor, std: Tensor) -> None:
        """Take note of how samples are scaled; by default it does not matter.

        Parameters
        ----------
        mean, std : Tensor of shape (c, 1, ...) or (d,)
            A sample is ``batch * std + mean``.
        """

    def rate_factor(self, name: str) -> float:
        """Return the factor of a parameter's learning rate; by default 1.

        Parameters
        ----------
        name : str
            Of the parameter in the encoder.

        Returns
        -------
        float
        """
        return 1.0

    def view_fixed(
        self, batch: Tensor, seed: int, augment: Augment | None
    ) -> FixedViews:
        """Return what the fixed part makes of views of the samples, if there is one.

        Parameters
        ----------
        batch : Tensor of shape ``(n, *input_shape)``
            Some of the training samples, scaled.
        seed : int
            Seeds the choice of samples and the views.
        augment : callable or None
            Makes views, ``augment(batch, generator)``; None where there is one view.

        Returns
        -------
        FixedViews
        """
        raise NotImplementedError("an encoder with has_fixed_part defines view_fixed")

    def finish(self, fixed: Tensor) -> Features:
        """Return the features that are made of a view that `view_fixed` returned.

        Parameters
        ----------
        fixed : Tensor of shape (n, k)
            What the fixed part made of views of n samples.

        Returns
        -------
        Features
        """
        raise NotImplementedError("an encoder with has_fixed_part defines finish")


_DEFAULT = Encoder()


def trait(encoder: Any, name: str) -> Any:
    """Return an attribute of an encoder or of what builds it, else the default."""
    while isinstance(encoder, partial):
        encoder = encoder.func
    return getattr(encoder, name, getattr(_DEFAULT, name))


def full_width(encoder: Any, input_shape: tuple[int, ...]) -> int:
    """Return the full width of what an encoder with these settings is built by."""
    width_of = trait(encoder, "full_width")
    settings: dict[str, Any] = {}
    while isinstance(encoder, partial):
        settings = encoder.keywords | settings
        encoder = encoder.func
    known = signature(width_of).parameters
    taken = {name: value for name, value in settings.items() if name in known}
    width = width_of(input_shape, **taken)
    return _DEFAULT.full_width(input_shape) if width is None else width


@contextmanager
def tuned(encoder: nn.Module) -> Iterator[None]:
    """Tell an encoder that labels train it, if it makes a difference."""
    if not hasattr(encoder, "is_tuned"):
        yield
        return
    # To mypy every attribute of a module is a tensor or a module.
    encoder.is_tuned = True  # type: ignore[assignment]
    try:
        yield
    finally:
        encoder.is_tuned = False  # type: ignore[assignment]


def plural(kinds: Iterable[str]) -> str:
    """Join kinds of samples to words of a sentence."""
    return " and ".join({"table": "tables", "image": "images"}.get(k, k) for k in kinds)


def why_not(encoder: Any, input_shape: tuple[int, ...]) -> str | None:
    """Say why an encoder cannot take samples of this shape, None where it can."""
    kind = KINDS[len(input_shape) - 1]
    kinds, min_side = trait(encoder, "kinds"), trait(encoder, "min_side")
    if kind not in kinds:
        return f"it takes {plural(kinds)}"
    if kind != "table" and min(input_shape[1:]) < min_side:
        return f"each side must be at least {min_side}"
    return None


def check_shape(encoder: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Raise a ValueError where an encoder that is being built cannot take the shape."""
    reason = why_not(encoder, input_shape)
    if reason:
        kind = KINDS[len(input_shape) - 1]
        raise ValueError(
            f"{type(encoder).__name__} cannot take {kind} samples of shape "
            f"{tuple(input_shape)}: {reason}."
        )
