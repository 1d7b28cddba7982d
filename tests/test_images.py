"""Images of files of any kind as one lazy array: what is decoded, and how it is cut."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from sk_dim import ImageArray, ImageLoader, list_images
from sk_dim.arrays import LazyArray, is_lazy, read

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
EXIF_ORIENTATION = 0x0112


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def load(item, size, **options):
    """One image, decoded."""
    return ImageArray([item], size, **options)[0]


def gradient(height, width):
    """An image whose values tell the row (red) and the column (green)."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, 0 * rows], axis=2).astype(np.uint8)


# Sizes


def test_an_image_of_the_right_size_is_itself():
    np.testing.assert_array_equal(load(NOISE, (40, 60)), NOISE)
    np.testing.assert_array_equal(
        load(encoded(Image.fromarray(NOISE)), (40, 60)), NOISE
    )


@pytest.mark.parametrize(
    ("height", "width"), [(100, 200), (200, 100), (100, 101), (100, 250)]
)
def test_crop_keeps_the_whole_short_side_and_the_centre_of_the_long_one(height, width):
    image = gradient(height, width)
    found = load(image, 100)
    top, left = (height - 100) / 2, (width - 100) / 2
    # Half a pixel between, where what is cut off is odd.
    rows, columns = np.mgrid[:100, :100]
    expected = np.stack([rows + top, columns + left], axis=2)
    assert np.abs(found[:, :, :2] - expected).max() <= 0.5


def test_crop_enlarges_and_shrinks_by_one_factor():
    image = np.zeros((20, 50), np.uint8)
    image[:, 20:30] = 255  # a tall bar of which 10 of 20 columns are kept white
    for size in (10, 20, 40):
        found = load(image, size, mode="L")[:, :, 0]
        assert found[:, size // 4 + 2 : -size // 4 - 2].min() == 255
        assert found.mean() == pytest.approx(255 / 2, abs=6)


def test_pad_keeps_everything_and_is_black_around():
    image = np.full((50, 100, 3), 200, np.uint8)
    found = load(image, 40, resize="pad")
    assert (found[10:30] == 200).all()
    assert not found[:10].any()
    assert not found[30:].any()
    assert load(image, (10, 40), resize="pad").mean() == pytest.approx(100)
    thin = np.full((1, 999, 3), 200, np.uint8)
    assert (load(thin, 9, resize="pad")[4] == 200).all()


@pytest.mark.parametrize("resize", ["crop", "pad"])
@given(sides=st.tuples(*[st.integers(1, 40)] * 4))
def test_any_size_becomes_any_other(resize, sides):
    height, width, new_height, new_width = sides
    image = np.full((height, width), 7, np.uint8)
    found = load(image, (new_height, new_width), mode="L", resize=resize)
    assert found.shape == (new_height, new_width, 1)
    if resize == "crop":
        assert (found == 7).all()
    else:
        assert set(np.unique(found)) <= {0, 7}
        assert 7 in (found[0].max(), found[:, 0].max())


def test_large_jpeg_files_are_decoded_at_a_part_of_their_size():
    rows, columns = np.mgrid[:600, :800]
    smooth = np.stack([rows / 3, columns / 4, 0 * rows], axis=2).astype(np.uint8)
    whole = load(smooth, 70).astype(int)
    for quality in (75, 95):
        data = encoded(Image.fromarray(smooth), "JPEG", quality=quality)
        assert np.abs(load(data, 70) - whole).max() <= 6
        assert np.abs(load(data, 70) - whole).mean() <= 1


# Turned, transparent, in colours of all kinds


def turned(orientation):
    """A file that says how the camera was held, and shows NOISE upright."""
    # The inverse of what is done with the orientation when it is read.
    back = {6: 8, 8: 6}.get(orientation, orientation)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = back
    image = Image.open(io.BytesIO(encoded(Image.fromarray(NOISE), exif=exif)))
    stored = ImageOps.exif_transpose(image)
    exif[EXIF_ORIENTATION] = orientation
    return stored, exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_photos_are_upright_however_the_camera_was_held(orientation, kind):
    stored, exif = turned(orientation)
    assert (stored.size == (60, 40)) == (orientation < 5)
    options = {"lossless": True} if kind == "WEBP" else {}
    options |= {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    data = encoded(stored, kind, exif=exif, **options)
    tolerance = 12 if kind == "JPEG" else 0
    sizes = [((40, 60), "crop"), (30, "crop"), (50, "pad"), (30, "pad"), (7, "pad")]
    # Noise at a half of its size is not the same to the decoder of JPEG.
    for size, resize in sizes[:3] if kind == "JPEG" else sizes:
        found = load(data, size, resize=resize).astype(int)
        assert np.abs(found - load(NOISE, size, resize=resize)).max() <= tolerance
    opened = Image.open(io.BytesIO(data))
    assert np.abs(load(opened, (40, 60)).astype(int) - NOISE).max() <= tolerance
    assert opened.getexif().get(EXIF_ORIENTATION, 1) in (1, orientation)


def test_what_is_transparent_is_white():
    image = Image.fromarray(NOISE).convert("RGBA")
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:20], alpha[20:30] = 255, 128
    image.putalpha(Image.fromarray(alpha))
    found = load(encoded(image), (40, 60)).astype(float)
    np.testing.assert_array_equal(found[:20], NOISE[:20])
    half = NOISE[20:30] * (128 / 255) + 127
    np.testing.assert_allclose(found[20:30], half, atol=1)
    assert (found[30:] == 255).all()
    np.testing.assert_array_equal(load(np.asarray(image), (40, 60)), found)


def test_palettes_with_and_without_a_transparent_colour():
    places = RNG.integers(0, 4, (40, 60), dtype=np.uint8)
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [9, 8, 7]], np.uint8)
    image = Image.fromarray(places, "P")
    image.putpalette(colours.ravel().tolist())
    for kind in ("PNG", "GIF", "BMP"):
        found = load(encoded(image, kind), (40, 60))
        np.testing.assert_array_equal(found, colours[places])
    white = colours.copy()
    white[2] = 255
    for kind in ("PNG", "GIF"):
        found = load(encoded(image, kind, transparency=2), (40, 60))
        np.testing.assert_array_equal(found, white[places])


