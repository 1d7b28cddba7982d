import pytest
import torch
from sklearn.cluster import MiniBatchKMeans

from sk_dim.encoders import PatchFilters
from sk_dim.encoders._patch_filters import FLOOR, THRESHOLD


def test_responses_are_those_of_single_patches():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 16, 16)
    patches = PatchFilters((3, 16, 16), n_filters=4)
    patches.learn(images, seed=0)
    maps = patches(images)
    assert maps.shape == (2, 8, 4, 4)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    for row, column in [(0, 0), (1, 3), (2, 1)]:
        above, below = torch.zeros(2, 4), torch.zeros(2, 4)
        for down in (0, 1):
            for right in (0, 1):
                top, left = 2 * (2 * row + down), 2 * (2 * column + right)
                patch = padded[:, :, top : top + 6, left : left + 6].flatten(1)
                contrast = (patch.var(1, correction=0) + FLOOR).sqrt()
                centred = patch - patch.mean(1, keepdim=True)
                response = centred @ patches.filters.flatten(1).T / contrast[:, None]
                above += (response - THRESHOLD).relu() / 4
                below += (-response - THRESHOLD).relu() / 4
        expected = torch.cat([above, below], dim=1)
        torch.testing.assert_close(
            maps[:, :, row, column], expected, atol=1e-4, rtol=1e-4
        )


def test_responses_along_a_row_are_those_of_wider_patches():
    torch.manual_seed(0)
    rows = torch.randn(3, 2, 1, 40)
    patches = PatchFilters((2, 1, 40), n_filters=4)
    patches.learn(rows, seed=0)
    maps = patches(rows)
    assert maps.shape == (3, 8, 1, 10)
    padded = torch.nn.functional.pad(rows, (7, 7))
    for column in (0, 4, 9):
        above, below = torch.zeros(3, 4), torch.zeros(3, 4)
        for left in (4 * column, 4 * column + 2):
            patch = padded[..., left : left + 16].flatten(1)
            contrast = (patch.var(1, correction=0) + FLOOR).sqrt()
            centred = patch - patch.mean(1, keepdim=True)
            response = centred @ patches.filters.flatten(1).T / contrast[:, None]
            above += (response - THRESHOLD).relu() / 2
            below += (-response - THRESHOLD).relu() / 2
        expected = torch.cat([above, below], dim=1)
        torch.testing.assert_close(
            maps[:, :, 0, column], expected, atol=1e-4, rtol=1e-4
        )


def test_filters_find_the_edges_that_the_images_are_made_of():
    # Images of vertical steps: filters must vary across, not along them.
    generator = torch.Generator().manual_seed(0)
    position = torch.randint(3, 21, (400, 1, 1, 1), generator=generator)
    images = (torch.arange(24) > position).float().expand(400, 1, 24, 24)
    images = images + 0.01 * torch.randn(400, 1, 24, 24, generator=generator)
    patches = PatchFilters((1, 24, 24), n_filters=8)
    patches.learn(images / images.std(), seed=0)
    filters = patches.filters[:, 0]
    # Many patches have no step in them and their centroids are noise; not these.
    energy = [filters.diff(dim=axis).square().mean(dim=(1, 2)) for axis in (1, 2)]
    assert (energy[1] > 3 * energy[0]).sum() >= 2


def test_brightness_and_contrast_of_a_strong_image_hardly_matter():
    torch.manual_seed(0)
    images = 10 * torch.randn(5, 3, 32, 32)
    patches = PatchFilters((3, 32, 32), n_filters=8)
    patches.learn(images, seed=0)
    inner = (..., slice(1, -1), slice(1, -1))  # where no patch sees the padding
    torch.testing.assert_close(
        patches(2 * images + 7)[inner], patches(images)[inner], atol=0.02, rtol=0.02
    )


def test_the_same_seed_gives_the_same_filters():
    images = torch.randn(30, 1, 20, 20, generator=torch.Generator().manual_seed(1))
    a, b, c = (PatchFilters((1, 20, 20), n_filters=8) for _ in range(3))
    for patches, seed in ((a, 0), (b, 0), (c, 1)):
        patches.learn(images, seed)
    assert torch.equal(a.filters, b.filters)
    assert not torch.equal(a.filters, c.filters)


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 1, 16, 16), torch.rand(1, 1, 16, 16)]
)
def test_too_few_and_flat_patches_leave_finite_filters(images):
    patches = PatchFilters((1, 16, 16), n_filters=64)
    patches.learn(images, seed=0)
    assert patches.filters.isfinite().all()
    assert patches(images).isfinite().all()


