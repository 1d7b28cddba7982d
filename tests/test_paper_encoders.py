"""The encoders of the paper beside its basic one, and maps of global features."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_dim import DeepInfomaxTransformer
from sk_dim.encoders import (
    ENCODERS,
    AlexNetEncoder,
    BottleneckEncoder,
    ConvEncoder,
    FoldedEncoder,
)

SMALL = {
    "alexnet": partial(AlexNetEncoder, n_channels=4, n_hidden=16),
    "bottleneck": partial(BottleneckEncoder, n_channels=4, n_hidden=16),
    "conv, a map": partial(ConvEncoder, n_channels=4, global_map=True),
    "folded": partial(FoldedEncoder, n_local=8, n_hidden=16),
    "folded, a map": partial(FoldedEncoder, n_local=8, global_map=True),
}


def n_parameters(module):
    return sum(p.numel() for p in module.parameters())


# What they are


def test_maps_of_alexnet_are_those_of_the_authors():
    encoder = AlexNetEncoder((3, 64, 64), 64, n_hidden=32).eval()
    features = encoder(torch.rand(2, 3, 64, 64))
    shapes = {name: tuple(f.shape[1:]) for name, f in features.layers().items()}
    assert shapes == {
        "global": (64,),
        "hidden": (32,),
        "conv": (192, 7, 7),
        "local": (384, 15, 15),
    }
    widths = [3, 96, 192, 384, 384, 192]
    convs = sum(9 * a * b + 2 * b for a, b in itertools.pairwise(widths))
    fc = 192 * 49 * 32 + 64 + 32 * 32 + 64 + 32 * 64 + 64
    assert n_parameters(encoder) == convs + fc
    with torch.device("meta"):
        full = AlexNetEncoder((3, 64, 64), 64)
    assert full.hidden[1].weight.shape == (4096, 192 * 49)
    assert 57e6 < n_parameters(full) < 59e6
    assert 54e6 < n_parameters(full.hidden) < 56e6


def test_maps_of_the_bottleneck_net_are_those_of_the_authors():
    encoder = BottleneckEncoder((3, 32, 32), 64).eval()
    features = encoder(torch.rand(2, 3, 32, 32))
    shapes = {name: tuple(f.shape[1:]) for name, f in features.layers().items()}
    assert shapes == {
        "global": (64,),
        "hidden": (1024,),
        "conv": (1024, 4, 4),
        "local": (512, 8, 8),
    }
    # One convolution, six blocks of three, and the fully connected layer.
    of_found = [
        m
        for name, m in encoder.named_modules()
        if isinstance(m, torch.nn.Conv2d) and "shortcut" not in name
    ]
    assert len(of_found) == 19
    n_shortcuts = sum("shortcut.0" in name for name, _ in encoder.named_parameters())
    assert n_shortcuts == 3


def test_bottleneck_blocks_add_to_their_input():
    encoder = BottleneckEncoder((3, 16, 16), 8, n_channels=4).eval()
    block = encoder.stages[1][1]
    batch = torch.rand(2, 32, 4, 4)
    torch.testing.assert_close(block(batch), (batch + block.found(batch)).relu())
    halving = encoder.stages[1][0]
    batch = torch.rand(2, 16, 8, 8)
    conv, norm = halving.shortcut
    strided = torch.nn.functional.conv2d(batch, conv.weight, stride=2)
    expected = (norm(strided) + halving.found(batch)).relu()
    torch.testing.assert_close(halving(batch), expected)


@pytest.mark.parametrize(
    ("shape", "crops", "grid"),
    [
        ((3, 64, 64), [16, 16], (7, 7)),
        ((3, 32, 32), [8, 8], (7, 7)),
        ((1, 8, 8), [4, 4], (3, 3)),
        ((2, 40), [10], (7,)),
        ((1, 3 + 1, 20), [4, 5], (1, 8)),
    ],
)
def test_crops_of_a_quarter_lie_on_a_grid_of_seven(shape, crops, grid):
    encoder = FoldedEncoder(shape, 16, n_local=8).eval()
    assert encoder.crops == crops
    assert encoder(torch.rand(2, *shape)).local.shape[1:] == (8, *grid)


def test_each_local_feature_is_the_code_of_its_crop():
    encoder = FoldedEncoder((2, 9, 12), 16, crop=4, stride=3, n_local=8).eval()
    batch = torch.rand(3, 2, 9, 12)
    local = encoder(batch).local
    assert local.shape == (3, 8, 2, 3)
    for row, column in itertools.product(range(2), range(3)):
        crop = batch[:, :, 3 * row : 3 * row + 4, 3 * column : 3 * column + 4]
        code = encoder.norm(encoder.of_crop(crop).global_).relu()
        torch.testing.assert_close(local[:, :, row, column], code)


def test_crops_of_series():
    encoder = FoldedEncoder((2, 30), 16, crop=8, stride=4, n_local=8).eval()
    batch = torch.rand(3, 2, 30)
    local = encoder(batch).local
    for place in range(local.shape[2]):
        code = encoder.of_crop(batch[:, :, 4 * place : 4 * place + 8]).global_
        torch.testing.assert_close(local[:, :, place], encoder.norm(code).relu())


@pytest.mark.parametrize("name", ["conv, a map", "folded, a map"])
def test_global_features_are_the_mean_of_a_map(name):
    features = SMALL[name]((3, 32, 32), 6).eval()(torch.rand(2, 3, 32, 32))
    n_globals = {"conv, a map": 4, "folded, a map": 25}[name]
    assert features.summary.shape == features.code.shape == (2, 6, n_globals)
    torch.testing.assert_close(features.global_, features.summary.mean(2))
    torch.testing.assert_close(features.hidden, features.summary.flatten(1))


# What they must do


@settings(max_examples=12)
@given(
    name=st.sampled_from(sorted(SMALL)),
    n_channels=st.integers(1, 4),
    height=st.integers(15, 50),
    width=st.integers(15, 50),
)
def test_images_of_any_size(name, n_channels, height, width):
    shape = (n_channels, height, width)
    encoder = SMALL[name](shape, 7).eval()
    batch = torch.rand(3, *shape)
    features = encoder(batch)
    assert features.global_.shape == (3, 7)
    assert features.local[0, 0].numel() > 1
    for part, alone in zip(features, encoder(batch[:1]), strict=True):
        if part is not None:
            torch.testing.assert_close(part[:1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_they_train(name):
    X = np.random.default_rng(0).integers(0, 255, (40, 16, 16, 3), dtype=np.uint8)
    params = {"encoder": SMALL[name], "batch_size": 20, "random_state": 0}
    dim = DeepInfomaxTransformer(8, max_iter=2, **params).fit(X)
    first, last = dim.history_
    assert last["loss"] < first["loss"]
    assert dim.transform(X).shape == (40, 8)
    assert all(p.grad is None for p in dim.encoder_.parameters())


@pytest.mark.parametrize("name", ["alexnet", "bottleneck", "folded"])
def test_names_are_those_of_the_table(name):
    with torch.device("meta"):
        encoder = ENCODERS[name]((3, 64, 64), 8)
    assert encoder.is_static


@pytest.mark.parametrize(
    ("encoder", "shape", "message"),
    [
        ("alexnet", (14, 32), "each side must be at least 15"),
        ("bottleneck", (7, 32), "each side must be at least 8"),
        (partial(FoldedEncoder, crop=20), (16, 32), "crop=20 does not fit in samples"),
        (partial(FoldedEncoder, crop=0), (16, 32), "must be an integer from 1 to 16"),
        (partial(FoldedEncoder, crop="8"), (16, 32), "crop='8' does not fit"),
        (partial(FoldedEncoder, crop=2.5), (16, 32), "crop=2.5 does not fit"),
        (partial(FoldedEncoder, stride=5), (16, 32), "stride=5 leaves out a part"),
        (
            partial(FoldedEncoder, crop=6, stride=0),
            (16, 32),
            "must be an integer from 1 to 6",
        ),
    ],
)
def test_what_does_not_fit_is_refused(encoder, shape, message):
    X = np.random.default_rng(0).uniform(size=(20, *shape))
    with pytest.raises(ValueError, match=message):
        DeepInfomaxTransformer(8, encoder=encoder, input_type="image").fit(X)
