"""Encoders as files of safetensors: numbers and JSON, from which no code is run."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from sk_dim._classifier import DeepInfomaxClassifier
from sk_dim._deep_infomax import DeepInfomaxTransformer
from sk_dim._files import check_writable, replacing
from sk_dim._inputs._batches import Source
from sk_dim._inputs._formats import InputFormat
from sk_dim._inputs._rows import Rows
from sk_dim._inputs._scaling import Scaling
from sk_dim._training._design import Design
from sk_dim._training._model import Model
from sk_dim._training._saving import checksum
from sk_dim._validation import warn
from sk_dim._version import __version__
from sk_dim.encoders import ENCODERS
from sk_dim.export._packages import require
from sk_dim.export._torch import check_exportable, unwrap
from sk_dim.objective import Objective

FORMAT = 1  # a number of its own: it changes only when files look different
KEY = "sk_dim"  # of the JSON, in the metadata of the file
CHECKSUM = "sk_dim.checksum"  # of JSON and tensors, there too
UNFIT = (  # what building raises where a file was changed
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
NOT_SAVED = ("callbacks", "device", "random_state", "warm_start")


class EncoderModel(Model):
    """A model out of a file of an encoder: it encodes, but cannot be trained."""

    @property
    def objective(self) -> Objective:
        """There is none that was trained."""
        self._refuse()

    def source(self, rows: Rows, groups: np.ndarray | None = None) -> Source:
        """Only a training would ask for it."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ValueError(
            "this transformer was loaded by load_encoder, from a file without critics, "
            "and can only transform; to train on or score it, keep it with joblib, and "
            "to fit anew, clone it. A classifier takes it with fine_tune='head' or "
            "'spread'."
        )


def save_encoder(estimator: Any, path: str | os.PathLike) -> None:
    """Write the encoder of a fitted transformer as a file of safetensors.

    For files that others are to load: they hold numbers and JSON, so that loading one
    never runs code, which loading a pickle may. Their size is that of the weights.

    Parameters
    ----------
    estimator : DeepInfomaxTransformer or DeepInfomaxClassifier
        Fitted, with one of the encoders "patch", "series", "conv", "resnet" and "mlp",
        or a ``functools.partial`` of the class of one with other settings. Of a
        classifier the fine-tuned encoder is written, without the head.
    path : str or path-like
        File to write, usually named ``*.safetensors``. It is replaced if it is there.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ImportError
        If the package safetensors is missing.
    TypeError
        If the encoder is the user's own, or the estimator of another kind.
    ValueError
        If there is no such folder, it cannot be written to, or the path is a folder.
    OSError
        If the disk is full. The old file, if there was one, is left as it was.

    See Also
    --------
    load_encoder : Load it.

    Notes
    -----
    Beside the weights there are the scaling, a checksum and, as JSON, the parameters.
    Parameters that JSON does not have (callables) are left at their defaults, which has
    no effect on `transform`. Critics, optimiser and history are not written.

    References
    ----------
    Hugging Face. safetensors. https://github.com/huggingface/safetensors

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_dim import DeepInfomaxTransformer
    >>> from sk_dim.export import load_encoder, save_encoder
    >>> X = load_digits().images  # (1797, 8, 8)
    >>> dim = DeepInfomaxTransformer(16, max_iter=1).fit(X[:200])
    >>> save_encoder(dim, "digits.safetensors")  # doctest: +SKIP
    >>> loaded = load_encoder("digits.safetensors")  # doctest: +SKIP
    >>> (loaded.transform(X) == dim.transform(X)).all()  # doctest: +SKIP
    True
    """
    estimator = unwrap(estimator)
    check_exportable(estimator)
    check_is_fitted(estimator)
    if isinstance(estimator, DeepInfomaxClassifier):
        estimator = estimator.encoder_
    check_writable("path", path)
    require("safetensors", "save_encoder")
    from safetensors.torch import save

    model = estimator.model_
    name, settings = _name_encoder(model.design.encoder)
    fmt = model.fmt
    about = {
        "format": FORMAT,
        "version": __version__,
        "encoder": name,
        "settings": settings,
        "is_mirrored": bool(getattr(model.encoder, "is_mirrored", False)),
        "n_components": model.design.n_components,
        "samples": {
            "kind": fmt.kind,
            "layout": fmt.layout,
            "channel_axis": fmt.channel_axis,
        },
        "feature_names": _names(estimator),
        "parameters": _plain_parameters(estimator),
    }
    tensors = {
        f"encoder.{key}": value.detach().cpu().contiguous()
        for key, value in model.encoder.state_dict().items()
    }
    tensors["scaling.mean"] = model.scaling.mean.contiguous()
    tensors["scaling.std"] = model.scaling.std.contiguous()
    text = json.dumps(about)
    metadata = {KEY: text, CHECKSUM: _checksum(text, tensors)}
    with replacing(path) as file:
        file.write(save(tensors, metadata=metadata))


