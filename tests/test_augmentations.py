import functools

import pytest
import torch

from sk_dim.augmentations import (
    AUGMENTATIONS,
    KINDS,
    Compose,
    color,
    corrupt,
    crop,
    flip,
    natural,
    scaled,
    warp,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=[(1, 8, 8), (3, 12, 20), (2, 30)], name="batch")
def _batch(request):
    return torch.randn(6, *request.param, generator=generator())


@pytest.fixture(params=AUGMENTATIONS, name="augment")
def _augment(request):
    if "image" in KINDS.get(request.param, ("image",)):
        return AUGMENTATIONS[request.param]
    # Rows of images are as good as channels of a series to test by.
    view = AUGMENTATIONS[request.param]

    def of_rows(batch, generator):
        series = batch.reshape(len(batch), -1, batch.shape[-1])
        return view(series, generator).view_as(batch)

    return of_rows


def test_views_have_the_shape_and_dtype_of_the_batch(augment, batch):
    for dtype in (torch.float32, torch.float64):
        view = augment(batch.to(dtype), generator())
        assert view.shape == batch.shape
        assert view.dtype == dtype
        assert view.isfinite().all()


def test_views_repeat_with_the_generator_and_leave_the_global_one_alone(augment, batch):
    before = torch.get_rng_state()
    assert torch.equal(augment(batch, generator(1)), augment(batch, generator(1)))
    assert torch.equal(torch.get_rng_state(), before)


def test_each_sample_gets_its_own_draw(augment):
    batch = torch.randn(1, 3, 16, 16, generator=generator()).repeat(20, 1, 1, 1)
    batch[10:] += 1  # for corruption, which exchanges values between samples
    views = augment(batch, generator())[:10]
    assert len({tuple(view.flatten().tolist()) for view in views}) >= 2


def test_views_are_not_written_into_the_batch(augment, batch):
    before = batch.clone()
    augment(batch, generator())
    assert torch.equal(batch, before)


def test_a_warp_keeps_ends_and_order():
    times = torch.arange(50.0).expand(30, 1, 50)
    bent = warp(times, generator(), strength=0.5)
    torch.testing.assert_close(
        bent[..., [0, -1]], times[..., [0, -1]], atol=1e-4, rtol=0
    )
    speed = bent.diff(dim=-1)
    assert float(speed.min()) > 0.2
    assert float(speed.max()) < 3
    assert float((bent - times).abs().amax(dim=-1).min()) > 0.05
    torch.testing.assert_close(
        warp(times, generator(), strength=0.0), times, atol=1e-4, rtol=0
    )


def test_a_crop_of_everything_is_the_image_itself(batch):
    view = crop(batch, generator(), min_area=1.0, max_angle=0.0)
    torch.testing.assert_close(view, batch)


def test_a_crop_of_a_ramp_is_a_flatter_ramp_within_its_range():
    ramp = torch.linspace(-1, 1, 32).expand(50, 1, 32, 32)
    view = crop(ramp, generator(), min_area=0.25, max_angle=0.0)
    inner = view[..., 2:-2]
    slopes = inner[..., -1] - inner[..., 0]
    full = float(ramp[0, 0, 0, -3] - ramp[0, 0, 0, 2])
    assert (slopes > 0.49 * full).all()  # half the side at least: a quarter of the area
    assert (slopes < 1.01 * full).all()
    assert float(view.max()) <= 1


@pytest.mark.parametrize("shape", [(32, 32), (24, 48)])
def test_a_tilt_turns_the_slope_of_a_ramp_and_keeps_how_steep_it_is(shape):
    ramp = torch.arange(float(shape[1])).expand(50, 1, *shape)
    view = crop(ramp, generator(), min_area=1.0, max_angle=20.0)
    inner = view[:, 0, 10:-10, 10:-10]
    right = inner.diff(dim=2).mean(dim=(1, 2))
    down = inner.diff(dim=1).mean(dim=(1, 2))
    torch.testing.assert_close(right**2 + down**2, torch.ones(50))
    angle = torch.rad2deg(torch.atan2(down, right))
    assert (angle.abs() <= 20).all()
    assert angle.min() < -10
    assert angle.max() > 10


