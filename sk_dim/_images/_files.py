"""Decoding many images: in threads, through a cache, without those that are broken."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from sk_dim._images._cache import Cache, CacheFullError, key_of
from sk_dim._images._decoding import Plan, decode, why
from sk_dim._images._sources import name_of
from sk_dim._validation import warn

NOT_LOOKED_UP, NOT_CACHED = -2, -1  # in place of a slot of the cache
Outcome = Exception | None


@lru_cache(maxsize=8)
def _threads(n_threads: int, process: int, purpose: str) -> ThreadPoolExecutor:
    """Return threads of this process; those of a parent are not in a forked one."""
    return ThreadPoolExecutor(n_threads, f"sk_dim-{purpose}")


class Files:
    """Images that are decoded when they are asked for.

    Parameters
    ----------
    items : ndarray of object, of shape (n,)
        Paths, bytes, PIL images, arrays, errors.
    plan : Plan
        What to make of them.
    skips_broken : bool
        Whether images that cannot be read are zeros, and not an error.
    cache : path or None
        Folder of the cache.
    n_threads : int or None
        That decode; None takes as many as torch does.

    Attributes
    ----------
    shape : tuple of int
        Of an image: height, width, channels.
    dtype : numpy.dtype
        Of its values: uint8, or of channels as they are that of the first image.
    broken : dict of int to str
        Why images cannot be read, of those that were tried.
    """

    def __init__(
        self,
        items: np.ndarray,
        plan: Plan,
        *,
        skips_broken: bool,
        cache: str | os.PathLike[str] | None,
        n_threads: int | None,
    ) -> None:
        self.items = items
        self.plan = plan
        self.skips_broken = skips_broken
        self.n_threads = n_threads
        self.broken: dict[int, str] = {}
        self.is_checked = np.zeros(len(items), dtype=bool)
        self.slots = np.full(len(items), NOT_LOOKED_UP)
        self.shape, self.dtype = self._look()
        self.cache = None
        if cache is not None:
            self.cache = Cache(cache, self.shape, self.dtype, repr(plan))

    def part(self, rows: np.ndarray) -> "Files":
        """Return those of some rows, to be pickled without the others."""
        part = object.__new__(Files)
        places = enumerate(rows.tolist() if self.broken else [])
        own = {
            "items": self.items[rows],
            "is_checked": self.is_checked[rows],
            "slots": self.slots[rows],
            "broken": {i: self.broken[row] for i, row in places if row in self.broken},
        }
        vars(part).update(vars(self) | own)
        return part

    def load(self, rows: np.ndarray) -> np.ndarray:
        """Return images (m, height, width, channels) as a new array.

        Raises
        ------
        ValueError
            At the first that cannot be read, unless these are skipped.
        """
        if self.cache is None:
            return self._decode(rows)[0]
        keys = self._look_up(rows)
        slots = self.slots[rows]
        is_cached = slots >= 0
        if is_cached.all():
            self.is_checked[rows] = True
            return self.cache.read(slots)
        images = np.empty((len(rows), *self.shape), self.dtype)
        images[is_cached] = self.cache.read(slots[is_cached])
        self.is_checked[rows[is_cached]] = True
        places = np.flatnonzero(~is_cached)
        decoded, is_fine = self._decode(rows[places])
        images[places] = decoded
        self._keep(rows[places[is_fine]], decoded[is_fine], keys)
        return images

    def check(self, rows: np.ndarray) -> None:
        """Try images that were not tried yet, and keep why they cannot be read."""
        if self.cache is not None:
            self._look_up(rows)
            self.is_checked[rows[self.slots[rows] >= 0]] = True
        rows = np.unique(rows[~self.is_checked[rows]])
        n_at_once = max(64, 16 * self._n_threads())
        for start in range(0, len(rows), n_at_once):
            self.load(rows[start : start + n_at_once])

    def _look(self) -> tuple[tuple[int, ...], np.dtype]:
        """Return the shape and the dtype of an image, of the first if they depend."""
        plan = self.plan
        if plan.n_channels is not None:
            return (plan.height, plan.width, plan.n_channels), np.dtype(np.uint8)
        for row in range(len(self.items)):
            try:
                image = decode(self.items[row], plan)
            except MemoryError:
                raise
            except Exception as error:
                self._refuse(row, error)
                continue
            return image.shape, image.dtype
        raise ValueError(
            f"none of the {len(self.items)} images in X can be read, the first because "
            f"of this: {self.broken[0]}."
        )

    def _n_threads(self) -> int:
        # As many as the share that joblib gives to a process.
        return self.n_threads or torch.get_num_threads()

    def _decode(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return images, and which of them could be read; the others are zeros."""
        images = np.zeros((len(rows), *self.shape), self.dtype)

        def one(place: int) -> Outcome:
            row = rows[place]
            if row in self.broken:
                return ValueError()
            try:
                image = decode(self.items[row], self.plan)
                self._check_kind(image)
            except MemoryError:
                raise
            except Exception as error:
                return error
            images[place] = image
            return None

        n_threads = min(self._n_threads(), len(rows))
        if n_threads > 1:
            threads = _threads(self._n_threads(), os.getpid(), "decode")
            outcomes = list(threads.map(one, range(len(rows))))
        else:
            outcomes = list(map(one, range(len(rows))))
        for row, outcome in zip(rows.tolist(), outcomes, strict=True):
            if outcome is not None and row not in self.broken:
                self._refuse(row, outcome)
        self.is_checked[rows] = True
        return images, np.array([outcome is None for outcome in outcomes], dtype=bool)

    def _check_kind(self, image: np.ndarray) -> None:
        """Raise a ValueError for another number of channels, or a wider dtype."""
        if image.shape != self.shape or not np.can_cast(image.dtype, self.dtype):
            raise ValueError(
                f"it has {image.shape[2]} channels of {image.dtype}, but the first "
                f"image has {self.shape[2]} of {self.dtype}"
            )

    def _refuse(self, row: int, error: Exception) -> None:
        """Keep why an image cannot be read, or raise an error that tells it."""
        text = f"{name_of(self.items[row])}: {why(error)}"
        if not self.skips_broken:
            raise ValueError(
                f"row {row} of X cannot be read, {text}; leave it out, or use "
                "ImageLoader(on_error='warn')."
            ) from error
        self.broken[row] = text

    def _look_up(self, rows: np.ndarray) -> dict[int, bytes]:
        """Find images in the cache, and return the keys of those that are not there."""
        assert self.cache is not None
        keys = {}
        for row in rows[self.slots[rows] < 0].tolist():
            item = self.items[row]
            is_path = isinstance(item, str | os.PathLike)
            key = key_of(item) if is_path and row not in self.broken else None
            if key is not None:
                keys[row] = key
        if keys:
            numbers = np.fromiter(keys, dtype=np.int64)
            self.slots[numbers] = self.cache.find(list(keys.values()))
        return keys

    def _keep(
        self, rows: np.ndarray, images: np.ndarray, keys: dict[int, bytes]
    ) -> None:
        """Write images into the cache, as long as there is room in it."""
        has_key = np.array([row in keys for row in rows.tolist()], dtype=bool)
        rows, images = rows[has_key], images[has_key]
        if self.cache is None or not len(rows):
            return
        try:
            added = self.cache.add([keys[row] for row in rows.tolist()], images)
        except CacheFullError as error:
            self.cache = None
            warn(
                f"the images that follow are not cached, for {error}; training goes "
                "on and decodes them each time."
            )
            return
        self.slots[rows] = added


class Ahead:
    """Rows that a thread loads while others are used."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rows: np.ndarray | None = None
        self.images: Any = None

    def begin(self, files: Files, rows: np.ndarray) -> None:
        """Load rows in a thread; what was loaded before is dropped."""
        # One of its own: it waits for those that decode.
        executor = _threads(1, os.getpid(), "read-ahead")
        with self.lock:
            self.rows = rows
            self.images = executor.submit(files.load, rows)

    def take(self, rows: np.ndarray) -> np.ndarray | None:
        """Return these rows if they are loaded or on their way, else None."""
        with self.lock:
            if self.rows is None or not np.array_equal(self.rows, rows):
                return None
            images, self.rows, self.images = self.images, None, None
        return images.result()