def test_gradients_reach_the_images():
    images = torch.randn(2, 1, 16, 16, requires_grad=True)
    PatchFilters((1, 16, 16), n_filters=8)(images).sum().backward()
    assert images.grad.abs().sum() > 0


def many_channels(n_channels, sides, n_sources=4, seed=0):
    """Return images whose many channels are mixtures of a few smooth sources."""
    generator = torch.Generator().manual_seed(seed)
    n_images, size = 30, (1, 5) if sides[0] == 1 else (5, 5)
    sources = torch.randn(n_images, n_sources, *sides, generator=generator)
    sources = torch.nn.functional.avg_pool2d(
        sources, size, stride=1, padding=[side // 2 for side in size]
    )
    mixing = torch.randn(n_channels, n_sources, generator=generator)
    images = torch.einsum("cs,nshw->nchw", mixing, sources)
    scale = images.std(dim=(0, 2, 3), keepdim=True)
    return images / scale, mixing / scale.view(-1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("sides", [(25, 25), (1, 200)], ids=["image", "series"])
@pytest.mark.parametrize("n_channels", [17, 103, 200])
def test_many_channels_are_mixed_before_patches_are_cut(n_channels, sides, monkeypatch):
    sizes = []
    eigh = torch.linalg.eigh
    monkeypatch.setattr("torch.linalg.eigh", lambda m: sizes.append(len(m)) or eigh(m))
    images, mixing = many_channels(n_channels, sides)
    patches = PatchFilters((n_channels, *sides))
    patches.learn(images, seed=0)
    assert sizes == [min(sizes)]
    assert sizes[0] <= 600  # time grows with the cube of it
    # Filters look at mixtures that the channels are made of, and at their mean.
    space = torch.cat([mixing, torch.ones(n_channels, 1)], dim=1)
    basis = torch.linalg.qr(space).Q
    filters = patches.filters.flatten(2).transpose(1, 2).flatten(0, 1)  # (f * a, c)
    inside = filters @ basis @ basis.T
    torch.testing.assert_close(inside, filters, atol=0.01, rtol=0)


def test_filters_of_mixtures_are_as_large_as_those_of_channels():
    images, _ = many_channels(40, (24, 24))
    patches = PatchFilters((40, 24, 24))
    patches.learn(images, seed=0)
    cut = torch.nn.functional.unfold(images, 6, stride=6).transpose(1, 2).flatten(0, 1)
    cut = cut - cut.mean(dim=1, keepdim=True)
    cut = cut / (cut.var(dim=1, correction=0, keepdim=True) + FLOOR).sqrt()
    responses = cut @ patches.filters.flatten(1).T
    assert float(responses.std()) == pytest.approx(1.0, abs=0.02)
    torch.testing.assert_close(
        patches.filters.flatten(1).mean(dim=1), torch.zeros(64), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("n_images", [1, 30])
def test_many_channels_of_few_images_leave_finite_filters(n_images):
    for sides in ((16, 16), (1, 16)):
        patches = PatchFilters((300, *sides))
        patches.learn(torch.randn(n_images, 300, *sides), seed=0)
        assert patches.filters.isfinite().all()


@pytest.mark.parametrize("n_channels", [1, 3, 16])
def test_filters_of_few_channels_are_centroids_of_all_values(n_channels):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(40, n_channels, 18, 18, generator=generator)
    patches = PatchFilters((n_channels, 18, 18), n_filters=8)
    patches.learn(images, seed=3)
    cut = torch.nn.functional.unfold(images, 6, stride=6).transpose(1, 2).flatten(0, 1)
    generator.manual_seed(3)
    order = torch.randperm(40, generator=generator)
    cut = cut.view(40, 9, -1)[order].flatten(0, 1)
    cut = cut[torch.randperm(len(cut), generator=generator)]
    cut = cut - cut.mean(dim=1, keepdim=True)
    cut /= (cut.var(dim=1, correction=0, keepdim=True) + FLOOR).sqrt()
    values, vectors = torch.linalg.eigh(cut.T @ cut / len(cut))
    whitening = vectors / (values.clamp_min(0) + 0.1).sqrt() @ vectors.T
    k_means = MiniBatchKMeans(8, n_init=1, batch_size=2048, random_state=3)
    centroids = torch.from_numpy(
        k_means.fit((cut @ whitening).numpy()).cluster_centers_
    )
    filters = centroids / centroids.norm(dim=1, keepdim=True) @ whitening
    filters = filters - filters.mean(dim=1, keepdim=True)
    expected = filters / (cut @ filters.T).std(correction=0)
    torch.testing.assert_close(patches.filters.flatten(1), expected)
