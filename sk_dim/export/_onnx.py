"""Fitted estimators, and pipelines with one of them, as ONNX files."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sk_dim._classifier import DeepInfomaxClassifier
from sk_dim._deep_infomax import DeepInfomaxTransformer
from sk_dim._files import check_writable, replacing
from sk_dim._inputs._formats import InputFormat
from sk_dim._version import __version__
from sk_dim.encoders import SeriesEncoder
from sk_dim.export._packages import require
from sk_dim.export._torch import check_exportable, to_torch, unwrap

OWN = (DeepInfomaxTransformer, DeepInfomaxClassifier)
OPSET = 20  # of ONNX, which parts of one file share
OPSETS = {"": OPSET, "ai.onnx.ml": 3}  # the latter is what skl2onnx has for all models
INTEGERS = ("bool", "uint8", "int8", "int16", "int32", "int64")
DTYPES = (*INTEGERS, "float16", "float32", "float64")
UNEQUAL = (
    "fit saw series of unequal length, or X holds them, and a file of ONNX takes one "
    "length; pass X of that length, and write a file for each length that you need, or "
    "use to_torch."
)
NO_ROWS = "X has no rows; pass an array with at least one, as of the training data."
EXPORTER_LOG = "torch.onnx._internal.exporter._registration"  # of packages not there


def to_onnx(estimator: Any, path: str | os.PathLike, X: Any = None) -> None:
    """Write a fitted estimator, or a pipeline with one, as a file that ONNX runs.

    ONNX runs without Python, PyTorch or this package, on many devices. Raw rows go
    in: scaling is a part of the file.

    Parameters
    ----------
    estimator : DeepInfomaxTransformer, DeepInfomaxClassifier or Pipeline
        Fitted. A pipeline may have any steps that skl2onnx knows before and after the
        one of this package, as ``make_pipeline(dim, LogisticRegression())`` has.
    path : str or path-like
        File to write, usually named ``*.onnx``. It is replaced if it is there.
    X : array-like of shape (n, ...), default=None
        Rows as the file will get them, of which only dtype and shape are looked at:
        ``X[:1]`` of the training data will do. Flattened samples make a file of
        flattened samples, and series another length. None means float32, and samples of
        the shape that `fit` saw.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ImportError
        If the packages of ``pip install 'sk_dim[export]'`` are missing.
    TypeError
        If the estimator, the dtype of X or that of the classes cannot be exported.
    ValueError
        If X is not like what `fit` saw or has no rows, its series have unequal lengths
        or gaps, or no file can be written where the path says.
    OSError
        If the disk is full. The old file, if there was one, is left as it was.

    See Also
    --------
    to_torch : A module of torch, for series of unequal length too.

    Notes
    -----
    The input is named "X"; where a frame goes into a step before, each column is an
    input. A transformer has the output "features" (n, n_features_out), a classifier
    "label" (n,) and "probabilities" (n, n_classes), a pipeline the outputs that
    skl2onnx gives its last step. The number of rows n is free.

    Outputs equal those of the estimator within 1e-5 of their spread. For the encoder
    "series" it is about 1e-4, by which `transform` itself is away from float64, and a
    few rows may differ more: where two kernels fit alike to the last digit, either may
    win.

    The file does not check values: NaN in gives NaN out. All rows are encoded at once,
    so large batches take much memory; cut them into some hundred rows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_dim import DeepInfomaxTransformer
    >>> from sk_dim.export import to_onnx
    >>> X = load_digits().images  # (1797, 8, 8)
    >>> dim = DeepInfomaxTransformer(max_iter=1).fit(X)
    >>> to_onnx(dim, "digits.onnx", X[:1])  # doctest: +SKIP
    >>> import onnxruntime  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession("digits.onnx")  # doctest: +SKIP
    >>> session.run(["features"], {"X": X[:5]})[0].shape  # doctest: +SKIP
    (5, 1024)
    """
    before, own, after = _cut(estimator)
    check_exportable(own, ", or a pipeline with one of them")
    check_is_fitted(own)
    check_writable("path", path)
    for package in ("onnx", "onnxscript", *(["skl2onnx"] if before or after else [])):
        require(package, "to_onnx")
    first, X = _convert_steps(before, _first_row(X) if before else X)
    middle = _convert(own, _example(own, X))
    Z = np.zeros((1, own._n_features_out), np.float32) if after else None
    last, _ = _convert_steps(after, Z, is_end=True)
    whole = _join([*first, middle, *last])
    whole.producer_name, whole.producer_version = "sk_dim", __version__
    with replacing(path) as file:
        file.write(whole.SerializeToString())


def _cut(estimator: Any) -> tuple[list, Any, list]:
    """Return the steps before the one of this package, that one, and those after."""
    if not isinstance(estimator, Pipeline):
        return [], unwrap(estimator), []
    steps = [
        unwrap(step)
        for _, step in estimator.steps
        if step is not None and not (isinstance(step, str) and step == "passthrough")
    ]
    places = [i for i, step in enumerate(steps) if isinstance(step, OWN)]
    if len(places) != 1:
        names = ", ".join(type(step).__name__ for step in steps)
        raise TypeError(
            f"the pipeline has the steps {names}; to_onnx takes those of which one is "
            "a DeepInfomaxTransformer or DeepInfomaxClassifier, not within another."
        )
    return steps[: places[0]], steps[places[0]], steps[places[0] + 1 :]


# Rows


def _first_row(X: Any) -> Any:
    """Return the first row of an array, or of a frame as a frame."""
    if X is None:
        raise ValueError(
            "X=None does not tell what goes into the first step of the pipeline; pass "
            "the first rows of its training data."
        )
    if not hasattr(X, "iloc"):
        X = np.asarray(X)
    if X.ndim == 0 or not len(X):
        raise ValueError(NO_ROWS)
    return X[:1]


def _example(own: Any, X: Any) -> torch.Tensor:
    """Return two rows of zeros, of the dtype and shape of X."""
    transformer = own.encoder_ if isinstance(own, DeepInfomaxClassifier) else own
    model = transformer.model_
    fmt: InputFormat = model.fmt
    is_unequal = isinstance(model.encoder, SeriesEncoder) and bool(
        model.encoder.typical_length > 0
    )
    if X is None and is_unequal:
        raise ValueError(UNEQUAL)
    if X is None:
        return torch.zeros(2, *fmt.layout)
    if isinstance(X, list) and len({np.shape(row) for row in X}) > 1:
        raise ValueError(UNEQUAL)
    array = np.asarray(X)
    fmt.check((2, *array.shape[1:]))
    if not len(array):
        raise ValueError(NO_ROWS)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(
            "X has NaN, which ONNX neither fills in nor leaves out; pass series of one "
            "length without gaps, or use transform, which does both."
        )
    if array.dtype.name not in DTYPES:
        raise TypeError(
            f"X is {array.dtype}, which files of ONNX are not made for; pass it as one "
            f"of {', '.join(DTYPES)}."
        )
    return torch.from_numpy(np.zeros((2, *array.shape[1:]), array.dtype))


# Models of ONNX


def _convert(own: Any, example: torch.Tensor) -> Any:
    """Return a model of one estimator of this package."""
    if isinstance(own, DeepInfomaxClassifier):
        classes = _classes(own.classes_)
        model = _trace(to_torch(own), example, "probabilities")
        _add_label(model, classes)
        return model
    return _trace(to_torch(own), example, "features")


def _trace(module: nn.Module, example: torch.Tensor, output: str) -> Any:
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["X"],
            output_names=[output],
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:  # which no call like this one returns
        raise RuntimeError("torch.onnx.export returned nothing.")
    model = program.model_proto
    # Where each node comes from: paths on this machine, and half of a small file.
    for item in (*model.graph.node, *model.graph.value_info):
        item.doc_string = ""
        del item.metadata_props[:]
    for item in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del item.metadata_props[:]
    del model.graph.metadata_props[:]
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence exporters, which tell of what users cannot change."""
    logger = logging.getLogger(EXPORTER_LOG)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _classes(classes: np.ndarray) -> Any:
    """Return the classes as a tensor of ONNX."""
    import onnx

    if classes.dtype.kind in "iu":
        return onnx.numpy_helper.from_array(classes.astype(np.int64), "classes")
    if classes.dtype.kind in "bf":
        return onnx.numpy_helper.from_array(classes, "classes")
    if all(isinstance(each, str) for each in classes.tolist()):
        texts = [each.encode() for each in classes.tolist()]
        return onnx.helper.make_tensor(
            "classes", onnx.TensorProto.STRING, [len(texts)], texts
        )
    raise TypeError(
        f"the classes are {type(classes.tolist()[0]).__name__} objects, which ONNX "
        "does not have; fit with integers or strings as labels."
    )


