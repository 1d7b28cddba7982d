import functools
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sk_dim.encoders import (
    ENCODERS,
    ConvEncoder,
    Encoder,
    Features,
    MLPEncoder,
    PatchEncoder,
    ResNetEncoder,
)
from sk_dim.encoders._contract import trait, tuned


def n_parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("shape", "local", "conv"),
    [  # the maps of the paper's nets for 28x28, 32x32 and 64x64
        ((1, 28, 28), (128, 7, 7), (128, 7, 7)),
        ((3, 32, 32), (128, 8, 8), (256, 4, 4)),
        ((3, 64, 64), (256, 8, 8), (256, 4, 4)),
    ],
)
def test_maps_of_the_papers_sizes(shape, local, conv):
    features = ConvEncoder(shape, 16).eval()(torch.rand(2, *shape))
    assert features.local.shape[1:] == local
    assert features.conv.shape[1:] == conv


@settings(max_examples=15)
@given(
    n_channels=st.integers(1, 5), height=st.integers(8, 80), width=st.integers(8, 80)
)
def test_images_of_any_size(n_channels, height, width):
    shape = (n_channels, height, width)
    encoder = ConvEncoder(shape, 7).eval()
    features = encoder(torch.rand(2, *shape))
    assert features.global_.shape == (2, 7)
    assert 1 < features.local[0, 0].numel() <= 64
    assert n_parameters(encoder) < 10_000_000


@settings(max_examples=15)
@given(
    n_channels=st.integers(1, 5), height=st.integers(16, 80), width=st.integers(16, 80)
)
def test_patches_of_images_of_any_size(n_channels, height, width):
    shape = (n_channels, height, width)
    encoder = PatchEncoder(shape, 7, n_filters=8).eval()
    for scale in (1.0, encoder.view_scale):
        sides = [round(scale * side) for side in shape[1:]]
        features = encoder(torch.rand(2, n_channels, *sides))
        assert features.global_.shape == (2, 7)
        assert 1 < features.local[0, 0].numel() <= 64
        assert features.conv[0, 0].numel() < 64
    assert n_parameters(encoder) < 10_000_000


@pytest.mark.parametrize("shape", [(3, 256, 256), (4, 16, 256), (1, 255, 31)])
def test_patches_of_large_images(shape):
    width = PatchEncoder.full_width(shape)
    encoder = PatchEncoder(shape, width).eval()
    encoder.learn_first(torch.rand(3, *shape), seed=0)
    assert n_parameters(encoder) < 10_000_000
    features = encoder(torch.rand(1, *shape))
    assert features.global_.shape == (1, width)
    assert width <= 2816
    assert features.global_.isfinite().all()


def test_fewer_components_are_a_projection_to_orthonormal_axes():
    torch.manual_seed(0)
    encoder = PatchEncoder((1, 16, 16), 100).eval()
    product = encoder.projection @ encoder.projection.T
    torch.testing.assert_close(product, torch.eye(100), atol=1e-5, rtol=0)
    full = PatchEncoder.full_width((1, 16, 16))
    assert PatchEncoder((1, 16, 16), full).projection is None
    features = encoder(torch.rand(2, 1, 16, 16))
    torch.testing.assert_close(features.global_, features.hidden @ encoder.projection.T)


def of_one_version(encoder, batch):
    """Features without the mean over shifted images, with the statistics learnt."""
    encoder.eval().training = True  # of the encoder itself, not of its layers
    with tuned(encoder):
        features = encoder(batch)
    encoder.eval()
    return features


def test_global_features_are_maxima_of_windows_and_means_of_the_first_map():
    encoder = PatchEncoder((1, 32, 32), PatchEncoder.full_width((1, 32, 32))).eval()
    encoder.norm.running_mean.uniform_(-1, 1)
    encoder.norm.running_var.uniform_(1, 2)
    images = torch.rand(2, 1, 32, 32)
    features = of_one_version(encoder, images)
    patches = encoder.patches(images)
    mean, var = (
        buffer.view(-1, 1, 1)
        for buffer in (encoder.norm.running_mean, encoder.norm.running_var)
    )
    standardised = (features.conv - mean) / (var + encoder.norm.eps).sqrt()
    maxima = torch.nn.functional.max_pool2d(standardised, 2, stride=1)
    first = patches.unflatten(2, (2, -1)).unflatten(4, (2, -1))
    means = first.mean(dim=(3, 5)).flatten(1)
    expected = torch.cat([means, maxima.flatten(1)], dim=1)
    torch.testing.assert_close(features.global_, expected)
    corner = standardised[:, :, :2, :2].mean(dim=(2, 3))
    assert features.summary.shape == (2, 1024)
    torch.testing.assert_close(features.summary[:, ::4], corner)
    assert features.code is features.summary


