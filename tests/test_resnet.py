import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_dim.encoders import ResNetEncoder
from sk_dim.encoders._contract import tuned


def small(shape, n_components=None, **settings):
    """Build a net that a CPU computes at once."""
    width = ResNetEncoder.full_width(shape, n_channels=4)
    settings = {"n_channels": 4} | settings
    return ResNetEncoder(shape, n_components or width, **settings).eval()


def test_it_is_resnet_18_with_another_stem():
    # He et al.: 11,689,512 with a stem of 7x7 windows and 1,000 classes.
    expected = 11_689_512 - 3 * 64 * 49 - 512 * 1000 - 1000 + 3 * 64 * 9
    encoder = ResNetEncoder((3, 32, 32), ResNetEncoder.full_width((3, 32, 32)))
    assert sum(each.numel() for each in encoder.parameters()) == expected


@settings(max_examples=15)
@given(
    n_channels=st.integers(1, 5), height=st.integers(8, 200), width=st.integers(8, 200)
)
def test_images_of_any_size(n_channels, height, width):
    shape = (n_channels, height, width)
    features = small(shape, 7)(torch.rand(2, *shape))
    assert features.global_.shape == (2, 7)
    assert features.local[0, 0].numel() <= 64
    assert max(features.conv.shape[2:]) <= 8
    assert features.global_.isfinite().all()


@pytest.mark.parametrize("side", [8, 32, 63])
def test_small_images_are_halved_three_times(side):
    conv = small((1, side, side))(torch.rand(1, 1, side, side)).conv
    assert conv.shape[2:] == (-(-side // 8),) * 2


@pytest.mark.parametrize(("side", "halved"), [(64, 32), (126, 63), (127, 32)])
def test_the_stem_halves_large_images_until_they_are_small(side, halved):
    encoder = small((1, side, side))
    assert encoder.stem(torch.rand(1, 1, side, side)).shape[2:] == (halved, halved)


def test_global_features_are_means_of_the_maps_of_all_stages():
    encoder, images = small((2, 16, 16)), torch.rand(3, 2, 16, 16)
    maps = [encoder.stem(images)]
    for stage in encoder.stages:
        maps.append(stage(maps[-1]))
    expected = torch.cat([each.mean(dim=(2, 3)) for each in maps[1:]], dim=1)
    features = encoder(images)
    torch.testing.assert_close(features.global_, expected)
    torch.testing.assert_close(features.summary, expected[:, -32:])
    torch.testing.assert_close(features.local, maps[2])  # 8x8


def test_at_first_a_block_adds_nothing():
    encoder, images = small((1, 8, 8)), torch.rand(2, 1, 8, 8)
    whole = encoder.stem(images)
    torch.testing.assert_close(encoder.stages[0](whole), whole)


def test_other_widths_are_a_projection_or_more_channels():
    full = ResNetEncoder.full_width((1, 8, 8), n_channels=4)
    assert full == 60
    fewer = small((1, 8, 8), 10)
    product = fewer.projection @ fewer.projection.T
    torch.testing.assert_close(product, torch.eye(10), atol=1e-5, rtol=0)
    more = small((1, 8, 8), 100)
    assert more.projection is None
    features = more(torch.rand(2, 1, 8, 8))
    assert features.global_.shape == (2, 100)
    assert features.conv.shape[1] == 72


def test_mirror_images_get_equal_features_where_views_are_flipped():
    encoder, images = small((3, 12, 10)), torch.rand(2, 3, 12, 10)
    plain = encoder(images).global_
    assert not torch.allclose(plain, encoder(images.flip(-1)).global_)
    encoder.is_mirrored = True
    features = encoder(images)
    torch.testing.assert_close(features.global_, encoder(images.flip(-1)).global_)
    mirrored = encoder(images.flip(-1))
    torch.testing.assert_close(features.summary, mirrored.summary)
    encoder.is_mirrored = False
    both = (plain + encoder(images.flip(-1)).global_) / 2
    torch.testing.assert_close(features.global_, both)


def test_without_labels_a_pass_in_training_makes_only_what_critics_see():
    encoder, images = small((1, 8, 8), 20).train(), torch.rand(6, 1, 8, 8)
    seen = encoder(images)
    assert seen.global_ is seen.summary
    with tuned(encoder):
        features = encoder(images)
    assert features.global_.shape == (6, 20)
    torch.testing.assert_close(features.summary, seen.summary)


def test_training_ends_with_the_map_that_shrinks_what_views_change():
    encoder, images = small((1, 8, 8)), torch.rand(20, 1, 8, 8)
    encoder.learn_last(images, 0, lambda batch, _: batch.flip(-1))
    assert int(encoder.shrinkage.n_learnt) == 20
    assert encoder.shrinkage.shares.sum() > 0.99
