"""Backbones: nets of other libraries, their weights from files, and their maps.

This module imports nothing of its own package.
"""

import copy
import inspect
import os
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

# Of ImageNet's photographs, by which most nets were trained; of values from 0 to 1.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COUNTER = "num_batches_tracked"  # of batch norms, by the last part of its name
SIDE = 224  # pixels, where a net does not say what it was trained on

MOST_BEHIND = 6  # modules with weights behind the last map, as classifiers have
RATIO_OF_TRUNK = 4  # of sides of maps in what is no block but holds several

Backbone = str | nn.Module | Callable[[], nn.Module]

# The maps of the call of a net that runs in this thread, by the names of modules.
_kept: ContextVar[dict[str, list[Tensor]] | None] = ContextVar("kept", default=None)


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
        return copy.deepcopy(backbone).float()
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
    return net.float()


def _build_of_timm(name: str) -> nn.Module:
    try:
        import timm
    except Exception as error:  # torchvision of another torch raises a RuntimeError
        raise ImportError(
            f"backbone={name!r} is looked up in timm, which cannot be imported "
            f"({error!s:.100}); run 'pip install timm', or give a torch.nn.Module."
        ) from error
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models())
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
    """Return how many channels a net takes: what it says, or its first convolution."""
    told: Any = getattr(net, "pretrained_cfg", None)
    if isinstance(told, Mapping) and "input_size" in told:
        return told["input_size"][0]
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    raise ValueError(
        f"backbone={type(net).__name__} has no torch.nn.Conv2d, so it makes no maps of "
        "images; give a convolutional net in Python, not of TorchScript."
    )


# Weights


def load_weights(
    net: nn.Module, path: str | os.PathLike[str], needed: Iterable[str]
) -> None:
    """Load the weights of a net from a file of torch or safetensors.

    Only the named ones must be there; a classifier behind the maps may be missing or
    another. Where names differ, as between libraries that have the same net, tensors
    are taken in their order, if shapes and the last parts of names are the same.

    Raises
    ------
    FileNotFoundError
        Without such a file.
    ValueError
        If it holds no weights of this net.
    """
    state = _read_weights(path)
    own = net.state_dict()
    # Files of old versions of torch lack them, and nothing depends on them.
    state = {k: v for k, v in state.items() if not k.endswith(COUNTER)}
    wanted = {k: own[k] for k in needed if not k.endswith(COUNTER)}
    state = _without_prefix(state, wanted)
    if not wanted.keys() <= state.keys():
        state = _rename(state, wanted, path)
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            raise ValueError(
                f"weights={str(path)!r} does not suit the backbone: {name} has shape "
                f"{tuple(state[name].shape)} there and {tuple(tensor.shape)} in the "
                "net; give the file of this very net."
            )
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    net.load_state_dict(fitting, strict=False)


