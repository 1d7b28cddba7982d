"""From the names a user typed to the net that is built of their parts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from sk_dim._devices import seeded
from sk_dim._features import Features
from sk_dim._formats import InputFormat
from sk_dim._inputs import Scaling
from sk_dim._net import InfomaxNet
from sk_dim._validation import check_choice, check_integer, check_name, check_weights
from sk_dim.augmentations import (
    AUGMENTATIONS,
    Compose,
    corrupt,
    crop,
    flip,
    natural,
    noise,
)
from sk_dim.bounds import BOUNDS
from sk_dim.critics import CRITICS
from sk_dim.encoders import ENCODERS
from sk_dim.objective import Objective
from sk_dim.priors import PRIORS

TABLE_VIEWS = ("corrupt", "noise")
N_COMPONENTS = 1024  # where neither the user nor the encoder says
PATCH_MIN_SIDE = 16  # below which the "patch" encoder has no room


@dataclass(frozen=True)
class Design:
    """All that the make-up of a net depends on, to build it in fit and after loading.

    Strings end here: every part is the callable that its name stood for.
    """

    fmt: InputFormat
    n_components: int
    encoder: Callable[[tuple[int, ...], int], torch.nn.Module]
    critic: Callable[[int, int], torch.nn.Module]
    bound: Callable[[Tensor, Tensor], Tensor]
    prior: str
    weights: dict[str, float]
    augment: Callable[[Tensor, torch.Generator], Tensor] | None

    @classmethod
    def from_params(cls, params: Mapping[str, Any], fmt: InputFormat) -> Self:
        """Look up the names in an estimator's parameters, refusing unknown ones."""
        weights = check_weights(
            params["local_weight"], params["global_weight"], params["prior_weight"]
        )
        prior = check_name("prior", params["prior"], PRIORS)
        if prior == "noise" and not (weights["local"] or weights["global"]):
            raise ValueError(
                "prior='noise' acts through the local and the global term, and both "
                "their weights are zero; make one of them positive."
            )
        encoder = _choose_encoder(params["encoder"], fmt)
        return cls(
            fmt=fmt,
            n_components=_choose_width(params["n_components"], encoder, fmt),
            encoder=encoder,
            critic=check_choice("critic", params["critic"], CRITICS),
            bound=check_choice("bound", params["bound"], BOUNDS),
            prior=prior,
            weights=weights,
            augment=_choose_augment(params["augment"], fmt.kind),
        )

    @property
    def n_views(self) -> int:
        """Views of each sample."""
        return 1 if self.augment is None else 2

    def build(self, scaling: Scaling, precision: str, seed: int) -> InfomaxNet:
        """Build encoder, critics and prior, and the net that holds them."""
        shape = self.fmt.shape
        with seeded(seed, torch.device("cpu")):
            encoder = self.encoder(shape, self.n_components)
            if not isinstance(encoder, torch.nn.Module):
                raise TypeError(
                    f"encoder returned {type(encoder).__name__}; a callable for "
                    "encoder takes (input_shape, n_components) and must return a "
                    "torch.nn.Module."
                )
            if hasattr(encoder, "is_mirrored"):
                is_flipped = any(view in (flip, natural) for view in self._views)
                # To mypy every attribute of a module is a tensor or a module.
                encoder.is_mirrored = is_flipped  # type: ignore[assignment]
            with torch.no_grad():
                features = encoder.eval()(torch.zeros(2, *shape))
            features = _check_features(features, self.n_components)
            objective = Objective(
                features,
                self.n_views,
                self.bound,
                self.critic,
                self.prior,
                self.weights,
                has_head=getattr(encoder, "needs_head", False),
            )
            if self.fmt.kind == "image":
                # Faster on CPU and GPU; the type stubs of torch 2.13 lack this form.
                encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            # A dry run, for the sake of critics and bounds of the user.
            with torch.no_grad():
                objective.eval()([features] * self.n_views, None)
        return InfomaxNet(
            encoder,
            objective,
            scaling=scaling,
            augment=self.augment,
            precision=precision,
            seed=seed,
            is_ours=self.is_ours,
            layer_shapes={k: tuple(v.shape[1:]) for k, v in features.layers().items()},
            device=scaling.device,
            train_split=None,
            verbose=0,
        ).initialize()

    @property
    def _views(self) -> tuple[Callable | None, ...]:
        """The augmentations that make a view, one after the other."""
        augment = self.augment
        return augment.augmentations if isinstance(augment, Compose) else (augment,)

    @property
    def is_ours(self) -> bool:
        """Whether no part is the user's own."""
        return (
            self.encoder in ENCODERS.values()
            and self.critic in CRITICS.values()
            and self.bound in BOUNDS.values()
            and all(v is None or v in AUGMENTATIONS.values() for v in self._views)
        )

    def check_unchanged(self, other: Self) -> None:
        """Raise a ValueError if `other` would be another net."""
        names = [field.name for field in fields(self)]
        changed = [n for n in names if getattr(self, n) != getattr(other, n)]
        if changed:
            raise ValueError(
                f"{' and '.join(changed)} changed since the net was built, but "
                "training can only go on with the same net; set it back, or fit anew "
                "with warm_start=False."
            )


