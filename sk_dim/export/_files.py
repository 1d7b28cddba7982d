"""Files that are written whole or not at all, and packages that may be missing.

This module imports nothing of its own package.
"""

import importlib
import os
import tempfile
from pathlib import Path
from types import ModuleType


def require(package: str, function: str) -> ModuleType:
    """Import an optional package.

    Raises
    ------
    ImportError
        That says how to install it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{function} needs the package {package}; install it by "
            "pip install 'sk_dim[export]'."
        ) from error


def check_path(path: str | os.PathLike) -> Path:
    """Return the path of a file that can be written.

    Raises
    ------
    OSError
        If it is a folder, or in a folder that is missing or cannot be written to.
    """
    checked = Path(path)
    if checked.is_dir():
        raise IsADirectoryError(
            f"path={str(path)!r} is a folder; pass the name of a file."
        )
    folder = checked.parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f"path={str(path)!r} is in a folder that does not exist; make it first."
        )
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"path={str(path)!r} is in a folder that may not be written to; pass "
            "another one."
        )
    return checked


def write(path: Path, data: bytes) -> None:
    """Write a file; what was there stays until all is written."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)  # as of other files; this one's was 0o600
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