def test_a_series_loses_its_ends_only():
    series = torch.arange(40.0).expand(20, 2, 40)
    view = crop(series, generator(), min_area=0.5)
    assert (view.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(view[:, 0], view[:, 1])


def test_a_flip_mirrors_about_half_of_the_samples(batch):
    batch = batch.repeat(50, *[1] * (batch.ndim - 1))
    view = flip(batch, generator())
    axes = tuple(range(1, batch.ndim))
    is_same = (view == batch).all(dim=axes)
    is_mirrored = (view == batch.flip(-1)).all(dim=axes)
    assert (is_same | is_mirrored).all()
    assert 0.3 < is_mirrored.float().mean() < 0.7


def test_color_is_one_linear_map_for_all_pixels_of_a_sample():
    batch = torch.randn(5, 3, 6, 6, generator=generator())
    batch[:, :, 0, 0] = batch[:, :, 5, 5]
    view = color(batch, generator())
    torch.testing.assert_close(view[:, :, 0, 0], view[:, :, 5, 5])
    assert not torch.allclose(view, batch)


def test_color_keeps_grey_grey():
    grey = torch.randn(5, 1, 6, 6, generator=generator()).expand(5, 3, 6, 6)
    view = color(grey, generator())
    torch.testing.assert_close(view[:, 0], view[:, 1])
    torch.testing.assert_close(view[:, 0], view[:, 2])


def test_no_color_change_at_strength_zero_but_for_greyed_samples():
    batch = torch.randn(200, 3, 4, 4, generator=generator())
    view = color(batch, generator(), strength=0.0)
    is_same = torch.isclose(view, batch, atol=1e-5).all(dim=(1, 2, 3))
    assert 0.7 < is_same.float().mean() < 0.9
    greyed = view[~is_same]
    torch.testing.assert_close(greyed[:, 0], greyed[:, 1])


def test_corruption_takes_values_of_other_samples_in_the_same_place():
    batch = torch.randn(300, 20, generator=generator())
    view = corrupt(batch, generator(), share=0.3)
    is_kept = view == batch
    assert 0.68 < is_kept.float().mean() < 0.73
    for column, seen in zip(batch.T, view.T, strict=True):
        assert set(seen.tolist()) <= set(column.tolist())
    assert torch.equal(corrupt(batch, generator(), share=0.0), batch)


def test_natural_is_crop_then_flip_then_color():
    batch = torch.randn(4, 3, 8, 8)
    wide_crop = functools.partial(crop, min_area=0.3, max_angle=0.0)
    one_after_the_other = Compose((wide_crop, flip, color))
    assert torch.equal(
        natural(batch, generator()), one_after_the_other(batch, generator())
    )


@pytest.mark.parametrize(
    "augment",
    [
        natural,
        functools.partial(crop, min_area=0.5),
        Compose((crop, flip, functools.partial(color, strength=0.2))),
    ],
)
def test_a_scaled_view_is_the_view_shrunk(augment):
    smooth = torch.randn(20, 3, 5, 5, generator=generator())
    sides = {"mode": "bicubic", "antialias": True}
    batch = torch.nn.functional.interpolate(smooth, (48, 60), **sides)
    shrunk = torch.nn.functional.interpolate(
        augment(batch, generator(1)), (24, 30), mode="bilinear", antialias=True
    )
    view = scaled(augment, 0.5)(batch, generator(1))
    assert view.shape == shrunk.shape
    assert float((view - shrunk).abs().mean()) < 0.05 * float(batch.std())


@pytest.mark.parametrize(
    "augment", [flip, Compose((crop, corrupt)), Compose((flip, crop)), torch.clone]
)
def test_other_views_cannot_be_scaled(augment):
    assert scaled(augment, 0.5) is None
    assert scaled(functools.partial(augment), 0.5) is None


def test_a_series_can_be_scaled():
    series = torch.arange(40.0).expand(20, 2, 40)
    view = crop(series, generator(), min_area=1.0, scale=0.5)
    torch.testing.assert_close(view[0, 0], torch.arange(0.5, 40, 2))
    assert natural(series, generator(), scale=0.25).shape == (20, 2, 10)
