"""From the names a user typed to the net that is built of their parts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from sk_dim._devices import seeded
from sk_dim._inputs._formats import InputFormat
from sk_dim._training._net import InfomaxNet
from sk_dim._validation import check_choice, check_integer, check_name, check_weights
from sk_dim.augmentations import (
    AUGMENTATIONS,
    KINDS,
    Compose,
    corrupt,
    crop,
    flip,
    natural,
    noise,
    unwrap,
    warp,
)
from sk_dim.bounds import BOUNDS
from sk_dim.critics import CRITICS
from sk_dim.encoders import ENCODERS
from sk_dim.encoders._contract import Features, full_width, plural, trait, why_not
from sk_dim.encoders._lengths import split_lengths, view_lengths
from sk_dim.objective import Objective
from sk_dim.priors import PRIORS

AUTO_ENCODERS = (
    "series",
    "patch",
    "conv",
    "mlp",
)  # "auto" is the first that takes the samples
DEFAULTS: dict[str, Callable] = {
    "table": corrupt,
    "image": Compose((crop, noise)),
    # Kernels of many time scales forget more than this and know less.
    "series": Compose((partial(crop, min_area=0.9), warp)),
}
MAX_PARAMETERS = 2**28  # that n_components adds: 1 GiB, and in training many times that
CHECKED_WIDTH = 4096  # above which parameters are counted first


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
        n_components = _choose_width(params["n_components"], encoder, fmt)
        any_length = fmt.kind == "series" and trait(encoder, "any_length")
        return cls(
            fmt=replace(fmt, any_length=any_length),
            n_components=n_components,
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

    def build(self, device: torch.device, precision: str, seed: int) -> InfomaxNet:
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
                is_flipped = any(unwrap(v) in (flip, natural) for v in self._views)
                # To mypy every attribute of a module is a tensor or a module.
                encoder.is_mirrored = is_flipped  # type: ignore[assignment]
            # Its forward, because a call would compile an encoder that is to be.
            with torch.no_grad():
                features = encoder.eval().forward(torch.zeros(2, *shape))
            features = _check_features(features, self.n_components)
            objective = Objective(
                features,
                self.n_views,
                self.bound,
                self.critic,
                self.prior,
                self.weights,
                has_head=trait(encoder, "needs_head"),
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
            augment=self.view,
            precision=precision,
            seed=seed,
            has_own_parts=self.has_own_parts,
            has_own_views=self.has_own_views,
            layer_shapes={k: tuple(v.shape[1:]) for k, v in features.layers().items()},
            device=device,
            train_split=None,
            verbose=0,
        ).initialize()

    @property
    def view(self) -> Callable[[Tensor, torch.Generator], Tensor] | None:
        """Makes a view of a batch, also of series of unequal length."""
        if self.augment is None or not self.fmt.any_length:
            return self.augment
        return partial(view_lengths, self.augment)

    @property
    def _views(self) -> tuple[Callable | None, ...]:
        """The augmentations that make a view, one after the other."""
        augment = self.augment
        return augment.augmentations if isinstance(augment, Compose) else (augment,)

    @property
    def has_own_parts(self) -> bool:
        """Whether a part is the user's own; settings of sk_dim's are not."""
        parts: tuple[tuple[Any, Mapping[str, Any]], ...] = (
            (self.encoder, ENCODERS),
            (self.critic, CRITICS),
            (self.bound, BOUNDS),
        )
        is_own = any(unwrap(part) not in known.values() for part, known in parts)
        return is_own or self.has_own_views

    @property
    def has_own_views(self) -> bool:
        """Whether an augmentation is the user's own; settings of sk_dim's are not."""
        known = (None, *AUGMENTATIONS.values())
        return any(unwrap(view) not in known for view in self._views)

    def check_unchanged(self, other: Self) -> None:
        """Raise a ValueError if `other` would be another net."""
        names = [field.name for field in fields(self)]
        changed = [
            name
            for name in names
            if _comparable(getattr(self, name)) != _comparable(getattr(other, name))
        ]
        if changed:
            raise ValueError(
                f"{' and '.join(changed)} changed since the net was built, but "
                "training can only go on with the same net; set it back, or fit anew "
                "with warm_start=False."
            )


def _comparable(part: Any) -> Any:
    """Return what parts of equal settings have equal, as copies of a partial have."""
    if isinstance(part, partial):
        return partial, _comparable(part.func), part.args, part.keywords
    if isinstance(part, Compose):
        return [_comparable(each) for each in part.augmentations]
    return part


def _choose_encoder(encoder: Any, fmt: InputFormat) -> Callable:
    if _is(encoder, "auto"):
        fits = (n for n in AUTO_ENCODERS if not why_not(ENCODERS[n], fmt.shape))
        return ENCODERS[next(fits)]
    build = check_choice("encoder", encoder, ENCODERS)
    reason = why_not(build, fmt.shape)
    if reason:
        name = repr(encoder) if isinstance(encoder, str) else _name(encoder)
        raise ValueError(
            f"encoder={name} cannot take {fmt.kind} samples of shape {fmt.shape}: "
            f"{reason}; use encoder='auto', or say with input_type and input_shape "
            "what X holds."
        )
    return build


def _choose_width(n_components: Any, encoder: Callable, fmt: InputFormat) -> int:
    if n_components is None:
        return full_width(encoder, fmt.shape)
    width = check_integer("n_components", n_components, 1, also="None")
    if width > CHECKED_WIDTH and unwrap(encoder) in ENCODERS.values():
        _check_width(width, encoder, fmt.shape)
    return width


def _check_width(width: int, encoder: Callable, shape: tuple[int, ...]) -> None:
    """Raise a ValueError where so many components would not fit in memory."""

    def count(n_components: int) -> int:
        """Count parameters and buffers of an encoder, which is not built for it."""
        with torch.device("meta"):
            built = encoder(shape, n_components)
        return sum(each.numel() for each in (*built.parameters(), *built.buffers()))

    def fits(n_components: int) -> bool:
        return count(n_components) - least <= MAX_PARAMETERS

    least = count(1)
    if fits(width):
        return
    low, high = 1, width
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    raise ValueError(
        f"n_components={width} needs more than {4 * MAX_PARAMETERS >> 30} GiB of "
        f"parameters, and many times that in training; samples of shape "
        f"{shape} can have up to {low} with this encoder."
    )


def _choose_augment(augment: Any, kind: str) -> Callable | None:
    if augment is None:
        return None
    if _is(augment, "auto"):
        return DEFAULTS[kind]
    if isinstance(augment, tuple | list):
        if not augment:
            raise ValueError(
                "augment=() makes no views; use augment=None to train on one view."
            )
        return Compose(tuple(_choose_one_augment(each, kind) for each in augment))
    return _choose_one_augment(augment, kind)


def _choose_one_augment(augment: Any, kind: str) -> Callable:
    chosen = check_choice("augment", augment, AUGMENTATIONS)
    own = [name for name, view in AUGMENTATIONS.items() if view is unwrap(chosen)]
    if own and kind not in KINDS.get(own[0], (kind,)):
        fitting = [name for name in AUGMENTATIONS if kind in KINDS.get(name, (kind,))]
        name = repr(augment) if isinstance(augment, str) else _name(augment)
        raise ValueError(
            f"augment={name} makes views of {plural(KINDS[own[0]])}, not of "
            f"{plural((kind,))}; use {', '.join(map(repr, fitting))}, None or a "
            "callable, or say with input_type and input_shape what X holds."
        )
    return chosen


def _name(part: Any) -> str:
    """Return the name of a class or function, behind its settings."""
    part = unwrap(part)
    return getattr(part, "__name__", repr(part))


def _is(value: Any, name: str) -> bool:
    """Whether `value` is this string; an array as a parameter must not be compared."""
    return isinstance(value, str) and value == name


def _check_features(features: Any, n_components: int) -> Features:
    """Return what an encoder made of two samples, if it is what it must be."""
    expected = (
        "its forward must return Features(global_, hidden, conv, local) with global_ "
        "(n, n_components) and local (n, channels, ...), see sk_dim.encoders"
    )
    names = Features._fields
    if not isinstance(features, tuple) or len(features) not in (4, 5):
        raise TypeError(f"the encoder returned {type(features).__name__}; {expected}.")
    features = Features(*features)
    for name, layer in zip(names, features, strict=True):
        is_missing = layer is None and name in ("hidden", "conv", "summary")
        if not isinstance(layer, Tensor) and not is_missing:
            raise TypeError(
                f"the encoder returned {type(layer).__name__} as {name} features; "
                f"{expected}."
            )
    shapes = {
        n: tuple(f.shape) for n, f in zip(names, features, strict=True) if f is not None
    }
    wrong = [name for name, shape in shapes.items() if shape[:1] != (2,)]
    if shapes["global_"] != (2, n_components) or len(shapes["local"]) < 2 or wrong:
        raise ValueError(
            f"for 2 samples the encoder returned global features of shape "
            f"{shapes['global_']} and local ones of shape {shapes['local']} with "
            f"n_components={n_components}"
            + (f", and {wrong[0]} ones of shape {shapes[wrong[0]]}" if wrong else "")
            + f"; {expected}."
        )
    return features


def check_augment(
    augment: Callable[[Tensor, torch.Generator], Tensor], batch: Tensor, seed: int
) -> None:
    """Raise a ValueError unless a view is like its batch, which it left as it was."""
    if batch.ndim == 3:
        _, batch = next(split_lengths(batch))
    before = batch.clone()
    view = augment(batch, torch.Generator(batch.device).manual_seed(seed))
    expected = (
        f"a tensor of shape {tuple(batch.shape)}, {batch.dtype}, on {batch.device}"
    )
    problem = None
    if not isinstance(view, Tensor):
        problem = f"returned {type(view).__name__}"
    elif (view.shape, view.dtype, view.device) != (
        before.shape,
        before.dtype,
        before.device,
    ):
        shape = tuple(view.shape)
        problem = f"returned one of shape {shape}, {view.dtype}, on {view.device}"
    elif not bool(view.isfinite().all()):
        problem = "returned values that are not finite"
    elif not torch.equal(batch, before):
        problem = "changed it in place, so that both views would be the same"
    if problem:
        raise ValueError(
            f"augment={_name(augment)} got {expected} and {problem}; it must return a "
            "finite view of the same shape, dtype and device as a new tensor."
        )
