"""Packages that may be missing.

This module imports nothing of its own package.
"""

import importlib
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
