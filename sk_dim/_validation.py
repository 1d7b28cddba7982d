"""Checks of parameters, and warnings that blame the line of the user.

Every refusal is one sentence: what was given, what is allowed, what to do. This module
imports nothing of its own package.
"""

import inspect
import math
import numbers
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

# What lies between a line of the user and one of ours: decorators, searches, training.
HOSTS = ("sk_dim", "sklearn", "skorch", "joblib", "numpy", "torch", "contextlib")

CALLS = {  # arguments of callables that a user may pass
    "augment": "(batch, generator)",
    "bound": "(positive, negative)",
    "encoder": "(input_shape, n_components)",
}


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, and blame the first line outside this package and those that call it."""
    frame = sys._getframe(1)
    level = 2
    while frame.f_back is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in HOSTS:
            break
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


@contextmanager
def kept_on_failure(estimator: Any) -> Iterator[None]:
    """Give an estimator back as it was where a fit fails: no mixture of two fits."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))


def check_name(name: str, value: Any, allowed: Iterable[str]) -> Any:
    """Return `value`, which must be one of the `allowed` strings."""
    allowed = tuple(allowed)
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(
            f"{name}={value!r} is not known; expected one of {_quoted(allowed)}."
        )
    return value


def check_layer(layer: Any, shapes: Mapping[str, Any]) -> str:
    """Return the layer to output, which the encoder must have."""
    if not isinstance(layer, str) or layer not in shapes:
        raise ValueError(
            f"output_layer={layer!r} is not a layer of this encoder; it has "
            f"{_quoted(shapes)}."
        )
    return layer


def check_choice(
    name: str, value: Any, choices: Mapping[str, Any], *, also: tuple[str, ...] = ()
) -> Callable:
    """Return the callable that `value` names in `choices`, or `value` itself.

    `also` are names that the caller has looked for before.
    """
    if isinstance(value, str) and value in choices:
        return choices[value]
    if isinstance(value, torch.nn.Module):
        raise TypeError(
            f"{name}={type(value).__name__}(...) is a module, which fit would train in "
            f"place; pass the callable that builds it (its class, or a function)."
        )
    if callable(value):
        check_call(name, value, CALLS.get(name, "two arguments"), n_arguments=2)
        return value
    raise ValueError(
        f"{name}={value!r} is not known; expected one of "
        f"{_quoted((*also, *choices))}, or a callable."
    )


def check_call(name: str, function: Callable, how: str, n_arguments: int) -> None:
    """Raise a TypeError unless a function can be called with so many arguments.

    `how` says in the error what these are.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of functions that are written in C
        return
    try:
        signature.bind(*[None] * n_arguments)
    except TypeError as error:
        raise TypeError(
            f"{name} is called with {how}, but the function that was given takes "
            f"{signature} ({error}); change it, or wrap it in one that takes these."
        ) from error


def check_integer(
    name: str, value: Any, minimum: int, why: str = "", *, also: str | None = None
) -> int:
    """Return `value` as an int, which must be at least `minimum`.

    `also` is what the caller lets pass, for the error.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        other = "" if also is None else f", or {also}"
        raise TypeError(
            f"{name}={value!r} must be an integer of at least {minimum}{other}."
        )
    if value < minimum:
        raise ValueError(f"{name}={value!r}{why}; it must be at least {minimum}.")
    return int(value)


def check_integer_or_auto(name: str, value: Any, minimum: int, why: str = "") -> None:
    """Check that `value` is "auto" or an integer of at least `minimum`."""
    if not (isinstance(value, str) and value == "auto"):
        check_integer(name, value, minimum, why, also="'auto'")


def check_real(
    name: str,
    value: Any,
    *,
    minimum: float = 0.0,
    maximum: float = math.inf,
    exclusive: bool = False,
) -> float:
    """Return `value` as a float, which must be in the range."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}={value!r} must be a real number.")
    number = float(value)
    above = number > minimum if exclusive else number >= minimum
    if not (above and number < maximum):
        bounds = f"{'above' if exclusive else 'at least'} {minimum:g}"
        bounds += f" and below {maximum:g}" if maximum < math.inf else " and finite"
        raise ValueError(f"{name}={value!r} is out of range; it must be {bounds}.")
    return number


def check_weights(
    local_weight: Any,
    global_weight: Any,
    prior_weight: Any,
    of_tasks: Mapping[str, float],
) -> dict[str, float]:
    """Return the weights of terms and tasks, none negative and not all zero."""
    weights = {
        "local": check_real("local_weight", local_weight),
        "global": check_real("global_weight", global_weight),
        "prior": check_real("prior_weight", prior_weight),
        **of_tasks,
    }
    if not any(weights.values()):
        raise ValueError(
            "local_weight, global_weight and prior_weight are all zero, which leaves "
            "nothing to learn; at least one must be positive."
        )
    return weights
