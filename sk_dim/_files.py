"""Files that are whole at any time: the old one, or the new one.

This module imports nothing of its own package.
"""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import joblib

UNTOUCHED = 3600.0  # seconds after which a part of a file is that of a killed process


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Save an estimator so that a kill in the middle leaves the old file whole.

    The new file is written beside the old one by ``joblib.dump``, and takes its place
    when all of it is on the disk; ``joblib.load`` reads it. Loading a pickle runs code
    that it holds, so load files of people you trust only.

    Parameters
    ----------
    estimator : object
        A fitted estimator, a pipeline or anything else that joblib saves.
    path : str or path-like
        Where to.

    Raises
    ------
    ValueError
        If there is no such folder, it cannot be written to, or the path is a folder.
    OSError
        If the disk is full. The old file, if there was one, is left as it was.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import joblib, sk_dim
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().images[:100]
    >>> dim = sk_dim.DeepInfomaxTransformer(16, max_iter=1, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sk_dim.save(dim, Path(folder, "dim.joblib"))
    ...     loaded = joblib.load(Path(folder, "dim.joblib"))
    >>> bool((loaded.transform(X) == dim.transform(X)).all())
    True
    """
    check_writable("path", path)
    with replacing(path) as file:
        joblib.dump(estimator, file)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of `path` when it is whole.

    Whatever fails, the file at `path` is as it was, and no part of a new one is left.
    Of a killed process a part stays; the next writer in the folder removes it once it
    is an hour old.
    """
    target = Path(path).resolve()  # a link stays a link
    for left in target.parent.glob(".sk_dim-*.partial"):
        _remove_if_old(left)
    part = target.with_name(f".sk_dim-{secrets.token_hex(8)}.partial")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the name, but no data
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _remove_if_old(part: Path) -> None:
    try:
        if time.time() - part.stat().st_mtime > UNTOUCHED:
            part.unlink()
    except OSError:
        pass  # another process was faster, or it is not ours


def _sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk, where the system can."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # a folder may be written to, but not read
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some file systems have no such call for folders
    finally:
        os.close(descriptor)


def check_writable(name: str, path: Any, n_bytes: int = 0) -> None:
    """Raise an error unless a file of so many bytes can be put where `path` says."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"{name}={path!r:.60} must be a path, as a str or a pathlib.Path."
        )
    target = Path(path).resolve()
    given = f"{name}={os.fspath(path)!r}"
    if target.is_dir():
        raise ValueError(f"{given} is a folder; give the path of a file in it.")
    folder = target.parent
    if not folder.is_dir():
        raise ValueError(
            f"{given} is in {str(folder)!r}, which is no folder; make it first, or "
            "give another path."
        )
    trial = folder / f".sk_dim-{secrets.token_hex(8)}.partial"
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise ValueError(
            f"{given} cannot be written, because of {type(error).__name__}: "
            f"{error.strerror}; give a path in a folder that can be written to."
        ) from error
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise ValueError(
            f"{given} needs {n_bytes / 1e6:,.0f} MB, but {free / 1e6:,.0f} MB are "
            "free there; free some, or give a path on another disk."
        )