def _add_label(model: Any, classes: Any) -> None:
    """Let a model name the most probable class, before the probabilities."""
    from onnx import helper

    graph = model.graph
    graph.initializer.append(classes)
    graph.node.extend(
        [
            helper.make_node("ArgMax", ["probabilities"], ["best"], axis=1, keepdims=0),
            helper.make_node("Gather", ["classes", "best"], ["label"]),
        ]
    )
    label = helper.make_tensor_value_info("label", classes.data_type, ["batch"])
    probabilities = graph.output.pop()
    graph.output.extend([label, probabilities])


def _convert_steps(steps: list, X: Any, is_end: bool = False) -> tuple[list, Any]:
    """Return models of steps of other packages, and what goes into a step after them.

    One step at a time: of pipelines, skl2onnx refuses some whose steps it takes.
    """
    import onnx

    models: list = []
    for i, step in enumerate(steps, 1):
        is_last = is_end and i == len(steps)
        with _quiet():  # before skl2onnx, which has no sentence for what X may not be
            out: Any = None if is_last else step.transform(X)
        models.append(_convert_step(step, X))
        if is_last:
            break
        out = out.toarray() if hasattr(out, "toarray") else out
        found = models[-1].graph.output[-1].type.tensor_type
        X = np.asarray(out, onnx.helper.tensor_dtype_to_np_dtype(found.elem_type))
        if found.shape.dim[-1].dim_value not in (0, X.shape[-1]):
            raise _cannot_convert(step, "which gives other columns than transform")
    return models, X


