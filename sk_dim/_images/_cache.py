"""Decoded images in a file that several processes read and write at once.

Of each recipe there are two files in the folder: one of pixels, an image after the
other, and an index of SQLite, which says where the image of a key is. A key is made of
the path, the time and the size of a file, so that of a changed file there is none. An
image is on the disk before the index says so: a process that is killed, or a power cut,
leaves images that nobody finds, and that the next writer writes over.
"""

import errno
import math
import mmap
import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

VERSION = 1  # of the files; images that are decoded otherwise need another
TIMEOUT = 60.0  # seconds to wait for other writers
N_KEYS = 500  # asked for at once
KEY_BYTES = 16
HEADER_BYTES = 4096  # before the first image, with the token that the index has too
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class CacheFullError(Exception):
    """No image can be added, for the disk is full or the folder was deleted."""


def key_of(path: str | os.PathLike[str]) -> bytes | None:
    """Return what a file is found by as it is now; None if there is no such file."""
    try:
        status = os.stat(path)  # noqa: PTH116 (quick, for a million files)
    except (OSError, ValueError):
        return None
    absolute = os.path.abspath(path)  # noqa: PTH100 (quick, and follows no links)
    text = f"{status.st_mtime_ns}:{status.st_size}:{absolute}"
    return blake2b(os.fsencode(text), digest_size=KEY_BYTES).digest()