def load_encoder(path: str | os.PathLike) -> DeepInfomaxTransformer:
    """Load what `save_encoder` wrote, as a fitted transformer on the CPU.

    No code of the file is run, because it holds none: files of strangers are safe to
    load.

    Parameters
    ----------
    path : str or path-like
        File of `save_encoder`.

    Returns
    -------
    DeepInfomaxTransformer
        Fitted: on a CPU, `transform` and `features` return the same bits as those of
        the one that was saved. It has no critics, so it cannot be scored or trained on.

    Raises
    ------
    ImportError
        If the package safetensors is missing.
    FileNotFoundError
        If there is no such file.
    TypeError
        If the path is none.
    ValueError
        If the file is another, damaged, or of a later version.

    See Also
    --------
    save_encoder : Save it.

    Examples
    --------
    >>> from sk_dim.export import load_encoder
    >>> dim = load_encoder("digits.safetensors")  # doctest: +SKIP
    """
    require("safetensors", "load_encoder")
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path={path!r:.60} must be a path, as a str or pathlib.Path.")
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"path={str(path)!r} is no file; check the name.")
    about, tensors = _read(file)
    try:
        return _build(about, tensors)
    except UNFIT as error:
        raise ValueError(
            f"path={str(path)!r} is damaged: its numbers and its description do not "
            "fit together; get another copy of the file."
        ) from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the description and the tensors in a file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            text = metadata.get(KEY)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        about = None if text is None else json.loads(text)
    except (SafetensorError, ValueError, OSError) as error:
        raise ValueError(
            f"path={str(path)!r} is no file of save_encoder, or is cut off; get "
            "another copy of the file. joblib.load loads files of joblib."
        ) from error
    if not isinstance(about, dict) or not isinstance(about.get("format"), int):
        raise ValueError(
            f"path={str(path)!r} is a file of safetensors, but not of save_encoder; "
            "load it by safetensors.torch.load_file."
        )
    if about["format"] > FORMAT:
        raise ValueError(
            f"path={str(path)!r} was written by sk_dim {about.get('version')} in "
            f"format {about['format']}, and this is {__version__}, which reads "
            f"formats up to {FORMAT}; install a later version."
        )
    if metadata.get(CHECKSUM) != _checksum(text, tensors):
        raise ValueError(
            f"path={str(path)!r} is damaged: its numbers are not those that were "
            "saved; get another copy of the file."
        )
    if about.get("version") != __version__:
        warn(
            f"this encoder was saved by sk_dim {about.get('version')} and is loaded by "
            f"{__version__}, whose features of the same samples may differ."
        )
    return about, tensors


def _checksum(text: Any, tensors: dict[str, torch.Tensor]) -> str:
    """Return a checksum of the description and of the tensors with their names."""
    ordered = sorted(tensors.items())
    names = [(name, str(tensor.dtype), list(tensor.shape)) for name, tensor in ordered]
    # As bytes: numpy lacks some of the dtypes that a file may have.
    values = {name: t.reshape(-1).view(torch.uint8).numpy() for name, t in ordered}
    return f"{checksum({'': values}, json.dumps([text, names]).encode()):08x}"


def _build(
    about: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> DeepInfomaxTransformer:
    """Build a fitted transformer of a description and tensors."""
    known = DeepInfomaxTransformer().get_params(deep=False)
    given = {k: _tuple(v) for k, v in about["parameters"].items() if k in known}
    build = ENCODERS[about["encoder"]]
    settings = dict(about["settings"])
    settings.pop("compile_mode", None)
    estimator = DeepInfomaxTransformer(**given)
    if settings:
        estimator.set_params(encoder=partial(build, **settings))
    samples = about["samples"]
    layout, axis = tuple(samples["layout"]), samples["channel_axis"]
    fmt = InputFormat(samples["kind"], layout, axis)
    params = vars(estimator) | {
        "encoder": estimator.encoder if settings else build,
        "n_components": about["n_components"],
    }
    design = Design.from_params(params, fmt)
    cpu = torch.device("cpu")
    net = design.build(cpu, "float32", seed=0)
    state = {
        key.removeprefix("encoder."): value
        for key, value in tensors.items()
        if key.startswith("encoder.")
    }
    net.module_.load_state_dict(state)
    if about["is_mirrored"]:
        net.module_.is_mirrored = True
    mean, std = tensors["scaling.mean"], tensors["scaling.std"]
    if mean.shape != std.shape or len(mean) != fmt.shape[0]:
        raise ValueError("scaling")
    estimator.model_ = EncoderModel(design, Scaling(mean, std, cpu), net)
    estimator.n_features_in_ = fmt.n_features
    if about["feature_names"] is not None:
        estimator.feature_names_in_ = np.array(about["feature_names"], dtype=object)
    return estimator


def _name_encoder(build: Any) -> tuple[str, dict[str, Any]]:
    """Return the name of a built-in encoder and the settings that it was given."""
    settings: dict[str, Any] = {}
    inner = build
    has_positions = False
    while isinstance(inner, partial):
        has_positions |= bool(inner.args)
        settings = inner.keywords | settings
        inner = inner.func
    names = [name for name, known in ENCODERS.items() if known is inner]
    # Whether to compile is up to those who load it.
    settings.pop("compile_mode", None)
    if not names or not _is_plain(settings) or has_positions:
        raise TypeError(
            f"encoder={getattr(inner, '__name__', inner)!s:.60} is not one of those "
            f"that files hold ({', '.join(ENCODERS)}) with plain settings, and "
            "loading such a file would have to run its code; use joblib, or to_onnx."
        )
    return names[0], settings


def _plain_parameters(estimator: DeepInfomaxTransformer) -> dict[str, Any]:
    """Return the parameters that JSON has."""
    return {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if name not in NOT_SAVED and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(each) for each in value)
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    return value is None or type(value) in (bool, int, float, str)


def _tuple(value: Any) -> Any:
    """Return the tuple that JSON made a list of."""
    return tuple(value) if isinstance(value, list) else value


def _names(estimator: DeepInfomaxTransformer) -> list[str] | None:
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]
