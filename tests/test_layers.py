"""Layers as matrix products: what torch's own layers compute."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from sk_dim.encoders._layers import ColumnConv, Residual, grid_means


@settings(max_examples=20)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    seed=st.integers(0, 100),
)
def test_columns_give_what_a_convolution_gives(height, width, stride, seed):
    torch.manual_seed(seed)
    ours = ColumnConv(3, 5, 3, stride, padding=1, bias=False).double()
    theirs = nn.Conv2d(3, 5, 3, stride, padding=1, bias=False).double()
    theirs.load_state_dict(ours.state_dict())
    batch = torch.randn(2, 3, height, width, dtype=torch.double)
    outputs = [conv(batch) for conv in (ours, theirs)]
    weighting = torch.randn_like(outputs[0])
    for output in outputs:
        (output * weighting).sum().backward()
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_inputs_that_are_trained_get_their_gradient():
    conv = ColumnConv(3, 5, 3, padding=1, bias=False).double()
    batch = torch.randn(2, 3, 4, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(conv, batch)


def test_residual_is_a_net_on_each_location():
    residual = Residual(3).eval()
    batch = torch.randn(2, 3, 4, 5)
    whole = residual(batch)
    for i in range(4):
        for j in range(5):
            one = residual(batch[:, :, i : i + 1, j : j + 1])[:, :, 0, 0]
            torch.testing.assert_close(whole[:, :, i, j], one)


@pytest.mark.parametrize("shape", [(4, 4), (3, 3), (5, 7), (1, 2)])
@pytest.mark.parametrize("size", [(2, 2), (4, 4), (3, 1)])
def test_means_over_a_grid_are_adaptive_pooling(shape, size):
    maps = torch.randn(2, 3, *shape, requires_grad=True)
    expected = adaptive_avg_pool2d(maps, size).flatten(1)
    torch.testing.assert_close(grid_means(maps, size), expected)
    weighting = torch.randn_like(expected)
    gradients = [
        torch.autograd.grad((output * weighting).sum(), maps)[0]
        for output in (
            grid_means(maps, size),
            adaptive_avg_pool2d(maps, size).flatten(1),
        )
    ]
    torch.testing.assert_close(*gradients)


def test_gradients_of_grid_means_have_the_layout_of_the_map():
    # Else every layer below would work on mixed layouts, many times more slowly.
    maps = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    maps.requires_grad_()
    loss = grid_means(maps, (2, 2)).square().sum()
    (gradient,) = torch.autograd.grad(loss, maps)
    assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_means_of_a_long_map_need_no_square_of_its_length():
    maps = torch.randn(1, 2, 1, 2**20)  # whose square takes 4 TB
    means = grid_means(maps, (1, 4)).view(2, 4)
    torch.testing.assert_close(means, maps.view(2, 4, -1).mean(dim=2))
