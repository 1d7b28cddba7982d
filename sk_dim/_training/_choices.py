"""From what a user typed for a part to the callable that it stands for."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from sk_dim._inputs._formats import InputFormat
from sk_dim._training._progress import TERMS
from sk_dim._validation import check_call, check_choice, check_integer, check_real
from sk_dim.augmentations import (
    AUGMENTATIONS,
    KINDS,
    Compose,
    corrupt,
    crop,
    noise,
    occlude,
    unwrap,
    warp,
)
from sk_dim.encoders import ENCODERS
from sk_dim.encoders._contract import full_width, plural, why_not
from sk_dim.tasks import TASKS, trait

# "auto" is the first that takes the samples.
AUTO_ENCODERS = ("series", "patch", "conv", "mlp")
DEFAULTS: dict[str, Callable] = {
    "table": corrupt,
    "image": Compose((crop, noise)),
    # Kernels of many time scales forget more than this and know less.
    "series": Compose((partial(crop, min_area=0.9), warp)),
}
MAX_PARAMETERS = 2**28  # that n_components adds: 1 GiB, and in training many times that
CHECKED_WIDTH = 4096  # above which parameters are counted first


def choose_encoder(encoder: Any, fmt: InputFormat) -> Callable:
    """Return what builds the encoder, which must take the samples."""
    if _is(encoder, "auto"):
        fits = (n for n in AUTO_ENCODERS if not why_not(ENCODERS[n], fmt.shape))
        return ENCODERS[next(fits)]
    build = check_choice("encoder", encoder, ENCODERS, also=("auto",))
    reason = why_not(build, fmt.shape)
    if reason:
        name = repr(encoder) if isinstance(encoder, str) else name_of(encoder)
        raise ValueError(
            f"encoder={name} cannot take {fmt.kind} samples of shape {fmt.shape}: "
            f"{reason}; use encoder='auto', or say with input_type and input_shape "
            "what X holds."
        )
    return build


def choose_width(n_components: Any, encoder: Callable, fmt: InputFormat) -> int:
    """Return the number of components, which must fit in memory."""
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


def choose_augment(augment: Any, kind: str) -> tuple[Callable | None, Callable | None]:
    """Return what makes views, and what hides a part of them from the global path."""
    if augment is None:
        return None, None
    if not isinstance(augment, tuple | list):
        augment = (augment,)
    if not augment:
        raise ValueError(
            "augment=() makes no views; use augment=None to train on one view."
        )
    chosen = [_choose_one_augment(each, kind) for each in augment]
    seen = [each for each in chosen if unwrap(each) is not occlude]
    hides = [each for each in chosen if unwrap(each) is occlude]
    return _composed(seen), _composed(hides)


def _composed(augmentations: list[Callable]) -> Callable | None:
    if len(augmentations) < 2:
        return next(iter(augmentations), None)
    parts: list[Callable] = []
    for each in augmentations:
        parts += each.augmentations if isinstance(each, Compose) else (each,)
    return Compose(tuple(parts))


def _choose_one_augment(augment: Any, kind: str) -> Callable:
    if _is(augment, "auto"):
        return DEFAULTS[kind]
    chosen = check_choice("augment", augment, AUGMENTATIONS, also=("auto",))
    own = [name for name, view in AUGMENTATIONS.items() if view is unwrap(chosen)]
    if own and kind not in KINDS.get(own[0], (kind,)):
        fitting = [name for name in AUGMENTATIONS if kind in KINDS.get(name, (kind,))]
        name = repr(augment) if isinstance(augment, str) else name_of(augment)
        raise ValueError(
            f"augment={name} makes views of {plural(KINDS[own[0]])}, not of "
            f"{plural((kind,))}; use {', '.join(map(repr, fitting))}, None or a "
            "callable, or say with input_type and input_shape what X holds."
        )
    return chosen


def choose_tasks(
    tasks: Any, kind: str, n_views: int
) -> tuple[dict[str, Callable], dict[str, float]]:
    """Return what builds each task, and its weight, by names.

    Parameters
    ----------
    tasks : str, callable, tuple of them, or mapping of them to weights
        What the user gave.
    kind : str
        Of the samples.
    n_views : int
        Of each sample.
    """
    if isinstance(tasks, str) or callable(tasks):
        tasks = (tasks,)
    if not isinstance(tasks, tuple | list | Mapping):
        raise TypeError(
            f"tasks={tasks!r} must be a name, a tuple of names, or a dict with the "
            f"weight of each; known are {', '.join(map(repr, TASKS))}."
        )
    given = tasks if isinstance(tasks, Mapping) else dict.fromkeys(tasks, 1.0)
    found: dict[str, Callable] = {}
    weights = {}
    for task, weight in given.items():
        own = unwrap(task)
        name = task if isinstance(task, str) else getattr(own, "__name__", "")
        name = name or type(own).__name__
        if name in (*TERMS, "loss", *found):
            raise ValueError(
                f"two terms would be called {name!r}; the name of a task is that of "
                "its class or function, so give it another one."
            )
        found[name] = _choose_task(task, name, kind, n_views)
        weights[name] = check_real(f"tasks[{name!r}]", weight)
    return found, weights


def _choose_task(task: Any, name: str, kind: str, n_views: int) -> Callable:
    if isinstance(task, str) and task in TASKS:
        build: Callable = TASKS[task]
    elif callable(task) and not isinstance(task, torch.nn.Module):
        build = task
        check_call("a task", build, "(features, bound, critic)", n_arguments=3)
    else:
        raise ValueError(
            f"tasks={task!r} is not known; expected one of "
            f"{', '.join(map(repr, TASKS))}, or a callable that builds a task."
        )
    kinds = trait(build, "kinds")
    if kind not in kinds:
        raise ValueError(
            f"tasks={name!r} is for {plural(kinds)}, not for {plural((kind,))}; leave "
            "it out, or say with input_type and input_shape what X holds."
        )
    if n_views < trait(build, "n_views"):
        raise ValueError(
            f"tasks={name!r} compares two views of each sample, and augment makes "
            "none; use augment='auto', or another one than None and 'occlude'."
        )
    return build


def name_of(part: Any) -> str:
    """Return the name of a class or function, behind its settings."""
    part = unwrap(part)
    return getattr(part, "__name__", repr(part))


def _is(value: Any, name: str) -> bool:
    """Whether `value` is this string; an array as a parameter must not be compared."""
    return isinstance(value, str) and value == name
