"""One image, whatever holds it, as an array of the size and the channels asked for."""

import io
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from sk_dim._labels import is_missing

NPY = b"\x93NUMPY"  # what files of NumPy begin with
ORIENTATION = 0x0112  # of the camera, in EXIF
Box = tuple[float, float, float, float]
MODES = {"RGB": 3, "L": 1}
MOST_COLOURS = 4  # of an axis that holds the channels of an image in colour
# Here, because of two threads that load the formats at once, one may miss some.
Image.init()
_loading = threading.Lock()  # Pillow loads an image in one thread


@dataclass(frozen=True)
class Plan:
    """What every image is made of.

    Parameters
    ----------
    height, width : int
        In pixels.
    mode : {"RGB", "L", "raw"}
        Colours, grey, or the channels that there are.
    rule : {"crop", "pad"}
        Whether what is too long is cut off, or what is too short filled up.
    """

    height: int
    width: int
    mode: str
    rule: str

    @property
    def n_channels(self) -> int | None:
        """Channels of every image; None where they are those of the first."""
        return MODES.get(self.mode)

    def place(self, height: int, width: int) -> tuple[Box, int, int]:
        """Return the box (left, top, right, bottom) to take, and its new sides."""
        if self.rule == "crop":
            scale = max(self.height / height, self.width / width)
            taken_h = min(height, self.height / scale)
            taken_w = min(width, self.width / scale)
            left, top = (width - taken_w) / 2, (height - taken_h) / 2
            box = (left, top, left + taken_w, top + taken_h)
            return box, self.height, self.width
        scale = min(self.height / height, self.width / width)
        sides = (min(self.height, max(1, round(height * scale))),
                 min(self.width, max(1, round(width * scale))))  # fmt: skip
        return (0, 0, width, height), *sides

    def resize(self, image: Image.Image) -> Image.Image:
        """Resize the part of an image that is taken."""
        box, height, width = self.place(image.height, image.width)
        return image.resize((width, height), Image.Resampling.BILINEAR, box=box)

    def pad(self, array: np.ndarray) -> np.ndarray:
        """Fill up an array (h, w, c) by zeros, evenly on opposite sides."""
        missing = self.height - array.shape[0], self.width - array.shape[1]
        if not any(missing):
            return array
        sides = [(each // 2, each - each // 2) for each in missing]
        return np.pad(array, [*sides, (0, 0)])


def decode(item: Any, plan: Plan) -> np.ndarray:
    """Return an image as an array (height, width, channels).

    Parameters
    ----------
    item : path, bytes, PIL image, array, or an error to raise
        Where the image is.
    plan : Plan
        What to make of it.

    Raises
    ------
    Exception
        Of any kind, if it cannot be read.
    """
    if isinstance(item, Exception):
        raise item
    if isinstance(item, str | os.PathLike):
        _check_file(item)
        if os.fspath(item).lower().endswith(".npy"):
            array = np.load(item, mmap_mode="r", allow_pickle=False)
            return _from_array(array, plan)
        with Image.open(item) as image:
            return _from_file(image, plan)
    if isinstance(item, bytes | bytearray):
        if not item:
            raise ValueError("it is empty")
        if item.startswith(NPY):
            return _from_array(np.load(io.BytesIO(item), allow_pickle=False), plan)
        with Image.open(io.BytesIO(item)) as image:
            return _from_file(image, plan)
    if isinstance(item, Image.Image):
        with _loading:
            item.load()
        return _from_image(ImageOps.exif_transpose(item), plan)
    if is_missing(item):
        raise ValueError("it is missing")
    return _from_array(np.asarray(item), plan)


def why(error: Exception) -> str:
    """Say in a few words why an image cannot be read."""
    if isinstance(error, FileNotFoundError):
        path = error.filename
        is_relative = path is not None and not Path(os.fsdecode(path)).is_absolute()
        return "there is no such file" + (f" in {Path.cwd()}" if is_relative else "")
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    if isinstance(error, PermissionError):
        return "it may not be read (no permission)"
    if isinstance(error, UnidentifiedImageError):
        return "it is no image that Pillow can read"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return _bomb()
    text = getattr(error, "strerror", None) or str(error)
    return text or type(error).__name__


def _check_file(path: str | os.PathLike[str]) -> None:
    """Raise an error for what is no file with something in it; a pipe would block."""
    status = Path(path).stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no regular file")
    if status.st_size == 0:
        raise ValueError("the file is empty")


def _bomb() -> str:
    return (
        "it has too many pixels (decompression bomb); PIL.Image.MAX_IMAGE_PIXELS is "
        f"{Image.MAX_IMAGE_PIXELS:,}"
    )


def _check_size(height: int, width: int) -> None:
    if height * width == 0:
        raise ValueError("it has no pixels")
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and height * width > most:
        raise ValueError(_bomb())


def _from_file(image: Image.Image, plan: Plan) -> np.ndarray:
    """Decode an image that was opened by us."""
    _check_size(image.height, image.width)
    if (
        plan.mode == "raw"
        and image.format == "TIFF"
        and getattr(image, "n_frames", 1) > 1
    ):
        return _resize_channels(_join_pages(image), plan)
    if image.format in ("JPEG", "MPO"):  # a half, quarter or eighth takes less time
        _, height, width = plan.place(image.height, image.width)
        if image.getexif().get(ORIENTATION, 1) >= 5:  # it lies on its side
            _, width, height = plan.place(image.width, image.height)
        # Pillow's types lack the mode None, which leaves it as it is.
        image.draft("L" if plan.mode == "L" else None, (width, height))  # type: ignore[arg-type]
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    return _from_image(image, plan)


def _from_image(image: Image.Image, plan: Plan) -> np.ndarray:
    """Make an array of an image that is loaded and upright."""
    _check_size(image.height, image.width)
    if plan.mode == "raw":
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        array = np.asarray(image)
        return _resize_channels(array.reshape(*array.shape[:2], -1), plan)
    if image.mode.startswith("I;16"):
        image = Image.fromarray(_to_bytes(np.asarray(image)))
    elif image.mode in ("I", "F"):
        raise ValueError(
            f"its values have 32 bits (mode {image.mode!r}) and no fixed range; "
            "mode='raw' takes it"
        )
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    if image.mode != plan.mode:
        image = image.convert(plan.mode)
    array = np.asarray(plan.resize(image))
    return plan.pad(array.reshape(*array.shape[:2], MODES[plan.mode]))


def _join_pages(image: Image.Image) -> np.ndarray:
    """Return the pages of a file as channels."""
    pages = [np.asarray(page) for page in ImageSequence.Iterator(image)]
    shapes = {page.shape for page in pages}
    if len(shapes) > 1 or pages[0].ndim > 2:
        raise ValueError(
            f"its {len(pages)} pages are not all grey and of one size, so that they "
            "cannot be channels"
        )
    return np.stack(pages, axis=2)


def _from_array(array: np.ndarray, plan: Plan) -> np.ndarray:
    """Make an array of the size asked for of an array of an image."""
    array = _channels_last(array)
    _check_size(*array.shape[:2])
    if plan.mode == "raw":
        return _resize_channels(array, plan)
    n_channels = array.shape[2]
    is_known = array.dtype.kind == "b" or array.dtype in (np.uint8, np.uint16)
    if n_channels not in (1, 2, 3, 4) or not is_known:
        raise ValueError(
            f"it has {n_channels} channels of {array.dtype}; mode={plan.mode!r} takes "
            "1 to 4 of uint8, uint16 or bool, and mode='raw' any"
        )
    values = np.ascontiguousarray(_to_bytes(array))
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[n_channels]
    image = Image.frombytes(mode, values.shape[1::-1], values.tobytes())
    return _from_image(image, plan)


def _channels_last(array: np.ndarray) -> np.ndarray:
    """Return an image (h, w), (h, w, c) or (c, h, w) as (h, w, c)."""
    if array.dtype.kind not in "buif" or array.ndim not in (2, 3):
        raise ValueError(
            f"it is an array of {array.dtype} of shape {array.shape}, not of numbers "
            "of shape (H, W), (H, W, C) or (C, H, W)"
        )
    if array.ndim == 2:
        return array[:, :, None]
    first, middle, last = array.shape
    if last <= MOST_COLOURS or last < min(first, middle):
        return array
    if first <= MOST_COLOURS or first < min(middle, last):
        return np.moveaxis(array, 0, 2)
    raise ValueError(
        f"it is an array of shape {array.shape}, whose channels could be first or "
        "last, for neither axis is the shortest"
    )


def _to_bytes(array: np.ndarray) -> np.ndarray:
    """Scale values of 16 bits, or of 1, to 8."""
    if array.dtype.kind == "b":
        return array * np.uint8(255)
    if array.dtype.itemsize == 2:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return array


def _to_dtype(array: np.ndarray) -> np.ndarray:
    """Return values as uint8, uint16 or int16 where they are such, else as float32."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.itemsize <= 2 and array.dtype.kind in "iu":
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError("it holds NaN or infinity")
    return array


def _resize_channels(array: np.ndarray, plan: Plan) -> np.ndarray:
    """Resize each channel by itself, as Pillow has no images of many."""
    array = _to_dtype(array)
    channels = [
        np.asarray(plan.resize(Image.fromarray(channel.astype(np.float32))))
        for channel in np.moveaxis(array, 2, 0)
    ]
    resized = np.stack(channels, axis=2)
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        resized = np.rint(resized).clip(limits.min, limits.max)
    return plan.pad(resized.astype(array.dtype, copy=False))
