"""Decoded images on disk: shared, never wrong, left out where there is no room."""

import errno
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sk_dim import ImageLoader, list_images
from sk_dim._images import _cache, _files
from sk_dim._images._cache import Cache, key_of

RNG = np.random.default_rng(0)


@pytest.fixture
def paths(tmp_path):
    """Thirty files of images of which each has one colour, its number."""
    paths = [tmp_path / f"{i}.png" for i in range(30)]
    for i, path in enumerate(paths):
        Image.new("L", (9 + i % 3, 9), i).save(path)
    return paths


@pytest.fixture
def decoded(monkeypatch):
    """Count what is decoded."""
    items = []
    decode = _files.decode
    monkeypatch.setattr(
        _files, "decode", lambda item, plan: items.append(item) or decode(item, plan)
    )
    return items


def cached(paths, tmp_path, **options):
    return ImageLoader(8, cache=tmp_path / "cache", **options).transform(paths)


def values(X):
    return np.asarray(X)[:, 0, 0, 0].tolist()


def test_images_are_decoded_once_by_whoever_asks(paths, tmp_path, decoded):
    X = cached(paths, tmp_path)
    assert values(X[10:20]) == list(range(10, 20))
    assert values(X) == list(range(30))
    assert len(decoded) == 30
    assert values(X[[5, 4, 4]]) == [5, 4, 4]
    again = cached([str(path) for path in paths[::-1]], tmp_path)
    assert values(again) == list(range(30))[::-1]
    assert values(pickle.loads(pickle.dumps(again[3:5]))) == [26, 25]
    assert len(decoded) == 30
    for other in ({"mode": "L"}, {"resize": "pad"}):
        cached(paths, tmp_path, **other)[0]
    ImageLoader(7, cache=tmp_path / "cache").transform(paths)[0]
    assert len(decoded) == 33
    assert len(list((tmp_path / "cache").glob("*.pixels"))) == 4


def test_paths_are_the_same_from_another_folder(paths, tmp_path, decoded, monkeypatch):
    values(cached(paths, tmp_path))
    monkeypatch.chdir(tmp_path)
    values(cached([path.name for path in paths], tmp_path))
    assert len(decoded) == 30


def test_a_file_that_changes_is_decoded_anew(paths, tmp_path, decoded):
    values(cached(paths, tmp_path))
    Image.new("L", (30, 30), 200).save(paths[3])
    os.utime(paths[4], ns=(1, 1))
    paths[5].unlink()
    with pytest.raises(ValueError, match="no such file"):
        values(cached(paths, tmp_path))
    assert values(cached(paths[:5], tmp_path)) == [0, 1, 2, 200, 4]
    assert set(decoded[30:]) == {paths[3], paths[4], paths[5]}
    assert values(cached(paths[:5], tmp_path)) == [0, 1, 2, 200, 4]
    assert len(decoded) == 30 + 3 + 2  # an error keeps nothing of its batch


def test_images_without_a_path_are_not_cached(tmp_path, decoded):
    image = np.full((8, 8, 3), 7, np.uint8)
    X = cached([image, Image.fromarray(image), image], tmp_path)
    assert values(X) == values(X) == [7, 7, 7]
    assert len(decoded) == 6


def test_broken_files_are_tried_again(paths, tmp_path, decoded):
    whole = paths[3].read_bytes()
    paths[3].write_bytes(whole[:50])
    X = cached(paths, tmp_path, on_error="warn")
    assert X.find_broken().keys() == {3}
    assert len(decoded) == 30
    assert cached(paths, tmp_path, on_error="warn").find_broken().keys() == {3}
    assert len(decoded) == 31
    paths[3].write_bytes(whole)
    assert cached(paths, tmp_path, on_error="warn").find_broken() == {}
    assert len(decoded) == 32


def test_any_dtype_is_cached(tmp_path, decoded):
    image = RNG.normal(size=(8, 8, 6)).astype(np.float32)
    np.save(tmp_path / "a.npy", image)
    for _ in range(2):
        X = cached([tmp_path / "a.npy"], tmp_path, mode="raw")
        np.testing.assert_array_equal(X[0], image)
    assert len(decoded) == 3  # two to learn what the images are


# Several processes

FILL = """
import sys
from sk_dim import ImageLoader, list_images
X = ImageLoader(8, cache=sys.argv[2]).transform(list_images(sys.argv[1]))
order = range(0, 30, 3) if sys.argv[3] == "up" else range(27, -1, -3)
for start in order:
    images = X.read_rows(slice(start, start + 3))
    print(images[:, 0, 0, 0].tolist(), flush=True)
"""


@pytest.mark.slow
def test_two_loaders_fill_one_cache_at_once(paths, tmp_path, decoded):
    command = [sys.executable, "-c", FILL, str(tmp_path), str(tmp_path / "cache")]
    both = [
        subprocess.Popen([*command, order], stdout=subprocess.PIPE, text=True)
        for order in ("up", "down")
    ]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(outputs[0].split("\n")) == sorted(outputs[1].split("\n"))
    X = cached(list_images(tmp_path), tmp_path)
    assert sorted(values(X)) == list(range(30))
    assert decoded == []


# Without the rest of the package, whose import takes longer than all these tests.
ALONE = """
import importlib.util, os, signal, sys
import numpy as np
spec = importlib.util.spec_from_file_location("cache", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
cache = module.Cache(sys.argv[2], (8, 8), np.dtype("uint8"), "")
"""
ADD = """
step = int(sys.argv[3])
for start in range(0, 200, 5)[::step]:
    values = np.arange(start, start + 5, dtype=np.uint8)
    images = values[:, None, None].repeat(8, 1).repeat(8, 2)
    slots = cache.add([bytes([i]) * 16 for i in values], images)
    assert (cache.read(slots) == images).all()
"""
DIE = """
write = cache._write
def write_and_die(first, images):
    write(first, images[:1] if sys.argv[3] == "half" else images)
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[3] != "after":
    cache._write = write_and_die
cache.add([bytes([i]) * 16 for i in range(5)], np.full((5, 8, 8), 99, np.uint8))
os.kill(os.getpid(), signal.SIGKILL)
"""