def _read_weights(given: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the named tensors of a file, without what training wraps around them."""
    path = Path(given).expanduser()
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no file"
        raise FileNotFoundError(
            f"weights={str(given)!r} is {what}; download the weights of the backbone "
            "and give the path of the file (.pth, .pt, .bin or .safetensors)."
        )
    problem = f"weights={str(given)!r} holds no weights of torch"
    advice = "save them by torch.save(net.state_dict(), path)."
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise ImportError(
            f"weights={str(given)!r} is read by safetensors, which is not installed; "
            "run 'pip install safetensors'."
        ) from error
    except pickle.UnpicklingError as error:
        if "Unsupported global" not in str(error):
            raise ValueError(f"{problem}; {advice}") from error
        raise ValueError(
            f"{problem} alone, but other objects, such as a whole module; {advice}"
        ) from error
    except Exception as error:  # there are many kinds, of what is broken
        raise ValueError(f"{problem} ({type(error).__name__}); {advice}") from error
    for wrapper in ("state_dict", "model", "model_state_dict"):
        inner: Any = state.get(wrapper) if isinstance(state, dict) else None
        state = inner if isinstance(inner, dict) else state
    tensors = {}
    if isinstance(state, dict):
        tensors = {str(k): v for k, v in state.items() if isinstance(v, Tensor)}
    if not tensors:
        raise ValueError(f"{problem}; {advice}")
    wrong = [k for k, v in tensors.items() if v.is_floating_point() and v.isnan().any()]
    if wrong:
        raise ValueError(f"weights={str(given)!r} holds NaN, in {wrong[0]}.")
    return tensors


def _without_prefix(
    state: dict[str, Tensor], wanted: Iterable[str]
) -> dict[str, Tensor]:
    """Take away what all wanted names of a file begin with, such as "module."."""
    names = list(wanted) or [""]
    prefixes = [k.removesuffix(names[0]) for k in state if k.endswith(names[0])]
    for prefix in prefixes:
        if all(prefix + name in state for name in names):
            return {
                k.removeprefix(prefix): v
                for k, v in state.items()
                if k.startswith(prefix)
            }
    return state


def _rename(
    state: dict[str, Tensor], own: dict[str, Tensor], path: Any
) -> dict[str, Tensor]:
    """Return the tensors of a file by the names of a net, in order, if they agree."""
    for (name, ours), (theirs, tensor) in zip(own.items(), state.items(), strict=False):
        is_alike = name.rpartition(".")[2] == theirs.rpartition(".")[2]
        if ours.shape != tensor.shape or not is_alike:
            raise ValueError(
                f"weights={str(path)!r} does not suit the backbone: names differ, and "
                f"in their order {name} {tuple(ours.shape)} of the net meets {theirs} "
                f"{tuple(tensor.shape)}; give the file of this very net."
            )
    if len(state) < len(own):
        raise ValueError(
            f"weights={str(path)!r} does not suit the backbone: it holds {len(state)} "
            f"tensors, and the net needs {len(own)}; give the file of this very net."
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
    begins, ends : dict of str to int
        How many calls are done when each module first begins, and last ends.
    n_calls : Counter
        How many times each is called.

    Raises
    ------
    ValueError
        If the net cannot take such an image.
    """

    def __init__(self, net: nn.Module, shape: tuple[int, ...]) -> None:
        self.net = net
        self.shape = shape
        self.outputs: dict[str, tuple[int, ...] | None] = {}
        self.begins: dict[str, int] = {}
        self.ends: dict[str, int] = {}
        self.n_calls: Counter[str] = Counter()
        hooks = []
        for name, module in net.named_modules():
            hooks.append(module.register_forward_pre_hook(partial(self._begin, name)))
            hooks.append(module.register_forward_hook(partial(self._note, name)))
        try:
            with torch.no_grad():
                net(torch.zeros(1, *shape))
        except Exception as error:  # whatever the modules of others raise
            sides = "x".join(map(str, shape[1:]))
            raise ValueError(
                f"backbone={type(net).__name__} cannot take images of {sides} pixels "
                f"and {shape[0]} channels ({error!s:.100}); give size=, the shorter "
                "side that it takes."
            ) from error
        finally:
            for hook in hooks:
                hook.remove()

    def _begin(self, name: str, module: nn.Module, inputs: Any) -> None:
        self.begins.setdefault(name, self.n_calls.total())

    def _note(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        self.n_calls[name] += 1
        self.ends[name] = self.n_calls.total()
        self.outputs.pop(name, None)  # of what runs twice, the last counts
        is_map = isinstance(output, Tensor) and output.ndim == 4
        self.outputs[name] = tuple(output.shape[1:]) if is_map else None

    def last_maps(self) -> list[FoundMap]:
        """Return the last map of each resolution, the finest first.

        A map inside of a block that ends at another resolution is not one of them: it
        is half of that block's work.
        """
        widths = {
            m.out_channels for m in self.net.modules() if isinstance(m, nn.Conv2d)
        }
        last: dict[tuple[int, ...], FoundMap] = {}
        for name, shape in self.outputs.items():
            if shape is None or not self._is_whole(name, shape[1:]):
                continue
            if shape[0] in widths or self._is_in_shape(shape[1:]):
                last[shape[1:]] = FoundMap(name, shape)
        found = sorted(last.values(), key=lambda each: -each.shape[1] * each.shape[2])
        # That of a transformer is what cuts the image into patches.
        if not found or self._count_behind(found[-1].name) > MOST_BEHIND:
            raise ValueError(
                f"backbone={type(self.net).__name__} makes no map (n, c, h, w) of an "
                f"image of shape {self.shape}, or only at its beginning, as "
                "transformers do; give a convolutional net, or a larger size."
            )
        return found

    def _count_behind(self, name: str) -> int:
        """Count modules of own weights that are done after another one."""
        names = list(self.outputs)
        behind = map(self.net.get_submodule, names[names.index(name) :])
        return sum(any(True for _ in m.parameters(recurse=False)) for m in behind)

    def _is_in_shape(self, sides: tuple[int, ...]) -> bool:
        """Whether sides are as those of the image, which those of tokens are not."""
        width = sides[0] * self.shape[2] / self.shape[1]
        return abs(sides[1] - width) <= 1 + width / 4

    def _is_whole(self, name: str, sides: tuple[int, ...]) -> bool:
        """Whether all blocks around a map of these sides end at them, if at a map."""
        around = [self.outputs.get(block) for block in self._blocks_around(name)]
        is_alike = all(shape is None or shape[1:] == sides for shape in around)
        return sides != (1, 1) and is_alike

    def _blocks_around(self, name: str) -> Iterator[str]:
        """Yield the names of blocks that hold a module: neither chains nor trunks."""
        parts = name.split(".")
        for n_parts in range(1, len(parts)):
            outer = ".".join(parts[:n_parts])
            is_chain = type(self.net.get_submodule(outer)) is nn.Sequential
            sides = [
                shape[1]
                for each, shape in self.outputs.items()
                if each.startswith(f"{outer}.") and shape and shape[1:] != (1, 1)
            ]
            is_trunk = bool(sides) and max(sides) >= RATIO_OF_TRUNK * min(sides)
            if not is_chain and not is_trunk:
                yield outer

    def position(self, name: str) -> float:
        """Return when a module is done, from 0 to 1; 2 of one that is not called."""
        names = list(self.outputs)
        return names.index(name) / len(names) if name in self.outputs else 2.0

    def needed(self, last: str) -> list[str]:
        """Return the names of weights that a map depends on, as far as can be told."""
        return [
            name
            for name in self.net.state_dict()
            if self.begins.get(name.rpartition(".")[0], 0) < self.ends[last]
        ]


class _Done(Exception):
    """Ends the call of a net whose last map is there."""


def keep_outputs(net: nn.Module, names: Sequence[str], n_calls: int) -> None:
    """Let modules keep their outputs for `run_net`.

    The last of them is the one that is done the last, when it was called so many times.
    """
    for name in set(names):
        hook = partial(_keep, name, n_calls if name == names[-1] else None)
        net.get_submodule(name).register_forward_hook(hook)


def _keep(
    name: str, n_calls: int | None, module: nn.Module, inputs: Any, output: Tensor
) -> None:
    kept = _kept.get()
    if kept is None:
        return
    kept.setdefault(name, []).append(output)
    # What is compiled or exported must end by itself.
    if len(kept[name]) == n_calls and not torch.compiler.is_compiling():
        raise _Done


def run_net(net: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    """Run a net up to its last map; return what its modules keep, by their names."""
    kept: dict[str, list[Tensor]] = {}
    token = _kept.set(kept)
    try:
        net(batch)
    except _Done:
        pass
    finally:
        _kept.reset(token)
    return {name: outputs[-1] for name, outputs in kept.items()}
