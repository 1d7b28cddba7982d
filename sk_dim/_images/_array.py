"""ImageArray: images of many files as one array that is read by rows."""

import os
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import numpy as np

from sk_dim._images._sources import read_items, require_pillow
from sk_dim._validation import check_integer, check_name, warn
from sk_dim.arrays import describe_broken

if TYPE_CHECKING:
    from sk_dim._images._files import Files

Rows = slice | np.ndarray


def check_options(
    size: Any, mode: Any, resize: Any, on_error: Any, cache: Any, n_threads: Any
) -> tuple[int, int]:
    """Check the parameters of a loader, and return height and width."""
    check_name("mode", mode, ("RGB", "L", "raw"))
    check_name("resize", resize, ("crop", "pad"))
    check_name("on_error", on_error, ("raise", "warn"))
    if n_threads is not None:
        check_integer("n_threads", n_threads, 1, also="None")
    if cache is not None and not isinstance(cache, str | os.PathLike):
        raise TypeError(f"cache={cache!r:.60} must be the path of a folder, or None.")
    sides = size if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2:
        raise ValueError(
            f"size={size!r} must be the side of a square in pixels, or (height, width)."
        )
    height, width = (check_integer("size", side, 1) for side in sides)
    return height, width


class ImageArray:
    """Images of files of any size as one array, decoded when rows are read.

    It is what :class:`ImageLoader` makes, and can be the `X` of `fit` and `transform`.
    Slices, index arrays and boolean arrays give an ImageArray of these rows, which
    nothing was read for; an integer gives one image, and ``np.asarray`` all of them. It
    can be pickled, and holds the paths of its own rows alone then.

    Parameters
    ----------
    X : path, array-like of shape (n,) or ImageArray
        As :meth:`ImageLoader.transform` takes it.
    size : int or (int, int), default=160
        Side in pixels, or height and width, as all others in :class:`ImageLoader`.
    mode : {"RGB", "L", "raw"}, default="RGB"
        Colours, grey, or channels as they are.
    resize : {"crop", "pad"}, default="crop"
        What becomes of images that are no squares.
    on_error : {"raise", "warn"}, default="raise"
        What to do with images that cannot be read.
    cache : path, default=None
        Folder for the decoded images of files.
    n_threads : int, default=None
        Threads that decode; None takes as many as PyTorch computes with.

    Attributes
    ----------
    shape : tuple of int
        ``(n, height, width, channels)``.
    dtype : numpy.dtype
        uint8; with ``mode="raw"`` also uint16, int16 or float32.
    broken : dict of int to str
        Rows that could not be read so far, and for each of them its path and the
        reason. :meth:`find_broken` tries all.

    Raises
    ------
    ValueError or TypeError
        For what holds no images, and parameters that cannot be used. When rows are
        read: for the first that cannot be, with its path and the reason, unless
        ``on_error="warn"``.

    See Also
    --------
    ImageLoader : The same as a step of a pipeline.
    sk_dim.arrays.LazyArray : What else can be read by rows.

    Examples
    --------
    >>> import numpy as np
    >>> from PIL import Image
    >>> from sk_dim import ImageArray
    >>> photos = [Image.new("RGB", (60 + i, 40), (i, 0, 0)) for i in range(10)]
    >>> images = ImageArray(photos, size=32)
    >>> images
    ImageArray of shape (10, 32, 32, 3), uint8
    >>> images[[7, 2]].shape, images[7].shape
    ((2, 32, 32, 3), (32, 32, 3))
    >>> np.asarray(images[2:5])[:, 0, 0, 0]
    array([2, 3, 4], dtype=uint8)
    """

    def __init__(
        self,
        X: Any,
        size: int | tuple[int, int] = 160,
        *,
        mode: str = "RGB",
        resize: str = "crop",
        on_error: str = "raise",
        cache: str | os.PathLike[str] | None = None,
        n_threads: int | None = None,
    ) -> None:
        height, width = check_options(size, mode, resize, on_error, cache, n_threads)
        require_pillow()
        from sk_dim._images._decoding import Plan
        from sk_dim._images._files import Files

        items = X._files.items[X._rows] if isinstance(X, ImageArray) else read_items(X)
        files = Files(
            items,
            Plan(height, width, mode, resize),
            skips_broken=on_error == "warn",
            cache=cache,
            n_threads=n_threads,
        )
        self._set(files, np.arange(len(items)))

    def _set(self, files: "Files", rows: np.ndarray) -> "ImageArray":
        from sk_dim._images._files import Ahead

        self._files, self._rows, self._ahead = files, rows, Ahead()
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Images, height, width, channels."""
        return (len(self._rows), *self._files.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of the values."""
        return self._files.dtype

    @property
    def ndim(self) -> int:
        """Axes: 4."""
        return len(self.shape)

    @property
    def broken(self) -> dict[int, str]:
        """Rows that could not be read so far, and why."""
        broken = self._files.broken
        places = np.flatnonzero(np.isin(self._rows, list(broken)))
        return {place: broken[int(self._rows[place])] for place in places.tolist()}

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"ImageArray of shape {self.shape}, {self.dtype}"

    def __getitem__(self, key: Any) -> Any:
        rows, *others = key if isinstance(key, tuple) else (key,)
        if not all(_takes_all(each) for each in others):
            part = self[rows]
            if isinstance(part, ImageArray):
                return np.asarray(part)[(slice(None), *others)]
            return part[tuple(others)]
        if isinstance(rows, EllipsisType):
            return self
        chosen = self._rows[rows if isinstance(rows, slice) else np.asarray(rows)]
        if chosen.ndim == 0:
            return self._warned(np.array([chosen]))[0]
        if chosen.ndim > 1:
            raise IndexError(
                f"images are chosen by one axis of numbers, not {chosen.ndim}; convert "
                "the array first, by numpy.asarray."
            )
        return object.__new__(ImageArray)._set(self._files, chosen)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("images have to be decoded; NumPy cannot view them.")
        return self._warned(self._rows).astype(dtype or self.dtype, copy=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self._files.part(self._rows)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._set(state["files"], np.arange(len(state["files"].items)))

    def read_rows(self, rows: Rows) -> np.ndarray:
        """Decode some of the images.

        Parameters
        ----------
        rows : slice or ndarray of int, of shape (m,)
            In any order; a row may come twice.

        Returns
        -------
        ndarray of shape (m, height, width, channels)
            New; of rows that cannot be read zeros, with ``on_error="warn"``.

        Raises
        ------
        ValueError
            At the first that cannot be read, with ``on_error="raise"``.
        """
        chosen = self._rows[rows]
        images = self._ahead.take(chosen)
        return self._files.load(chosen) if images is None else images

    def read_ahead(self, rows: Rows) -> None:
        """Begin to decode images in a thread, which `read_rows` will be asked for next.

        Parameters
        ----------
        rows : slice or ndarray of int, of shape (m,)
            As they will be asked for.
        """
        self._ahead.begin(self._files, self._rows[rows])

    def find_broken(self) -> dict[int, str]:
        """Try all images that were not tried yet, and return those that are broken.

        Takes as long as decoding them, and fills the cache.

        Returns
        -------
        dict of int to str
            Rows that cannot be read, and for each of them its path and the reason.
            Empty with ``on_error="raise"``, where nothing is tried.
        """
        if self._files.skips_broken:
            self._files.check(self._rows)
        return self.broken

    def _warned(self, rows: np.ndarray) -> np.ndarray:
        """Decode images for a user, who is told where they are zeros."""
        images = self._files.load(rows)
        part = object.__new__(ImageArray)._set(self._files, rows)
        if part.broken:
            warn(f"{describe_broken(part.broken, len(rows))}; they are zeros.")
        return images


def _takes_all(key: Any) -> bool:
    return key is Ellipsis or (isinstance(key, slice) and key == slice(None))
