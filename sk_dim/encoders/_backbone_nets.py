"""Backbones: nets of other libraries, their weights from files, and their maps.

This module imports nothing of its own package.
"""

import copy
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

# Of ImageNet's photographs, by which most nets were trained; of values from 0 to 1.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = 224  # pixels, where a net does not say what it was trained on

Backbone = str | nn.Module | Callable[[], nn.Module]

# The maps of the call of a net that runs in this thread, by the names of modules.
_kept: ContextVar[dict[str, Tensor] | None] = ContextVar("kept", default=None)


class Pretraining(NamedTuple):
    """How images were when a net was trained."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    side: int


class FoundMap(NamedTuple):
    """A module of a net that returns a map, and the shape (c, h, w) of the map."""

    name: str
    shape: tuple[int, ...]


def build_net(backbone: Backbone) -> nn.Module:
    """Return a net of its own: by its name in timm, by a factory, or as a copy.

    Raises
    ------
    ImportError
        Where timm is not installed.
    TypeError or ValueError
        For what is no net.
    """
    if isinstance(backbone, str):
        return _build_of_timm(backbone)
    if isinstance(backbone, nn.Module):
        return copy.deepcopy(backbone)
    if not callable(backbone):
        raise TypeError(
            f"backbone={backbone!r:.60} is {type(backbone).__name__}; give a name of a "
            "model of timm, a torch.nn.Module, or a function without parameters that "
            "returns one."
        )
    try:
        inspect.signature(backbone).bind()
    except TypeError as error:
        raise TypeError(
            f"backbone={backbone!r:.60} cannot be called without parameters: {error}; "
            "give them by functools.partial."
        ) from None
    except ValueError:  # it tells no parameters
        pass
    net = backbone()
    if not isinstance(net, nn.Module):
        raise TypeError(
            f"backbone returned {type(net).__name__}; a function for backbone takes no "
            "parameters and must return a torch.nn.Module."
        )
    return net


def _build_of_timm(name: str) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f"backbone={name!r} is looked up in timm, which is not installed; run "
            "'pip install timm', or give a torch.nn.Module."
        ) from error
    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:5]
        hint = f"; did you mean {', '.join(map(repr, near))}" if near else ""
        raise ValueError(
            f"backbone={name!r} is no model of timm{hint}; timm.list_models() names "
            "them all."
        )
    return timm.create_model(name)


def pretraining_of(net: nn.Module) -> Pretraining:
    """Return what a net says about its training, as those of timm do, or ImageNet's."""
    told: Any = getattr(net, "pretrained_cfg", None)
    if not isinstance(told, Mapping):
        return Pretraining(IMAGENET_MEAN, IMAGENET_STD, SIDE)
    side = told.get("input_size", (3, SIDE, SIDE))[-1]
    mean, std = told.get("mean", IMAGENET_MEAN), told.get("std", IMAGENET_STD)
    return Pretraining(tuple(mean), tuple(std), side)