def test_grey_bits_cmyk_and_grey_with_alpha():
    grey = Image.fromarray(NOISE[:, :, 0])
    found = load(encoded(grey), (40, 60))
    np.testing.assert_array_equal(found, NOISE[:, :, :1].repeat(3, axis=2))
    bits = Image.fromarray(NOISE[:, :, 0] > 99)
    found = load(encoded(bits), (40, 60), mode="L")
    np.testing.assert_array_equal(found[:, :, 0], (NOISE[:, :, 0] > 99) * 255)
    inks = Image.fromarray(255 - NOISE).convert("CMYK")  # without black ink
    found = load(encoded(inks, "TIFF"), (40, 60))
    np.testing.assert_array_equal(found, np.asarray(inks.convert("RGB")))
    assert np.abs(found.astype(int) - (255 - NOISE)).max() <= 1
    assert load(encoded(inks, "JPEG"), (40, 60)).shape == (40, 60, 3)
    both = grey.convert("LA")
    both.putalpha(0)
    assert (load(encoded(both), 20, mode="L") == 255).all()
    luma = load(NOISE, (40, 60), mode="L")[:, :, 0]
    np.testing.assert_allclose(luma, NOISE @ [0.299, 0.587, 0.114], atol=1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled_not_clipped(kind):
    deep = np.linspace(0, 65535, 2400).round().astype(np.uint16).reshape(40, 60)
    expected = (deep / 257).round().astype(np.uint8)
    for item in (encoded(Image.fromarray(deep), kind), deep, deep > 0):
        found = load(item, (40, 60), mode="L")[:, :, 0]
        right = (
            (deep > 0) * 255
            if item is not deep and not isinstance(item, bytes)
            else expected
        )
        np.testing.assert_array_equal(found, right)


def test_of_animations_and_pages_the_first_is_taken():
    frames = [Image.new("RGB", (20, 10), (i, 0, 0)) for i in (250, 100, 5)]
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        options = {"lossless": True} if kind == "WEBP" else {}
        more = {"save_all": True, "append_images": frames[1:]}
        found = load(encoded(frames[0], kind, **more, **options), 10)
        assert (found == [250, 0, 0]).all(), kind


# Channels as they are


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_files_of_numpy_may_have_many_channels(dtype, tmp_path):
    image = RNG.integers(0, 200, (30, 20, 13)).astype(dtype)
    np.save(tmp_path / "last.npy", image)
    np.save(tmp_path / "first.npy", image.transpose(2, 0, 1))
    X = ImageLoader((30, 20), mode="raw").transform(tmp_path)
    assert X.shape == (2, 30, 20, 13)
    assert X.dtype == dtype
    np.testing.assert_array_equal(np.asarray(X), [image, image])
    small = ImageLoader(10, mode="raw").transform(tmp_path)[0]
    mean = image[5:25].reshape(10, 2, 10, 2, 13).mean(axis=(1, 3))
    # A triangle weighs the pixels around too.
    assert np.corrcoef(small.ravel(), mean.ravel())[0, 1] > 0.8


def test_raw_keeps_alpha_depth_and_pages():
    four = Image.fromarray(NOISE).convert("RGBA")
    assert load(encoded(four), 8, mode="raw").shape == (8, 8, 4)
    deep = RNG.integers(0, 65536, (40, 60)).astype(np.uint16)
    found = load(encoded(Image.fromarray(deep)), (40, 60), mode="raw")
    np.testing.assert_array_equal(found[:, :, 0], deep)
    pages = [
        Image.fromarray(page) for page in RNG.integers(0, 256, (5, 9, 8), np.uint8)
    ]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    found = load(data, (9, 8), mode="raw")
    np.testing.assert_array_equal(found, np.stack(pages, axis=2))
    doubles = load(RNG.normal(size=(9, 9)), 9, mode="raw")
    assert doubles.dtype == np.float32


def test_all_images_have_the_channels_and_the_dtype_of_the_first():
    like = [
        NOISE,
        NOISE[:, :, :1],
        NOISE.astype(np.uint16),
        NOISE[:9] > 9,
        NOISE * np.nan,
    ]
    X = ImageArray(like, 8, mode="raw", on_error="warn")
    assert X.shape == (5, 8, 8, 3)
    reasons = X.find_broken()
    assert reasons.keys() == {1, 2, 4}
    assert "has 1 channels of uint8, but the first image has 3 of uint8" in reasons[1]
    assert "has 3 channels of uint16" in reasons[2]
    assert "holds NaN or infinity" in reasons[4]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((20, 20, 13), np.uint8), "mode='raw' any"),
        (np.zeros((9, 9, 3), np.float32), "mode='raw' any"),
        (np.zeros((64, 4 + 1, 64), np.uint8), "channels could be first or last"),
        (np.zeros((9, 9), "M8[s]"), "not of numbers"),
        (np.zeros((2, 2, 2, 2), np.uint8), "not of numbers"),
        (np.zeros((0, 9, 3), np.uint8), "no pixels"),
        (Image.new("F", (9, 9)), "32 bits .mode 'F'. and no fixed range"),
        (None, "it is missing"),
        (float("nan"), "it is missing"),
    ],
    ids=["13", "float", "first-or-last", "dates", "axes", "empty", "F", "none", "nan"],
)
def test_what_is_no_image_is_told(image, reason):
    with pytest.raises(ValueError, match=f"row 1 of X cannot be read, .*{reason}"):
        np.asarray(ImageArray([NOISE, image], 8))


