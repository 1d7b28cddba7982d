"""ImageLoader: the step of a pipeline from files to images."""

import itertools
import os
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags

from sk_dim._images._array import ImageArray, check_options
from sk_dim._images._sources import require_pillow


class ImageLoader(
    TransformerMixin,
    BaseEstimator,
    # No frame can hold images; scikit-learn has no type for this argument.
    auto_wrap_output_keys=None,  # type: ignore[call-arg]
):
    """Make one array of image files of any size, decoded when it is read.

    The first step of a pipeline on paths. It learns nothing. Images are decoded batch
    by batch, in threads and ahead of the training, so memory does not grow with their
    number. Pillow decodes them: ``pip install "sk_dim[images]"``.

    Parameters
    ----------
    size : int or (int, int), default=160
        Side of the square that every image becomes, in pixels, or (height, width).
    mode : {"RGB", "L", "raw"}, default="RGB"
        "RGB" and "L" (grey) give uint8, and convert everything: palettes, CMYK, grey;
        what is transparent becomes white; 16 bits are scaled to 8. "raw" keeps the
        channels as they are, any number of them, and uint8, uint16 and int16; all else
        becomes float32. The images must then have the channels and the dtype of the
        first. With more than 4 channels, give ``data_format="channels_last"`` to
        DeepInfomaxTransformer.
    resize : {"crop", "pad"}, default="crop"
        "crop" brings the short side to `size` and keeps the centre; "pad" brings the
        long side to it, and puts zeros (black) on both sides.
    on_error : {"raise", "warn"}, default="raise"
        What to do with images that cannot be read. "raise" ends the `fit` or
        `transform` that reads them, with the path and the reason. With "warn", `fit`
        tries all images first, which takes as long as decoding them, and leaves the
        broken ones out; `transform` gives them NaN for features. Both warn and name the
        first ones; :meth:`ImageArray.find_broken` names all.
    cache : path, default=None
        Folder for the decoded images of files, which are read from there as fast as
        from a memory map the next time. It takes ``height * width * channels`` bytes an
        image. Several processes may share it; let it be on a disk of this machine. A
        file that changes is decoded anew. Nothing is deleted from it; delete the folder
        when it is not needed. If the disk gets full, a warning says so, and what is not
        cached is decoded each time.
    n_threads : int, default=None
        Threads that decode; None takes as many as PyTorch computes with.

    See Also
    --------
    ImageArray : What it makes.
    list_images : The paths in a folder, for labels and cross-validation.
    DeepInfomaxTransformer : Features of the images.

    Notes
    -----
    Images are turned upright by their EXIF orientation before they are cropped. Of
    animations the first frame is taken, and of files of several pages the first; with
    ``mode="raw"``, grey pages of a TIFF file are its channels. JPEG files that are much
    larger than `size` are decoded at a half, a quarter or an eighth of their size.
    Colour profiles are ignored. Arrays and ``.npy`` files are (H, W), (H, W, C) or
    (C, H, W); Pillow reads files with several channels of 16 bits as 8 bits.

    Images of more pixels than ``PIL.Image.MAX_IMAGE_PIXELS`` count as broken, for a
    small file could fill the memory.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sk_dim import DeepInfomaxTransformer, ImageLoader, list_images
    >>> folder = tempfile.TemporaryDirectory()
    >>> rng = np.random.default_rng(0)
    >>> for i in range(40):
    ...     pixels = rng.integers(0, 256, (50, 40 + i, 3), dtype=np.uint8)
    ...     pixels[:, :, i % 2] //= 4
    ...     Image.fromarray(pixels).save(Path(folder.name, f"{i:02}.png"))
    >>> paths, y = list_images(folder.name), np.arange(40) % 2
    >>> model = make_pipeline(
    ...     ImageLoader(32),
    ...     DeepInfomaxTransformer(16, max_iter=1, random_state=0),
    ...     LogisticRegression(),
    ... )
    >>> model.fit(paths[:30], y[:30]).predict(paths[30:]).shape
    (10,)
    >>> ImageLoader(32).transform(folder.name)
    ImageArray of shape (40, 32, 32, 3), uint8
    >>> folder.cleanup()
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 160,
        *,
        mode: str = "RGB",
        resize: str = "crop",
        on_error: str = "raise",
        cache: str | os.PathLike[str] | None = None,
        n_threads: int | None = None,
    ) -> None:
        self.size = size
        self.mode = mode
        self.resize = resize
        self.on_error = on_error
        self.cache = cache
        self.n_threads = n_threads

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters; nothing is learnt.

        Parameters
        ----------
        X : object
            Ignored.
        y : None
            Ignored.

        Returns
        -------
        ImageLoader

        Raises
        ------
        ValueError or TypeError
            For parameters that cannot be used.
        ImportError
            If Pillow is not installed.
        """
        require_pillow()
        check_options(**self.get_params())
        return self

    def transform(self, X: Any) -> ImageArray:
        """Make an array of images, of which none is decoded yet.

        Parameters
        ----------
        X : path or array-like of shape (n,)
            A folder, whose images are listed by :func:`list_images`. Or a list, array,
            Series or frame of one column of images, of several kinds if need be: paths,
            files that are open in binary mode (which are read at once), bytes of files,
            PIL images, and arrays. None and NaN are broken images.

        Returns
        -------
        ImageArray
            Of shape (n, height, width, channels).

        Raises
        ------
        ValueError or TypeError
            For what holds no images, and parameters that cannot be used.
        ImportError
            If Pillow is not installed.
        """
        return ImageArray(X, **self.get_params())

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the values of an image, so that pipelines can name what follows.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str objects, of shape (height * width * channels,)
            "y0_x0_c0" and so on: row, column and channel, in this order.

        Raises
        ------
        ValueError
            With ``mode="raw"``, where the channels are those of the images.
        """
        height, width = check_options(**self.get_params())
        if self.mode == "raw":
            raise ValueError(
                "mode='raw' takes as many channels as the images have, so their values "
                "have no names; use mode='RGB' or mode='L'."
            )
        n_channels = {"RGB": 3, "L": 1}[self.mode]
        sides = (range(height), range(width), range(n_channels))
        names = [f"y{y}_x{x}_c{c}" for y, x, c in itertools.product(*sides)]
        return np.array(names, dtype=object)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Do nothing: images are no frame; later steps of a pipeline make frames.

        Parameters
        ----------
        transform : str, default=None
            Ignored.

        Returns
        -------
        ImageLoader
        """
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags
