"""What holds images: folders, lists and columns of paths, bytes, open files, arrays.

This module imports nothing of its own folder.
"""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sk_dim._labels import is_missing

# Those that the names of files of images end in.
SUFFIXES = (
    *(".apng", ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe"),
    *(".jpeg", ".jpg", ".npy", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif"),
    *(".tiff", ".webp"),
)
WHAT_TO_PASS = (
    "pass a folder, or a list, array or column of paths, bytes, open files, PIL images "
    "or NumPy images"
)


def require_pillow() -> ModuleType:
    """Return the module PIL.Image.

    Raises
    ------
    ImportError
        That says how to install it.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "ImageLoader needs the package Pillow; install it by "
            "pip install 'sk_dim[images]'."
        ) from error
    return Image


def list_images(folder: str | os.PathLike[str]) -> list[str]:
    """List the files of images in a folder and all folders in it.

    Give the list to cross-validation and searches, which cannot split the name of a
    folder, and make labels of it.

    Parameters
    ----------
    folder : str or path-like
        Where to look.

    Returns
    -------
    list of str
        Paths, sorted, that begin with `folder`. They are those of files whose names end
        in ".jpg", ".png", ".tif", ".webp", ".npy" and the like, in small or capital
        letters. Files and folders whose name begins with a dot are left out.

    Raises
    ------
    TypeError
        If `folder` is no path.
    ValueError
        If it is no folder, or may not be read, or there is no file of an image in it.

    See Also
    --------
    ImageLoader : Makes one array of them.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from sk_dim import list_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat", "dog"):
    ...         Path(folder, name).mkdir()
    ...         Image.new("RGB", (40, 30)).save(Path(folder, name, "1.png"))
    ...     paths = list_images(folder)
    >>> [Path(path).parent.name for path in paths]  # the labels
    ['cat', 'dog']
    """
    if not isinstance(folder, str | os.PathLike):
        raise TypeError(f"folder={folder!r:.60} must be a path, a str or pathlib.Path.")
    given = os.fspath(folder)
    if not Path(given).exists():
        raise ValueError(f"{given!r} does not exist; pass the path of a folder.")
    if not Path(given).is_dir():
        raise ValueError(
            f"{given!r} is a file; pass the path of a folder, or a list of files such "
            f"as [{given!r}]."
        )
    found: list[str] = []
    refused: list[OSError] = []
    for parent, folders, names in os.walk(given, onerror=refused.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found.extend(
            os.path.join(parent, name)  # noqa: PTH118 (quick, for a million files)
            for name in names
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        )
    if refused:
        raise ValueError(
            f"{refused[0].filename!r} may not be read ({refused[0].strerror}); change "
            "its permissions, or pass a list of files."
        )
    if not found:
        raise ValueError(
            f"{given!r} holds no images, also not in its folders; names of files must "
            "end in .jpg, .png, .tif, .webp, .npy or the like."
        )
    return sorted(found)


def read_items(X: Any) -> np.ndarray:
    """Return what X holds, an image or where one is in each place, as objects (n,).

    Open files are read, so that they need not stay open; nothing else is.

    Raises
    ------
    TypeError or ValueError
        If X, or something in it, is no image or place of one; if there is none.
    """
    if isinstance(X, str | os.PathLike):
        X = list_images(X)
    items = _as_list(X)
    if not items:
        raise ValueError(f"X is empty; {WHAT_TO_PASS}.")
    for kind in set(map(type, items)):
        if _is_open_file(kind):
            items = [_read(each) if type(each) is kind else each for each in items]
        elif not _is_known(kind):
            row = next(i for i, each in enumerate(items) if type(each) is kind)
            if not is_missing(items[row]):
                raise TypeError(
                    f"row {row} of X is {items[row]!r:.60}, of type {kind.__name__}; "
                    f"{WHAT_TO_PASS}."
                )
    return np.fromiter(items, object, len(items))


def _as_list(X: Any) -> list:
    """Return the rows of a list, array, column or frame of one column."""
    if len(getattr(X, "columns", [])) > 1:
        raise ValueError(
            f"X has the columns {', '.join(map(str, X.columns))}; pass one, the one "
            "that holds the paths, such as frame['path'], or choose it by "
            "sklearn.compose.ColumnTransformer."
        )
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        X = X.iloc[:, 0]
    elif hasattr(X, "get_columns"):  # polars
        X = X.get_columns()[0]
    elif hasattr(X, "itercolumns"):  # pyarrow
        X = next(iter(X.itercolumns()))
    if hasattr(X, "__array__"):
        X = np.asarray(X)
        if X.ndim == 2 and X.shape[1] == 1:
            X = X[:, 0]
        if X.ndim == 1 and (X.dtype.kind in "OUST" or not len(X)):
            return X.tolist()
        if X.ndim in (3, 4):
            return list(X)
        raise ValueError(
            f"X is an array of {X.dtype} of shape {X.shape}; {WHAT_TO_PASS}, as images "
            "(n, H, W), (n, H, W, C) or (n, C, H, W)."
        )
    is_one = isinstance(X, bytes | dict | set) or _is_open_file(type(X))
    if is_one or not hasattr(X, "__iter__") or hasattr(X, "getexif"):
        raise TypeError(f"X is {type(X).__name__}, {X!r:.60}; {WHAT_TO_PASS}.")
    return list(X)


def _is_known(kind: type) -> bool:
    if issubclass(kind, str | bytes | bytearray | os.PathLike | np.ndarray):
        return True
    names = ("__array__", "__array_interface__")  # of tensors, PIL images
    is_array = any(hasattr(kind, name) for name in names)
    return is_array and not issubclass(kind, np.generic)


def _is_open_file(kind: type) -> bool:
    return hasattr(kind, "read") and not hasattr(kind, "__array__")


def _read(file: Any) -> Any:
    """Return the bytes of an open file, from its start, or what hinders that."""
    try:
        if file.seekable():
            file.seek(0)
        content = file.read()
    except (OSError, ValueError) as error:  # ValueError: it is closed
        return error
    if isinstance(content, str):
        return ValueError("it was opened as text; open it by mode 'rb'")
    return content


def name_of(item: Any) -> str:
    """Return what messages call an item."""
    if isinstance(item, str | os.PathLike):
        return os.fspath(item)
    if isinstance(item, bytes | bytearray):
        return f"{len(item)} bytes"
    if isinstance(item, Exception):
        return "an open file"
    return "no path" if is_missing(item) else f"an object of {type(item).__name__}"
