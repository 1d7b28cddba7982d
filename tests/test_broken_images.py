"""Files that cannot be read: named, left out of training, NaN among the features."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sk_dim import (
    DeepInfomaxClassifier,
    DeepInfomaxTransformer,
    ImageLoader,
    list_images,
)
from sk_dim.arrays import describe_broken, find_broken
from sk_dim.evaluation import diagnose, label_efficiency, linear_probe

RNG = np.random.default_rng(0)
FAST = {
    "n_components": 8,
    "max_iter": 1,
    "random_state": 0,
    "batch_size": 32,
    "encoder": "conv",
}
DIM = DeepInfomaxTransformer(**FAST)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def chunk(name, content):
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def huge_png():
    """A file of a few kilobytes that says it has 20,000 times 20,000 pixels."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(10**6))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def corrupt(data):
    """Turn bytes in the middle, where the pixels are."""
    middle = len(data) // 2
    return (
        data[:middle]
        + bytes(255 - b for b in data[middle : middle + 40])
        + data[middle + 40 :]
    )


def no_pixels():
    header = struct.pack(">IIBBBBB", 0, 0, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b"")


def numbers(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


WHOLE = png(RNG.integers(0, 256, (50, 60, 3), dtype=np.uint8))
# By the way in which a file is broken: its name, what is in it, and the reason.
BROKEN = {
    "truncated": ("png", WHOLE[: len(WHOLE) // 2], "truncated"),
    "empty": ("jpg", b"", "the file is empty"),
    "text": ("jpg", b"<html>404 Not Found</html>", "no image that Pillow can read"),
    "extension": ("npy", WHOLE, "pickle|magic string|allow_pickle"),
    "folder": ("jpg", "folder", "it is a folder"),
    "missing": ("jpg", "missing", "there is no such file"),
    "bomb": ("png", huge_png(), "too many pixels .decompression bomb."),
    "no-pixels": ("png", no_pixels(), "no pixels|no image"),
    "corrupt": ("png", corrupt(WHOLE), "broken|bad|decod|CRC|error"),
    "many-channels": ("npy", numbers(np.zeros((20, 20, 9))), "9 channels of float64"),
    "pipe": ("jpg", "pipe", "it is no regular file"),
    "link": ("jpg", "link", "there is no such file"),
    "cut-numpy": ("npy", numbers(np.zeros((9, 9)))[:140], "."),
}


def write(path, content):
    if content == "folder":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    elif content == "link":
        path.symlink_to("nowhere")
    elif content != "missing":
        path.write_bytes(content)


def folder_of(folder, n, broken):
    """Write n files of two kinds, those in `broken` broken in the way it says."""
    paths = []
    for i in range(n):
        suffix, content, _ = BROKEN[broken[i]] if i in broken else ("png", None, None)
        paths.append(folder / f"{i:03}.{suffix}")
        if content is None:
            pixels = RNG.integers(0, 256, (20, 20 + i % 7, 3), dtype=np.uint8)
            pixels[:, :, i % 2] //= 4
            content = png(pixels)
        write(paths[-1], content)
    return paths


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Paths of 60 photos, of which rows 3, 17 and 59 are broken, and labels."""
    broken = {3: "truncated", 17: "empty", 59: "text"}
    paths = folder_of(tmp_path_factory.mktemp("photos"), 60, broken)
    return paths, np.arange(60) % 2


def loaded(paths, **options):
    return ImageLoader(16, on_error="warn", **options).transform(paths)


@pytest.mark.parametrize("way", BROKEN)
def test_the_path_and_the_reason_are_named(way, tmp_path):
    suffix, content, reason = BROKEN[way]
    path = tmp_path / f"photo.{suffix}"
    write(path, content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(
            ValueError, match=rf"row 0 of X .*photo\.{suffix}: .*({reason})"
        ):
            np.asarray(ImageLoader(16).transform([path]))
        found = loaded([path]).find_broken()
    assert found[0].startswith(f"{path}: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all files")
def test_no_permission_is_named(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(WHOLE)
    path.chmod(0)
    with pytest.raises(ValueError, match=r"it may not be read .no permission."):
        np.asarray(ImageLoader(16).transform([path]))
    tmp_path.chmod(0)
    with pytest.raises(ValueError, match=r"it may not be read .no permission."):
        np.asarray(ImageLoader(16).transform([path]))
    with pytest.raises(ValueError, match="may not be read"):
        list_images(tmp_path)
    tmp_path.chmod(0o700)


def test_bombs_a_little_over_the_limit_are_refused_too(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50 * 60 - 1)
    monkeypatch.setattr(Image, "_decompression_bomb_check", lambda *size: None)
    for item in (WHOLE, Image.open(io.BytesIO(WHOLE)), np.zeros((50, 60), np.uint8)):
        with pytest.raises(ValueError, match="too many pixels"):
            np.asarray(ImageLoader(16).transform([item]))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_of_200_files_20_are_broken_in_ten_ways_and_training_goes_on(tmp_path):
    ways = list(BROKEN)[:10]
    broken = {7 + 9 * i: ways[i % 10] for i in range(20)}
    paths = folder_of(tmp_path, 200, broken)
    X = ImageLoader(16, on_error="warn", n_threads=2).transform(paths)
    with pytest.warns(UserWarning, match="20 of 200 rows of X cannot") as caught:
        Z = DIM.fit_transform(X)
    messages = [str(each.message) for each in caught]
    assert len(messages) == 2  # of fit and of transform
    assert "they are left out" in messages[0]
    assert "what is computed of them is NaN" in messages[1]
    assert all(f"row 7: {paths[7]}: " in each for each in messages)
    assert all("; and 15 more)" in each for each in messages)
    assert np.flatnonzero(np.isnan(Z).any(axis=1)).tolist() == sorted(broken)
    assert np.isnan(Z[sorted(broken)]).all()
    assert X.broken.keys() == broken.keys()
    for row, text in X.broken.items():
        assert text.startswith(f"{paths[row]}: ")


def test_features_are_those_of_the_whole_files_alone(photos):
    paths, _ = photos
    whole = np.delete(np.arange(60), [3, 17, 59])
    alone = DIM.fit_transform(ImageLoader(16).transform([paths[i] for i in whole]))
    with pytest.warns(UserWarning, match="3 of 60 rows"):
        Z = DIM.fit_transform(loaded(paths))
    np.testing.assert_array_equal(Z[whole], alone)
    with pytest.warns(UserWarning, match="3 of 60 rows"):
        DIM.fit(loaded(paths), groups=np.arange(60) // 2)
    with pytest.warns(UserWarning, match="3 of 60 rows"):
        layers = DIM.features(loaded(paths))
    assert all(np.isnan(layer[3]).all() for layer in layers.values())
    with pytest.warns(UserWarning, match="they are left out"):
        assert np.isfinite(DIM.score(loaded(paths)))
    with pytest.warns(UserWarning, match="is NaN"):
        assert np.isnan(DIM.local_scores(loaded(paths))[17]).all()
    out = np.zeros_like(Z)
    with pytest.warns(UserWarning, match="is NaN"):
        DIM.transform(loaded(paths), out=out)
    assert np.isnan(out[[3, 17, 59]]).all()
    X = ImageLoader(16).transform([paths[i] for i in whole])
    np.testing.assert_array_equal(out[whole], DIM.transform(X))


def test_fit_refuses_where_nothing_is_left(photos):
    paths, _ = photos
    X = loaded([paths[3], paths[17]])
    with pytest.raises(ValueError, match=r"2 of 2 rows of X cannot be read .* none is"):
        DIM.fit(X)
    X = loaded([paths[3], paths[4]])
    with (
        pytest.warns(UserWarning, match="1 of 2 rows"),
        pytest.raises(ValueError, match=r"1 sample\(s\)"),
    ):
        DIM.fit(X)


@pytest.mark.slow
def test_the_classifier_leaves_them_out(photos):
    paths, y = photos
    given = np.where(np.arange(60) < 30, y, -1)
    model = DeepInfomaxClassifier(DIM, n_steps=5, random_state=0)
    with pytest.warns(UserWarning, match="3 of 60 rows .* left out") as caught:
        model.fit(loaded(paths), given)
    assert len(caught) == 1
    whole = np.delete(np.arange(60), [3, 17, 59])
    X = ImageLoader(16).transform([paths[i] for i in whole])
    again = DeepInfomaxClassifier(DIM, n_steps=5, random_state=0).fit(X, given[whole])
    with pytest.warns(UserWarning, match="is NaN"):
        found = model.predict_proba(loaded(paths))
    np.testing.assert_array_equal(found[whole], again.predict_proba(X))
    assert np.isnan(found[[3, 17, 59]]).all()
    with pytest.warns(UserWarning, match="left out"):
        score = model.score(loaded(paths), y, sample_weight=np.ones(60))
    assert score == again.score(X, y[whole])
    with (
        pytest.warns(UserWarning, match="is NaN"),
        pytest.raises(ValueError, match=r"3 of 60 rows .* the first of them row 3, so"),
    ):
        model.predict(loaded(paths))
    y = np.full(60, -1)
    y[[3, 4]] = 0, 1
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(
            ValueError, match=r"class .*0.* none of its rows in X can be read"
        ),
    ):
        model.fit(loaded(paths), y)


@pytest.mark.slow
def test_judging_leaves_them_out(photos):
    paths, y = photos
    whole = np.delete(np.arange(60), [3, 17, 59])
    X = ImageLoader(16).transform([paths[i] for i in whole])
    dim = DeepInfomaxTransformer(**FAST).fit(X)
    expected = linear_probe(dim, X, y[whole], cv=2, kind="knn")
    with pytest.warns(UserWarning, match="3 of 60 rows .* left out") as caught:
        found = linear_probe(dim, loaded(paths), y, cv=2, kind="knn")
    assert len(caught) == 1
    np.testing.assert_array_equal(found["global"], expected["global"])
    with pytest.warns(UserWarning, match="3 of 60 rows"):
        linear_probe(dim, X, y[whole], X_test=loaded(paths), y_test=y, kind="knn")
    with pytest.warns(UserWarning, match="3 of 60 rows"):
        linear_probe(dim, loaded(paths), y, groups=np.arange(60) % 9, cv=2, kind="knn")
    models = {"features": dim, "pixels": None}
    options = {"n_draws": 1, "random_state": 0}
    kept = label_efficiency(
        models, X, y[whole], [10], X_test=X, y_test=y[whole], **options
    )
    with pytest.warns(UserWarning, match="3 of 60 rows"):
        some = label_efficiency(
            models, loaded(paths), y, [10], X_test=loaded(paths), y_test=y, **options
        )
    np.testing.assert_array_equal(some.scores, kept.scores)
    with pytest.warns(UserWarning, match="3 of 60 rows"):
        assert diagnose(dim, loaded(paths), random_state=0).n_components == 8


def test_a_pipeline_with_a_filler_goes_on(photos):
    from sklearn.impute import SimpleImputer

    paths, y = photos
    loader = ImageLoader(16, on_error="warn")
    model = make_pipeline(loader, DIM, SimpleImputer(), LogisticRegression())
    with pytest.warns(UserWarning, match="3 of 60 rows"):
        assert model.fit(paths, y).predict(paths).shape == (60,)


def test_arrays_of_zeros_are_told_of(photos):
    paths, _ = photos
    with pytest.warns(UserWarning, match=r"3 of 60 rows .* they are zeros"):
        whole = np.asarray(loaded(paths))
    assert not whole[3].any()
    with pytest.warns(UserWarning, match="1 of 1 rows"):
        loaded(paths)[3]
    X = loaded(paths)[10:40]
    assert X.broken == {}
    assert X.find_broken().keys() == {7}
    assert X[7:9].broken.keys() == {0}
    assert loaded(paths)[[4, 3, 3]].find_broken().keys() == {1, 2}


class Damaged:
    """An array of one's own, of which some rows cannot be read."""

    dtype = np.dtype("float32")

    def __init__(self, X, broken):
        self.X, self.broken, self.shape = X, broken, X.shape

    def __getitem__(self, rows):
        rows = np.arange(len(self.X))[rows]
        return Damaged(self.X[rows], {i: self.broken[r] for i, r in enumerate(rows)
                                      if r in self.broken})  # fmt: skip

    def __array__(self, dtype=None, copy=None):
        return np.where(
            np.isin(np.arange(len(self.X)), list(self.broken))[:, None], 0, self.X
        )

    def find_broken(self):
        return self.broken


def test_any_lazy_array_may_tell_of_rows_that_cannot_be_read():
    dim = DeepInfomaxTransformer(**FAST | {"encoder": "auto"})
    table = RNG.normal(size=(80, 5)).astype(np.float32)
    X = Damaged(table, {5: "bad sector", 70: "no reply"})
    with pytest.warns(
        UserWarning, match="2 of 80 rows .*row 5: bad sector; row 70: no"
    ):
        Z = dim.fit_transform(X)
    assert np.flatnonzero(np.isnan(Z[:, 0])).tolist() == [5, 70]
    whole = np.delete(np.arange(80), [5, 70])
    np.testing.assert_array_equal(Z[whole], dim.fit_transform(table[whole]))
    assert find_broken(table) == {}
    text = describe_broken(dict.fromkeys(range(9), "torn"), 10)
    assert text.startswith(
        "9 of 10 rows of X cannot be read (row 0: torn; row 1: torn;"
    )
    assert text.endswith("row 4: torn; and 4 more)")