def _convert_step(step: Any, X: Any) -> Any:
    """Return a model of a step, by skl2onnx.

    Raises
    ------
    TypeError
        If it has no converter, or one that fails.
    """
    import onnx
    from skl2onnx import to_onnx as convert

    # Probabilities as an array, not as a dict for each row.
    options = {id(step): {"zipmap": False}} if is_classifier(step) else None
    try:
        with _quiet():
            try:
                model = convert(step, X, options=options, target_opset=OPSETS)
            except NameError:  # LinearSVC has an array only, and no such option
                model = convert(step, X, target_opset=OPSETS)
        _set_opsets(model)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # of many kinds, with long texts for developers
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise _cannot_convert(step, f"{reason:.100}") from error
    return model


def _cannot_convert(step: Any, reason: str) -> TypeError:
    return TypeError(
        f"skl2onnx cannot convert the step {type(step).__name__} ({reason}); pass X as "
        "float32, if it is of another type, or export the pipeline without this step, "
        "and do it in the program that runs the file."
    )


def _set_opsets(model: Any) -> None:
    """Let a model say the operator sets that all parts of a file share."""
    from onnx.helper import make_operatorsetid

    del model.opset_import[:]
    model.opset_import.extend(make_operatorsetid(*each) for each in OPSETS.items())


def _join(parts: list) -> Any:
    """Return one model of models that follow one another."""
    import onnx

    joined = parts[0]
    _set_opsets(joined)
    if len(parts) > 1:  # names within the file must differ
        joined = onnx.compose.add_prefix(joined, "step_0_", rename_inputs=False)
    for i, part in enumerate(parts[1:], 1):
        is_last = i == len(parts) - 1
        part.ir_version = joined.ir_version
        named = onnx.compose.add_prefix(part, f"step_{i}_", rename_outputs=not is_last)
        del joined.graph.output[:-1]  # such as the label beside distances of KMeans
        pairs = [(joined.graph.output[0].name, named.graph.input[0].name)]
        joined = onnx.compose.merge_models(joined, named, io_map=pairs)
    return joined