def _choose_encoder(encoder: Any, fmt: InputFormat) -> Callable:
    fitting = {"table": ["mlp"], "series": ["conv"], "image": ["conv"]}[fmt.kind]
    if fmt.kind != "table" and min(fmt.shape[1:]) >= PATCH_MIN_SIDE:
        fitting = ["patch", "conv"]
    build = check_choice(
        "encoder", fitting[0] if _is(encoder, "auto") else encoder, ENCODERS
    )
    if isinstance(encoder, str) and encoder not in ("auto", *fitting):
        raise ValueError(
            f"encoder={encoder!r} cannot take {fmt.kind} samples of shape {fmt.shape}; "
            "use encoder='auto', or say with input_type and input_shape what X holds."
        )
    return build


def _choose_width(n_components: Any, encoder: Callable, fmt: InputFormat) -> int:
    if n_components is not None:
        return check_integer("n_components", n_components, 1, or_none=True)
    while isinstance(encoder, partial):
        encoder = encoder.func
    full_width = getattr(encoder, "full_width", None)
    return N_COMPONENTS if full_width is None else full_width(fmt.shape)


def _choose_augment(augment: Any, kind: str) -> Callable | None:
    if augment is None:
        return None
    if _is(augment, "auto"):
        return corrupt if kind == "table" else Compose((crop, noise))
    if isinstance(augment, tuple | list):
        if not augment:
            raise ValueError(
                "augment=() makes no views; use augment=None to train on one view."
            )
        return Compose(tuple(_choose_one_augment(each, kind) for each in augment))
    return _choose_one_augment(augment, kind)


def _choose_one_augment(augment: Any, kind: str) -> Callable:
    chosen = check_choice("augment", augment, AUGMENTATIONS)
    if isinstance(augment, str) and kind == "table" and augment not in TABLE_VIEWS:
        raise ValueError(
            f"augment={augment!r} makes views of images and series, not of tables; use "
            f"{', '.join(map(repr, TABLE_VIEWS))}, None or a callable, or say with "
            "input_shape that the rows are images."
        )
    return chosen


def _is(value: Any, name: str) -> bool:
    """Whether `value` is this string; an array as a parameter must not be compared."""
    return isinstance(value, str) and value == name


def _check_features(features: Any, n_components: int) -> Features:
    """Return what an encoder made of two samples, if it is what it must be."""
    expected = (
        "its forward must return Features(global_, hidden, conv, local) with global_ "
        "(n, n_components) and local (n, channels, ...), see sk_dim.encoders"
    )
    if not isinstance(features, tuple) or len(features) not in (4, 5):
        raise TypeError(f"the encoder returned {type(features).__name__}; {expected}.")
    features = Features(*features)
    if tuple(features.global_.shape) != (2, n_components) or features.local.ndim < 2:
        raise ValueError(
            f"for 2 samples the encoder returned global features of shape "
            f"{tuple(features.global_.shape)} and local ones of shape "
            f"{tuple(features.local.shape)} with n_components={n_components}; "
            f"{expected}."
        )
    return features


def check_augment(
    augment: Callable[[Tensor, torch.Generator], Tensor], batch: Tensor, seed: int
) -> None:
    """Raise a ValueError unless a view has the shape, dtype and device of its batch."""
    view = augment(batch, torch.Generator(batch.device).manual_seed(seed))
    expected = (
        f"a tensor of shape {tuple(batch.shape)}, {batch.dtype}, on {batch.device}"
    )
    problem = None
    if not isinstance(view, Tensor):
        problem = type(view).__name__
    elif (view.shape, view.dtype, view.device) != (
        batch.shape,
        batch.dtype,
        batch.device,
    ):
        problem = f"one of shape {tuple(view.shape)}, {view.dtype}, on {view.device}"
    elif not bool(view.isfinite().all()):
        problem = "values that are not finite"
    if problem:
        name = getattr(augment, "__name__", repr(augment))
        raise ValueError(
            f"augment={name} got {expected} and returned {problem}; it must return a "
            "finite view of the same shape, dtype and device."
        )