# An array


@pytest.fixture(scope="module")
def images():
    """Images of which each has one value, its number."""
    return ImageArray(
        np.arange(30, dtype=np.uint8)[:, None, None].repeat(4, 1), (4, 1), mode="L"
    )


def test_an_array_of_images_is_read_by_rows(images):
    assert is_lazy(images)
    assert isinstance(images, LazyArray)
    assert images.shape == (30, 4, 1, 1)
    assert (images.ndim, len(images), images.dtype) == (4, 30, np.uint8)
    assert images[7].shape == (4, 1, 1)
    rows = np.array([29, 3, 3, 0])
    np.testing.assert_array_equal(read(images, rows)[:, 0, 0, 0], rows)
    np.testing.assert_array_equal(read(images, slice(4, 9))[:, 0, 0, 0], range(4, 9))
    assert read(images, slice(0, 2)).flags.writeable
    assert [int(image[0, 0, 0]) for image in images] == list(range(30))


keys = st.one_of(
    st.slices(30),
    st.integers(-30, 29),
    st.lists(st.integers(-30, 29), min_size=1),
    st.lists(st.integers(-30, 29), min_size=1).map(np.array),
    st.lists(st.booleans(), min_size=30, max_size=30).map(np.array),
    st.lists(st.integers(0, 29), min_size=1).map(torch.tensor),
)