def test_without_labels_a_pass_in_training_makes_only_what_critics_see():
    encoder = PatchEncoder((1, 16, 16), 50).train()
    images = torch.rand(4, 1, 16, 16)
    seen = encoder(images)
    assert seen.global_ is seen.summary
    assert seen.hidden is None
    with tuned(encoder):
        features = encoder(images)
    assert features.global_.shape == (4, 50)
    torch.testing.assert_close(features.summary, seen.summary)
    assert not encoder.is_tuned


def test_the_last_map_is_learnt_in_either_mode():
    encoder = PatchEncoder((1, 16, 16), 50).train()
    encoder.learn_last(torch.rand(20, 1, 16, 16), 0, lambda batch, _: batch.flip(-1))
    assert int(encoder.shrinkage.n_learnt) == 20


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_features_are_means_over_shifts_and_where_views_are_flipped_mirror_images(
    is_mirrored,
):
    encoder = PatchEncoder((1, 16, 16), PatchEncoder.full_width((1, 16, 16)))
    encoder.is_mirrored = is_mirrored
    images = torch.nn.functional.pad(torch.rand(2, 1, 10, 10), (3, 3, 3, 3))
    versions = [images.roll((by, by), (2, 3)) for by in (-1, 1)]
    if is_mirrored:
        versions += [images.roll((by, -by), (2, 3)).flip(-1) for by in (-1, 1)]
    features = [of_one_version(encoder, version).global_ for version in versions]
    expected = torch.stack(features).mean(dim=0)
    torch.testing.assert_close(encoder(images).global_, expected)


@pytest.mark.parametrize(
    "shape", [(3, 256, 256), (4, 8, 256), (1, 255, 31), (3, 56, 56), (1, 120, 120)]
)
def test_large_images_have_under_ten_million_parameters(shape):
    encoder = ConvEncoder(shape, 256).eval()
    assert n_parameters(encoder) < 10_000_000
    assert encoder(torch.rand(1, *shape)).global_.shape == (1, 256)


@settings(max_examples=15)
@given(n_channels=st.integers(1, 30), length=st.integers(4, 3000))
def test_series_of_any_length(n_channels, length):
    features = ConvEncoder((n_channels, length), 7).eval()(
        torch.rand(2, n_channels, length)
    )
    assert features.global_.shape == (2, 7)
    assert features.local.ndim == 3


@settings(max_examples=15)
@given(n_channels=st.integers(1, 30), length=st.integers(16, 3000))
def test_patches_of_series_of_any_length(n_channels, length):
    width = PatchEncoder.full_width((n_channels, length))
    encoder = PatchEncoder((n_channels, length), width).eval()
    features = encoder(torch.rand(2, n_channels, length))
    assert features.global_.shape == (2, width)
    assert width <= 1280
    assert features.local.ndim == features.conv.ndim == 3
    assert 1 < features.local[0, 0].numel() <= 64
    assert features.summary.shape[1] <= 1024
    assert n_parameters(encoder) < 10_000_000