def start(code, folder, argument):
    """Run code with a cache in a process of its own."""
    command = [sys.executable, "-c", ALONE + code, _cache.__file__, str(folder)]
    return subprocess.Popen([*command, argument])


def numbered(n):
    return np.arange(n, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2)


def test_two_processes_fill_one_cache_at_once(tmp_path):
    both = [start(ADD, tmp_path, step) for step in ("1", "-1")]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    cache = Cache(tmp_path, (8, 8), np.dtype("uint8"), "")
    slots = cache.find([bytes([i]) * 16 for i in range(200)])
    assert sorted(slots) == list(range(200))  # none is there twice
    np.testing.assert_array_equal(cache.read(slots), numbered(200))


@pytest.mark.parametrize("when", ["half", "before", "after"])
def test_a_writer_that_is_killed_leaves_no_wrong_image(when, tmp_path):
    keys = [bytes([i]) * 16 for i in range(5)]
    cache = Cache(tmp_path, (8, 8), np.dtype("uint8"), "")
    first = np.full((1, 8, 8), 50, np.uint8)
    cache.add([b"first" + bytes(11)], first)
    assert start(DIE, tmp_path, when).wait(timeout=300) == -signal.SIGKILL
    slots = cache.find(keys)
    assert (slots >= 0).tolist() == [when == "after"] * 5
    added = cache.add(keys, numbered(5))
    expected = np.full((5, 8, 8), 99) if when == "after" else numbered(5)
    np.testing.assert_array_equal(cache.read(added), expected)
    np.testing.assert_array_equal(cache.read(cache.find(keys)), expected)
    np.testing.assert_array_equal(cache.read(np.array([0])), first)


def test_a_key_that_comes_twice_has_one_image(tmp_path):
    cache = Cache(tmp_path, (2,), np.dtype("uint8"), "")
    slots = cache.add(
        [b"a" * 16, b"b" * 16, b"a" * 16], np.array([[1, 1], [2, 2], [1, 1]], "u1")
    )
    assert slots[0] == slots[2]
    assert cache.read(slots).tolist() == [[1, 1], [2, 2], [1, 1]]
    assert cache.find([b"c" * 16, None, b"b" * 16]).tolist()[:2] == [-1, -1]
    many = [i.to_bytes(16, "big") for i in range(1200)]
    assert (cache.find(many) == -1).all()
    cache.add(many, np.arange(2400).reshape(1200, 2).astype(np.uint8))
    assert cache.read(cache.find(many))[-1].tolist() == [2398 % 256, 2399 % 256]


# What can go wrong


def test_folders_that_cannot_be_written_to_are_told(tmp_path, paths, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(
        ValueError, match=r"cache='.*file' cannot be written to .*; give"
    ):
        ImageLoader(cache=tmp_path / "file").transform(paths)

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        ValueError, match=r"cannot be written to .Permission denied.; giv"
    ):
        ImageLoader(cache=tmp_path / "cache").transform(paths)


def test_a_full_disk_is_warned_of_once_and_reading_goes_on(
    paths, tmp_path, monkeypatch
):
    X = cached(paths, tmp_path)
    assert values(X[:5]) == list(range(5))

    def no_room(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_cache.os, "pwrite", no_room)
    with pytest.warns(UserWarning, match="not cached, for the disk is full; "):
        assert values(X) == list(range(30))
    assert values(X) == list(range(30))


def test_a_folder_that_is_deleted_meanwhile_does_no_harm(paths, tmp_path):
    X = cached(paths, tmp_path)
    assert values(X[:5]) == list(range(5))
    for file in (tmp_path / "cache").iterdir():
        file.unlink()
    # Another process makes it again, with other images in the same places.
    assert values(cached(paths[::-1], tmp_path)) == list(range(30))[::-1]
    with pytest.warns(UserWarning, match="not cached, for its files were deleted"):
        assert values(X) == list(range(30))


@pytest.mark.parametrize("which", ["index", "pixels", "both-differ", "short"])
def test_damaged_caches_are_told(which, paths, tmp_path):
    values(cached(paths, tmp_path))
    (index,), (pixels,) = (
        (tmp_path / "cache").glob(f"*.{end}") for end in ("sqlite", "pixels")
    )
    if which == "index":
        index.write_bytes(b"no database" * 500)
    elif which == "pixels":
        pixels.unlink()
    elif which == "both-differ":
        pixels.write_bytes(bytes(pixels.stat().st_size))
    else:
        os.truncate(pixels, 5000)
    with pytest.raises(
        ValueError, match=r"the cache in .* is damaged.*; delete the folder"
    ):
        values(cached(paths, tmp_path))


def test_an_index_that_is_lost_is_made_again(paths, tmp_path, decoded):
    values(cached(paths, tmp_path))
    (index,) = (tmp_path / "cache").glob("*.sqlite")
    index.unlink()
    assert values(cached(paths[::-1], tmp_path)) == list(range(30))[::-1]
    assert len(decoded) == 60


def test_keys_differ_by_path_time_and_size(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    keys = {key_of(path)}
    assert key_of(str(path)) in keys
    os.utime(path, ns=(5, 5))
    keys.add(key_of(path))
    path.write_bytes(b"22")
    os.utime(path, ns=(5, 5))
    keys.add(key_of(path))
    assert len(keys) == 3
    assert key_of(tmp_path / "none") is None
    assert key_of("nul\0") is None