def count_channels(net: nn.Module) -> int:
    """Return how many channels the first convolution of a net takes."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    raise ValueError(
        f"backbone={type(net).__name__} has no torch.nn.Conv2d, so it makes no maps of "
        "images; give a convolutional net."
    )


# Weights


def load_weights(net: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load the weights of a net from a file of torch or safetensors.

    A classifier that only the file has, at its end, is left out. Where names differ, as
    between libraries that have the same net, tensors are taken in their order, if their
    shapes are the same.

    Raises
    ------
    FileNotFoundError
        Without such a file.
    ValueError
        If it holds no weights of this net.
    """
    state = _read_weights(Path(path))
    own = net.state_dict()
    if not own.keys() <= state.keys():
        state = _rename(state, own, path)
    wrong = [name for name in own if state[name].shape != own[name].shape]
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"weights={str(path)!r} does not suit the backbone: {name} has shape "
            f"{tuple(state[name].shape)} there and {tuple(own[name].shape)} in the "
            "net; give the file of this very net."
        )
    net.load_state_dict({name: state[name] for name in own})


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a file, without what training wraps around them."""
    if not path.is_file():
        raise FileNotFoundError(
            f"weights={str(path)!r} is no file; download the weights of the backbone "
            "and give the path of the file (.pth, .pt, .bin or .safetensors)."
        )
    problem = "holds no weights of torch"
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise ImportError(
            f"weights={str(path)!r} is read by safetensors, which is not installed; "
            "run 'pip install safetensors'."
        ) from error
    except Exception as error:
        raise ValueError(
            f"weights={str(path)!r} {problem}: {error!s:.200}; save a state_dict of "
            "the net by torch.save."
        ) from error
    for wrapper in ("state_dict", "model", "model_state_dict"):
        inner: Any = state.get(wrapper) if isinstance(state, dict) else None
        state = inner if isinstance(inner, dict) else state
    tensors = {}
    if isinstance(state, dict):
        tensors = {str(k): v for k, v in state.items() if isinstance(v, Tensor)}
    if not tensors:
        raise ValueError(
            f"weights={str(path)!r} {problem}; save a state_dict of the net by "
            "torch.save."
        )
    # As torch's DataParallel and compile name them.
    for prefix in ("module.", "_orig_mod."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {k.removeprefix(prefix): v for k, v in tensors.items()}
    return tensors


def _rename(
    state: dict[str, Tensor], own: dict[str, Tensor], path: Any
) -> dict[str, Tensor]:
    """Return the tensors of a file by the names of a net, in order, if shapes agree."""
    for (name, ours), (theirs, tensor) in zip(own.items(), state.items(), strict=False):
        if ours.shape != tensor.shape:
            raise ValueError(
                f"weights={str(path)!r} does not suit the backbone: names differ, and "
                f"in their order {name} {tuple(ours.shape)} of the net meets {theirs} "
                f"{tuple(tensor.shape)}; give the file of this very net."
            )
    if len(state) < len(own):
        raise ValueError(
            f"weights={str(path)!r} does not suit the backbone: it holds {len(state)} "
            f"tensors, and the net has {len(own)}; give the file of this very net."
        )
    return dict(zip(own, state.values(), strict=False))


# Maps


class Trace:
    """What the modules of a net return for an image, in the order they are done.

    Parameters
    ----------
    net : nn.Module
        In evaluation mode.
    shape : tuple of int
        Of an image that it takes, ``(c, h, w)``.

    Attributes
    ----------
    outputs : dict of str to tuple of int or None
        Shape of the map ``(c, h, w)`` that each module returns, None of what is none.
    """

    def __init__(self, net: nn.Module, shape: tuple[int, ...]) -> None:
        self.net = net
        self.shape = shape
        self.outputs: dict[str, tuple[int, ...] | None] = {}
        hooks = [
            module.register_forward_hook(partial(self._note, name))
            for name, module in net.named_modules()
        ]
        try:
            with torch.no_grad():
                net(torch.zeros(1, *shape))
        finally:
            for hook in hooks:
                hook.remove()

    def _note(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        self.outputs.pop(name, None)  # of what runs twice, the last counts
        is_map = isinstance(output, Tensor) and output.ndim == 4
        self.outputs[name] = tuple(output.shape[1:]) if is_map else None

    def last_maps(self) -> list[FoundMap]:
        """Return the last map of each resolution, the finest first.

        A map inside of a block that ends at another resolution is not one of them: it
        is half of that block's work.
        """
        last: dict[tuple[int, ...], FoundMap] = {}
        for name, shape in self.outputs.items():
            if shape is not None and self._is_whole(name, shape[1:]):
                last[shape[1:]] = FoundMap(name, shape)
        found = sorted(last.values(), key=lambda each: -each.shape[1] * each.shape[2])
        if not found:
            raise ValueError(
                f"backbone={type(self.net).__name__} makes no map (n, c, h, w) of an "
                f"image of shape {self.shape}; give a convolutional net, or a larger "
                "size."
            )
        return found

    def _is_whole(self, name: str, sides: tuple[int, ...]) -> bool:
        """Whether all blocks around a map of these sides end at them, if at a map."""
        around = [self.outputs.get(block) for block in _blocks_around(self.net, name)]
        is_alike = all(shape is None or shape[1:] == sides for shape in around)
        return sides != (1, 1) and is_alike

    def position(self, name: str) -> float:
        """Return when a module is done, from 0 to 1; 2 of one that is not called."""
        names = list(self.outputs)
        return names.index(name) / len(names) if name in self.outputs else 2.0


def _blocks_around(net: nn.Module, name: str) -> Iterator[str]:
    """Yield the names of modules that hold one of this name, but for mere chains."""
    parts = name.split(".")
    for n_parts in range(len(parts)):
        outer = ".".join(parts[:n_parts])
        if type(net.get_submodule(outer)) is not nn.Sequential:
            yield outer


def keep_outputs(net: nn.Module, names: Iterable[str]) -> None:
    """Let modules keep their outputs for `run_net`."""
    for name in set(names):
        net.get_submodule(name).register_forward_hook(partial(_keep, name))


def _keep(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
    kept = _kept.get()
    if kept is not None:
        kept[name] = output


def run_net(net: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    """Run a net, and return the outputs that its modules keep, by their names."""
    kept: dict[str, Tensor] = {}
    token = _kept.set(kept)
    try:
        net(batch)
    finally:
        _kept.reset(token)
    return kept