def test_a_series_and_its_mirror_image_get_equal_features_where_views_are_flipped():
    encoder = PatchEncoder((2, 50), PatchEncoder.full_width((2, 50))).eval()
    series = torch.rand(3, 2, 50)
    assert not torch.allclose(encoder(series).global_, encoder(series.flip(-1)).global_)
    encoder.is_mirrored = True
    features, mirrored = encoder(series), encoder(series.flip(-1))
    torch.testing.assert_close(features.global_, mirrored.global_)
    torch.testing.assert_close(features.conv, mirrored.conv.flip(-1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # torch's
@pytest.mark.parametrize(
    ("encoder", "shape"),
    [(PatchEncoder, (1, 16, 16)), (ConvEncoder, (1, 8, 8)), (ResNetEncoder, (1, 8, 8))],
)
def test_a_compiled_encoder_computes_the_same_and_pickles(encoder, shape):
    # Compiled code takes a minute to build: only how it gets there is tested.
    with torch.compiler.set_stance("force_eager"):
        torch.manual_seed(0)
        compiled = encoder(shape, 9, compile_mode="default").eval()
        torch.manual_seed(0)
        plain = encoder(shape, 9).eval()
        assert compiled._compiled_call_impl is not None
        assert plain._compiled_call_impl is None
        batch = torch.rand(2, *shape)
        torch.testing.assert_close(compiled(batch).global_, plain(batch).global_)
        again = pickle.loads(pickle.dumps(compiled))
        torch.testing.assert_close(again(batch).global_, plain(batch).global_)


@given(n_columns=st.integers(1, 40), n_subsets=st.integers(1, 9))
def test_tables_of_any_width(n_columns, n_subsets):
    encoder = MLPEncoder((n_columns,), 7, n_hidden=16, n_subsets=n_subsets)
    features = encoder.eval()(torch.rand(3, n_columns))
    assert features.global_.shape == (3, 7)
    assert features.local.shape == (3, 8, min(n_subsets, n_columns))


@given(n_columns=st.integers(3, 40), n_subsets=st.integers(3, 9))
def test_each_column_is_in_two_subsets(n_columns, n_subsets):
    subsets = MLPEncoder((n_columns,), 2, n_subsets=n_subsets).subsets
    assert (subsets.sum(dim=0) == 2).all()
    assert (subsets.sum(dim=1) >= 1).all()


def test_a_local_feature_of_a_table_depends_on_its_subset_only():
    encoder = MLPEncoder((12,), 2, n_subsets=4).eval()
    rows = torch.rand(1, 12).repeat(2, 1)
    rows[1, 0] += 1
    local = encoder(rows).local
    changed = (local[0] != local[1]).any(dim=0)
    torch.testing.assert_close(changed, encoder.subsets[:, 0].bool())


@pytest.mark.parametrize(
    ("encoder", "shape"),
    [
        (ConvEncoder, (1, 9, 12)),
        (MLPEncoder, (9,)),
        (PatchEncoder, (1, 19, 22)),
        (ResNetEncoder, (1, 9, 12)),
    ],
)
def test_in_evaluation_a_sample_does_not_depend_on_its_batch(encoder, shape):
    encoder = encoder(shape, 4).eval()
    batch = torch.rand(5, *shape)
    alone = encoder(batch[:1])
    for part, whole in zip(alone, encoder(batch), strict=True):
        if part is not None:
            torch.testing.assert_close(part, whole[:1], atol=1e-5, rtol=1e-4)


def test_building_leaves_no_trace_in_the_batch_statistics():
    encoder = ConvEncoder((1, 8, 8), 4)
    assert encoder.training
    assert all(int(b) == 0 for n, b in encoder.named_buffers() if "tracked" in n)


def test_layers_that_are_none_are_left_out():
    features = Features(torch.zeros(1, 2), None, None, torch.zeros(1, 2, 3))
    assert list(features.layers()) == ["global", "local"]


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_encoders_say_which_samples_they_take(encoder):
    shapes = {"table": (30,), "series": (2, 30), "image": (3, 20, 30)}
    for kind, shape in shapes.items():
        if kind in encoder.kinds:
            batch = torch.rand(2, *shape)
            assert encoder(shape, 5).eval()(batch).global_.shape == (2, 5)
        else:
            with pytest.raises(ValueError, match=f"cannot take {kind} samples"):
                encoder(shape, 5)
    if encoder.min_side > 1:
        kind = encoder.kinds[0]
        shortest = encoder.min_side - 1
        short = {"series": (3, shortest), "image": (3, shortest, 30)}[kind]
        with pytest.raises(ValueError, match="each side must be at least"):
            encoder(short, 5)


def test_what_an_encoder_does_not_say_is_the_default():
    class Plain(torch.nn.Module):
        min_side = 7

    for plain in (Plain, Plain(), functools.partial(Plain)):
        assert trait(plain, "min_side") == 7
        assert trait(plain, "kinds") == ("table", "series", "image")
        assert trait(plain, "full_width")((9,)) == 1024
        assert trait(plain, "view_scale") is None
        assert not trait(plain, "needs_head")
        assert not trait(plain, "is_mirrored")
        assert trait(plain, "learn_first")(torch.zeros(2, 9), 0, None) is None
        assert trait(plain, "epochs") == 1
    assert trait(PatchEncoder((1, 16, 16), 5), "view_scale") == 0.75
    assert trait(functools.partial(PatchEncoder, n_filters=8), "needs_head")
    assert issubclass(ConvEncoder, Encoder)