@given(key=keys, second=st.one_of(st.none(), st.slices(20)), rest=st.booleans())
def test_parts_are_those_of_the_array_in_memory(images, key, second, rest):
    whole = np.asarray(images)
    if rest:
        key = (key, Ellipsis)
    found = images[key]
    is_int = isinstance(key[0] if rest else key, int)
    assert isinstance(found, np.ndarray if is_int else ImageArray)
    as_numpy = (
        tuple(np.asarray(k) if torch.is_tensor(k) else k for k in key)
        if rest
        else (key.numpy() if torch.is_tensor(key) else key)
    )
    expected = whole[as_numpy]
    if second is not None and not is_int:
        found, expected = found[second], expected[second]
    assert found.shape == expected.shape
    np.testing.assert_array_equal(np.asarray(found), expected)


def test_parts_beyond_rows_are_arrays(images):
    whole = np.asarray(images)
    np.testing.assert_array_equal(images[:, 1], whole[:, 1])
    np.testing.assert_array_equal(images[[3, 4], :2, 0], whole[[3, 4], :2, 0])
    np.testing.assert_array_equal(images[3, 1:], whole[3, 1:])
    for key in (30, -31, [30], np.zeros((2, 2), int), np.zeros(29, bool), 1.5):
        with pytest.raises(IndexError):
            images[key]
    with pytest.raises(ValueError, match="have to be decoded"):
        np.asarray(images, copy=False)
    assert np.asarray(images, dtype=np.float32).dtype == np.float32


def test_nothing_is_decoded_before_rows_are_read(tmp_path):
    X = ImageLoader(8).transform([str(tmp_path / f"{i}.png") for i in range(50)])
    part = X[10:][[3, 5]]
    assert part.shape == (2, 8, 8, 3)
    Image.fromarray(NOISE).save(tmp_path / "13.png")
    assert part[:1].shape == np.asarray(part[:1]).shape
    with pytest.raises(ValueError, match=r"15\.png: there is no such file"):
        np.asarray(part)


def test_a_pickle_holds_its_own_rows_alone(images):
    many = ImageArray([bytes(1000)] * 500 + [NOISE], 8)
    part = many[[500]]
    assert len(pickle.dumps(part)) < 20_000
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(part))), part)
    part = images[5:20][[3, 1, 1]]
    again = pickle.loads(pickle.dumps(part))
    np.testing.assert_array_equal(np.asarray(again), np.asarray(part))
    np.testing.assert_array_equal(np.asarray(again[1:]), np.asarray(part[1:]))


@pytest.mark.parametrize("n_threads", [1, 3])
def test_rows_read_ahead_are_those_asked_for(images, n_threads):
    X = ImageArray(images, (4, 1), mode="L", n_threads=n_threads)
    whole = np.asarray(X)
    X.read_ahead(slice(3, 9))
    np.testing.assert_array_equal(X.read_rows(slice(2, 9)), whole[2:9])
    np.testing.assert_array_equal(X.read_rows(slice(3, 9)), whole[3:9])
    np.testing.assert_array_equal(X.read_rows(slice(3, 9)), whole[3:9])
    X.read_ahead(np.array([1, 2]))
    X.read_ahead(np.array([2, 1]))
    np.testing.assert_array_equal(X.read_rows(np.array([2, 1])), whole[[2, 1]])
    assert "ImageArray of shape (30, 4, 1, 1), uint8" in repr(X)


# What holds images