class Cache:
    """Images of one shape, found by keys.

    Parameters
    ----------
    folder : path
        Where the files are; it is made if there is none.
    shape : tuple of int
        Of an image.
    dtype : numpy.dtype
        Of its values.
    recipe : str
        All else that decides how images are decoded.

    Raises
    ------
    ValueError
        If the folder cannot be written to, or the index is damaged.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        shape: tuple[int, ...],
        dtype: np.dtype,
        recipe: str,
    ) -> None:
        self.folder = Path(folder).absolute()
        self.shape, self.dtype = shape, dtype
        text = f"{VERSION} {shape} {dtype.str} {recipe}"
        name = blake2b(text.encode(), digest_size=8).hexdigest()
        self.pixels = self.folder / f"{name}.pixels"
        self.index = self.folder / f"{name}.sqlite"
        self.n_bytes = math.prod(shape) * dtype.itemsize
        self._file: int | None = None  # what belongs to this process
        self._mapped = np.empty((0, *shape), dtype)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._connect() as db:
                self._begin(db)
        except OSError as error:
            raise ValueError(
                f"cache={str(folder)!r} cannot be written to ({error.strerror}); give "
                "a folder on a disk of this machine that can."
            ) from error
        except sqlite3.OperationalError as error:
            raise ValueError(
                f"cache={str(folder)!r} cannot be written to ({error}); give a folder "
                "on a disk of this machine that can."
            ) from error

    def _begin(self, db: sqlite3.Connection) -> None:
        """Make the two files, or see that they belong together."""
        db.execute("BEGIN IMMEDIATE")
        db.execute(
            "CREATE TABLE IF NOT EXISTS images "
            "(slot INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE)"
        )
        db.execute("CREATE TABLE IF NOT EXISTS tokens (token BLOB)")
        found = db.execute("SELECT token FROM tokens").fetchone()
        if found is None:
            token = secrets.token_bytes(KEY_BYTES)
            self.pixels.unlink(missing_ok=True)  # of an index that was deleted
            self._file = os.open(self.pixels, os.O_RDWR | os.O_CREAT, 0o666)
            os.pwrite(self._file, token, 0)
            os.fdatasync(self._file)
            db.execute("INSERT INTO tokens VALUES (?)", (token,))
        elif not self._is_there() or os.pread(self._open(), KEY_BYTES, 0) != found[0]:
            raise ValueError(
                f"the cache in {str(self.folder)!r} is damaged, for its files do not "
                "belong together; delete the folder."
            )
        db.execute("COMMIT")

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_file": None, "_mapped": self._mapped[:0].copy()}

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            os.close(file)

    def find(self, keys: Sequence[bytes | None]) -> np.ndarray:
        """Return the slots (n,) of images, -1 of those that there are not."""
        slots = np.full(len(keys), -1, dtype=np.int64)
        if not self._is_there():
            return slots
        try:
            with self._connect() as db:
                found = _look_up(db, [key for key in keys if key is not None])
        except sqlite3.OperationalError:  # too busy
            return slots
        slots[:] = [-1 if key is None else found.get(key, -1) for key in keys]
        return slots

    def read(self, slots: np.ndarray) -> np.ndarray:
        """Return the images in slots as a new array."""
        if len(slots) and slots.max() >= len(self._mapped):
            self._map(int(slots.max()) + 1)
        return self._mapped[slots]

    def add(self, keys: Sequence[bytes], images: np.ndarray) -> np.ndarray:
        """Write images (n, ...), and return their slots (n,).

        Raises
        ------
        CacheFullError
            If there is no room for them, or the files are no more.
        """
        if not self._is_there():
            raise CacheFullError("its files were deleted")
        try:
            with self._connect() as db:
                # No other process writes until this one is done.
                db.execute("BEGIN IMMEDIATE")
                known = _look_up(db, keys)
                new = [i for i, key in enumerate(keys) if key not in known]
                new = list({keys[i]: i for i in new}.values())  # a path may come twice
                query = "SELECT coalesce(max(slot) + 1, 0) FROM images"
                first = db.execute(query).fetchone()[0]
                self._write(first, images[new])
                entries = [(first + i, keys[row]) for i, row in enumerate(new)]
                db.executemany("INSERT INTO images VALUES (?, ?)", entries)
                db.execute("COMMIT")
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise CacheFullError("the disk is full") from error
        except sqlite3.OperationalError as error:
            raise CacheFullError(str(error)) from error
        known |= {key: slot for slot, key in entries}
        return np.array([known[key] for key in keys], dtype=np.int64)

    def _write(self, first: int, images: np.ndarray) -> None:
        """Write images to the disk from a slot on."""
        rest = np.ascontiguousarray(images).reshape(-1).view(np.uint8).data
        place = HEADER_BYTES + first * self.n_bytes
        while len(rest):
            n_written = os.pwrite(self._open(), rest, place)
            rest, place = rest[n_written:], place + n_written
        os.fdatasync(self._open())

    def _open(self) -> int:
        if self._file is None:
            self._file = os.open(self.pixels, os.O_RDWR)
        return self._file

    def _is_there(self) -> bool:
        """Whether the file of pixels is the one that was opened."""
        try:
            return os.path.samestat(os.fstat(self._open()), self.pixels.stat())
        except FileNotFoundError:
            return False

    def _map(self, n_slots: int) -> None:
        """Map all images that there are, at least so many."""
        n_there = (os.fstat(self._open()).st_size - HEADER_BYTES) // self.n_bytes
        if n_there < n_slots:
            raise ValueError(
                f"the cache in {str(self.folder)!r} is damaged, for "
                f"{self.pixels.name!r} is too short; delete the folder."
            )
        length = HEADER_BYTES + n_there * self.n_bytes
        mapped = mmap.mmap(self._open(), length, prot=mmap.PROT_READ)
        values = np.frombuffer(mapped, self.dtype, offset=HEADER_BYTES)
        self._mapped = values.reshape(n_there, *self.shape)

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """Open the index for this thread; what is not committed is undone."""
        try:
            connection = sqlite3.connect(
                self.index, timeout=TIMEOUT, isolation_level=None
            )
            with closing(connection):
                yield connection
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"the cache in {str(self.folder)!r} is damaged ({error}); delete the "
                "folder."
            ) from error


def _look_up(db: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, int]:
    """Return the slots of those keys that the index has."""
    found: dict[bytes, int] = {}
    for start in range(0, len(keys), N_KEYS):
        part = keys[start : start + N_KEYS]
        marks = ",".join("?" * len(part))
        query = f"SELECT key, slot FROM images WHERE key IN ({marks})"
        found.update(db.execute(query, part))
    return found
