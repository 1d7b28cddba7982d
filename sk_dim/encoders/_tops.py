"""Tops of encoders: from the last map to the layer "hidden" and the global features."""

from typing import Any

from torch import Tensor, nn

CONVS = (nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def build_top(
    n_in: int,
    sides: tuple[int, ...],
    n_components: int,
    *,
    n_hidden: tuple[int, ...],
    is_map: bool,
) -> tuple[nn.Module, nn.Module]:
    """Build the layers on a map of `n_in` channels: up to "hidden", and above it.

    Parameters
    ----------
    n_in : int
        Channels of the map.
    sides : tuple of int
        Of the map.
    n_components : int
        Of the global features.
    n_hidden : tuple of int
        Units of fully connected layers.
    is_map : bool
        Whether the global features are a map. Then "hidden" are convolutions instead,
        which take one location off each end of a side.
    """
    if is_map:
        # As many sides as the class has axes, which its type stubs ask for.
        kernel: Any = tuple(min(3, side) for side in sides)
        conv, norm = CONVS[len(sides) - 1], NORMS[len(sides) - 1]
        hidden: nn.Module = nn.Sequential(
            conv(n_in, n_in, kernel, bias=False), norm(n_in), nn.ReLU()
        )
        return hidden, conv(n_in, n_components, 1)
    n_flat = n_in
    for side in sides:
        n_flat *= side
    layers: list[nn.Module] = [nn.Flatten()]
    for n_units in n_hidden:
        layers.append(nn.Linear(n_flat, n_units, bias=False))
        layers += [nn.BatchNorm1d(n_units), nn.ReLU()]
        n_flat = n_units
    return nn.Sequential(*layers), nn.Linear(n_flat, n_components)


def read_top(hidden: nn.Module, global_: nn.Module, last_map: Tensor) -> dict[str, Any]:
    """Return the features above a map, by their names in Features.

    Of a map of global features, the mean stands for the sample, the vectors beside one
    another are "hidden", and critics see the map itself.
    """
    values = hidden(last_map)
    found = global_(values)
    if found.ndim == 2:
        return {"global_": found, "hidden": values}
    found = found.flatten(2).float()
    return {"global_": found.mean(2), "hidden": found.flatten(1), "summary": found}
