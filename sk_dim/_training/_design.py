"""From the names a user typed to the net that is built of their parts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from sk_dim._devices import seeded
from sk_dim._inputs._formats import InputFormat
from sk_dim._training._choices import (
    choose_augment,
    choose_encoder,
    choose_tasks,
    choose_width,
    name_of,
)
from sk_dim._training._net import InfomaxNet
from sk_dim._validation import check_choice, check_name, check_weights
from sk_dim.augmentations import AUGMENTATIONS, Compose, flip, natural, unwrap
from sk_dim.bounds import BOUNDS
from sk_dim.critics import CRITICS
from sk_dim.encoders import ENCODERS
from sk_dim.encoders._contract import Features, trait
from sk_dim.encoders._lengths import split_lengths, view_lengths
from sk_dim.objective import Objective
from sk_dim.priors import PRIORS
from sk_dim.tasks import TASKS


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
    hide: Callable[[Tensor, torch.Generator], Tensor] | None = None
    tasks: Mapping[str, Callable[..., torch.nn.Module]] | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, Any], fmt: InputFormat) -> Self:
        """Look up the names in an estimator's parameters, refusing unknown ones."""
        augment, hide = choose_augment(params["augment"], fmt.kind)
        n_views = 1 if augment is None else 2
        tasks, of_tasks = choose_tasks(params["tasks"], fmt.kind, n_views)
        weights = check_weights(
            params["local_weight"],
            params["global_weight"],
            params["prior_weight"],
            of_tasks,
        )
        prior = check_name("prior", params["prior"], PRIORS)
        if prior == "noise" and not (weights["local"] or weights["global"]):
            raise ValueError(
                "prior='noise' acts through the local and the global term, and both "
                "their weights are zero; make one of them positive."
            )
        encoder = choose_encoder(params["encoder"], fmt)
        n_components = choose_width(params["n_components"], encoder, fmt)
        any_length = fmt.kind == "series" and trait(encoder, "any_length")
        return cls(
            fmt=replace(fmt, any_length=any_length),
            n_components=n_components,
            encoder=encoder,
            critic=check_choice("critic", params["critic"], CRITICS),
            bound=check_choice("bound", params["bound"], BOUNDS),
            prior=prior,
            weights=weights,
            augment=augment,
            hide=hide,
            tasks=tasks,
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
            self._check_trained(encoder)
            objective = Objective(
                features,
                self.n_views,
                self.bound,
                self.critic,
                self.prior,
                self.weights,
                has_head=trait(encoder, "needs_head"),
                tasks=self.tasks,
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
            hide=self.hide,
            precision=precision,
            seed=seed,
            has_own_parts=self.has_own_parts,
            has_own_views=self.has_own_views,
            layer_shapes={k: tuple(v.shape[1:]) for k, v in features.layers().items()},
            device=device,
            train_split=None,
            verbose=0,
        ).initialize()

    def _check_trained(self, encoder: torch.nn.Module) -> None:
        """Raise a ValueError where what is asked for would train nothing."""
        if not trait(encoder, "has_fixed_part"):
            return
        asked = [f"tasks={name!r}" for name in self.tasks or ()]
        asked += ["augment='occlude'"] if self.hide is not None else []
        if asked:
            raise ValueError(
                f"{asked[0]} would train nothing: {type(encoder).__name__} leaves its "
                "local and global features as they are; leave it out, or use another "
                "encoder, such as encoder='conv'."
            )

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
            *((task, TASKS) for task in (self.tasks or {}).values()),
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
            f"augment={name_of(augment)} got {expected} and {problem}; it must return "
            "a finite view of the same shape, dtype and device as a new tensor."
        )