def test_a_folder_is_listed_with_the_folders_in_it(tmp_path):
    names = ["b/2.PNG", "a.jpg", "b/1.tiff", "c/d/e.npy", ".hidden/x.png", "b/._1.png"]
    for name in [*names, "b/notes.txt", "png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    expected = [str(tmp_path / name) for name in sorted(names[:4])]
    assert list_images(tmp_path) == list_images(str(tmp_path)) == expected
    assert len(ImageLoader().transform(tmp_path)) == 4


def test_images_come_in_many_kinds_at_once(tmp_path):
    pd = pytest.importorskip("pandas")
    pl = pytest.importorskip("polars")
    pa = pytest.importorskip("pyarrow")
    image = Image.fromarray(NOISE)
    path = tmp_path / "a.png"
    image.save(path)
    text = str(path)
    with path.open("rb") as file:
        tensor = torch.from_numpy(NOISE.transpose(2, 0, 1).copy())
        several = [path, text, file, io.BytesIO(path.read_bytes()), path.read_bytes()]
        several += [image, NOISE, tensor]
        X = ImageLoader((40, 60)).transform(several)
    assert (np.asarray(X) == NOISE).all()
    columns = [
        pd.Series([text]),
        pd.Series([path]),
        pd.Series([image]),
        pl.Series([text]),
    ]
    columns += [pa.array([text]), np.array([text]), np.array([[path]]), (text,)]
    columns += [pd.DataFrame({"a": [text]}), pl.DataFrame({"a": [text]})]
    columns += [
        pa.table({"a": [text]}),
        iter([text]),
        NOISE[None],
        torch.from_numpy(NOISE)[None],
    ]
    for column in columns:
        found = np.asarray(ImageLoader((40, 60)).transform(column))
        np.testing.assert_array_equal(found, NOISE[None])


@pytest.mark.parametrize(
    ("X", "match"),
    [
        ([], "X is empty"),
        (np.array([]), "X is empty"),
        ("nowhere", "'nowhere' does not exist"),
        (__file__, "is a file; pass .* a list of files"),
        (Path(__file__).parent / "stored", "holds no images"),
        (b"bytes", "X is bytes"),
        (None, "X is NoneType"),
        (Image.new("L", (9, 9)), "X is Image"),
        (io.BytesIO(), "X is BytesIO"),
        ({"a": "b"}, "X is dict"),
        ([3], "row 0 of X is 3, of type int"),
        (["a", ["b"]], r"row 1 of X is \['b'\], of type list"),
        (np.zeros((3, 2)), r"an array of float64 of shape \(3, 2\)"),
    ],
    ids=["list", "array", "missing", "file", "none-in-it", "bytes", "none", "image",
         "open-file", "dict", "numbers", "lists", "table"],
)  # fmt: skip
def test_what_holds_no_images_is_told_in_one_sentence(X, match):
    with pytest.raises((ValueError, TypeError), match=match) as caught:
        ImageLoader().transform(X)
    assert str(caught.value).count(". ") == 0


def test_a_frame_of_several_columns_is_told():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"path": ["a"], "label": ["b"]})
    with pytest.raises(ValueError, match="columns path, label; pass one"):
        ImageLoader().transform(frame)


def test_open_files_that_cannot_be_read_are_broken_images(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(NOISE).save(path)
    closed = path.open("rb")
    closed.close()
    with path.open() as text:
        path.write_text("text")
        X = ImageArray([NOISE, closed, text], 8, on_error="warn")
    assert "closed file" in X.find_broken()[1]
    assert "opened as text" in X.broken[2]


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"size": 0}, "size=0; it must be at least 1"),
        ({"size": (3, 4, 5)}, r"size=\(3, 4, 5\) must be the side"),
        ({"size": "big"}, "size='big' must be an integer"),
        ({"mode": "RGBA"}, "mode='RGBA' is not known"),
        ({"resize": "squash"}, "resize='squash' is not known"),
        ({"on_error": "ignore"}, "on_error='ignore' is not known"),
        ({"n_threads": 0}, "n_threads=0; it must be at least 1"),
        ({"cache": 3}, "cache=3 must be the path of a folder"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_parameters_are_checked_by_fit(parameters, match):
    with pytest.raises((ValueError, TypeError), match=match):
        ImageLoader(**parameters).fit([NOISE])
    with pytest.raises((ValueError, TypeError), match=match):
        ImageLoader(**parameters).transform([NOISE])


def test_pillow_is_asked_for(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'sk_dim\[images\]'"):
        ImageLoader().fit(["a.png"])


def test_formats_are_known_to_all_threads_from_the_start():
    assert {"TIFF", "WEBP", "JPEG2000", "TGA"} <= Image.OPEN.keys()


def test_grey_of_jpeg_files_is_that_of_their_colours():
    data = encoded(Image.fromarray(NOISE), "JPEG", quality=95)
    colours = load(data, (40, 60)) @ [0.299, 0.587, 0.114]
    grey = load(data, (40, 60), mode="L")[:, :, 0]
    assert np.abs(grey - colours).mean() < 3  # colours are clipped, brightness is not
