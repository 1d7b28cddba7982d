"""Files of checkpoints: a header with the format, a checksum, and a state of torch.

A file holds tensors, numbers and strings, so that reading one never runs code of it.
"""

import io
import os
import zlib
from pathlib import Path
from typing import Any

import torch

from sk_dim._files import check_writable, replacing
from sk_dim._version import __version__

KIND = b"sk_dim checkpoint "
HEADER = KIND + b"1\n"  # the number of the format


def write(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Put a state in place of what the file holds, all at once."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    with replacing(path) as file:
        file.write(HEADER)
        file.write(zlib.crc32(content).to_bytes(4, "little"))
        file.write(content)


def read(path: Any, *, with_state: bool) -> dict[str, Any] | None:
    """Return what a checkpoint holds; None without a file, or if only looked at.

    Raises
    ------
    ValueError or TypeError
        If the path cannot be written to, or the file is no checkpoint, one of a later
        format, or damaged.
    """
    check_writable("checkpoint", path)
    if not Path(path).exists():
        return None
    given = f"checkpoint={os.fspath(path)!r}"
    with Path(path).open("rb") as file:
        header = file.read(len(HEADER))
        if not header.startswith(KIND):
            raise ValueError(
                f"{given} is a file, but no checkpoint of sk_dim; give another path, "
                "or remove the file."
            )
        if not with_state:
            return None
        if header != HEADER:
            raise ValueError(
                f"{given} was written by a later version of sk_dim than this one, "
                f"{__version__}; take that version, or warm_start=False to begin anew."
            )
        checksum, content = file.read(4), file.read()
    if zlib.crc32(content).to_bytes(4, "little") != checksum:
        raise ValueError(
            f"{given} is cut off or damaged; take a copy of it, or warm_start=False to "
            "begin anew."
        )
    try:
        # No code of the file is run.
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever such bytes lead torch to
        raise ValueError(
            f"{given} holds what no checkpoint of sk_dim does, and is not loaded; give "
            "another path, or remove the file."
        ) from error
