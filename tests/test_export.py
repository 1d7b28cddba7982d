"""Files for other programs: they say what the estimator says, and load safely."""

import json
import pickle
import sys
import warnings
from functools import cache, partial
from pathlib import Path

import joblib
import numpy as np
import onnx
import onnxruntime
import pytest
import skops.io
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    StandardScaler,
)
from sklearn.svm import LinearSVC
from torch.export import Dim

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer, __version__
from sk_dim.encoders import (
    AlexNetEncoder,
    BottleneckEncoder,
    ConvEncoder,
    Encoder,
    Features,
    FoldedEncoder,
    ResNetEncoder,
)
from sk_dim.encoders._layers import grid_maxima
from sk_dim.export import (
    SKOPS_TRUSTED,
    load_encoder,
    save_encoder,
    to_onnx,
    to_torch,
)
from sk_dim.export._encoder_file import _checksum

STORED = Path(__file__).parent / "stored"
VERSIONS = sorted(path.stem for path in STORED.glob("*.joblib"))
SMALL_CONV = partial(ConvEncoder, n_hidden=16, n_channels=8)
SMALL_RESNET = partial(ResNetEncoder, n_channels=4)
OF_THE_PAPER = {
    "alexnet": partial(AlexNetEncoder, n_channels=4, n_hidden=16),
    "bottleneck": partial(BottleneckEncoder, n_channels=4, n_hidden=16),
    "folded": partial(FoldedEncoder, n_local=8, global_map=True),
}


class Own(Encoder):
    """An encoder of a user."""

    def __init__(self, input_shape, n_components):
        super().__init__()
        self.linear = torch.nn.Linear(int(np.prod(input_shape)), n_components)

    def forward(self, batch):
        return Features(self.linear(batch.flatten(1)), None, None, batch[:, None])


def samples(name, n=48):
    """Samples of each kind, layout and dtype."""
    name = "patch" if name in OF_THE_PAPER else name
    rng = np.random.default_rng(0)
    walk = rng.normal(size=(n, 2, 60)).cumsum(axis=2)
    sizes = np.logspace(-3, 3, n)[:, None, None]
    return {
        "patch": rng.integers(0, 256, (n, 20, 24, 3), dtype=np.uint8),
        "mirrored": rng.integers(0, 256, (n, 3, 20, 24), dtype=np.uint8),
        "patch series": walk,
        "conv": rng.normal(size=(n, 8, 8)).astype(np.float32),
        "resnet": rng.integers(0, 256, (n, 12, 12, 3), dtype=np.uint8),
        "mlp": rng.normal(1e6, 1.0, size=(n, 7)),
        "series": walk.astype(np.float32),
        "stepped series": np.repeat(rng.integers(0, 5, (n, 2, 8)), 8, axis=2),
        "series of all sizes": rng.normal(size=(n, 1, 60)) * sizes,
        "unequal series": [one[:, : 30 + i % 3] for i, one in enumerate(walk)],
    }[name]


PARAMS = {
    "patch": {},
    "mirrored": {"augment": "natural", "n_components": 30},
    "patch series": {"input_type": "series", "encoder": "patch"},
    "conv": {"encoder": SMALL_CONV, "output_layer": "conv"},
    "resnet": {"encoder": SMALL_RESNET, "augment": "natural"},
    "mlp": {},
    "series": {"input_type": "series"},
    "stepped series": {"input_type": "series"},
    "series of all sizes": {"input_type": "series"},
    "unequal series": {"input_type": "series"},
    **{
        name: {"encoder": encoder, "tasks": "coordinates", "augment": "occlude"}
        for name, encoder in OF_THE_PAPER.items()
    },
}
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if name in OF_THE_PAPER else [])
    for name in PARAMS
]


@cache
def fitted(name):
    """Return a transformer; tests do not change it."""
    params = {"n_components": 16, "max_iter": 1, "random_state": 0} | PARAMS[name]
    return DeepInfomaxTransformer(**params).fit(samples(name))


@cache
def classifier(name="conv", labels="strings"):
    X = samples(name)
    y = np.arange(len(X)) % 3
    y = np.array(["a", "b", "ü"])[y] if labels == "strings" else y % 2
    return DeepInfomaxClassifier(fitted(name), n_steps=2, random_state=0).fit(X, y)


def run(path, X):
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {session.get_inputs()[0].name: X})


def difference(found, expected):
    """Largest difference of a row, relative to the spread of the features."""
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    spread = expected.std()
    return (np.abs(found - expected) / spread).reshape(len(found), -1).max(axis=1)


def check_series(rows):
    """Check differences that the encoder of series makes.

    Its kernels compete: where two are alike to the last digit, either may win.
    """
    assert np.quantile(rows, 0.9) < 1e-5
    assert rows.max() < 1e-3


# Torch


@pytest.mark.parametrize("name", NAMES)
def test_a_module_returns_the_bits_of_transform(name):
    dim, X = fitted(name), samples(name)
    if name == "unequal series":
        length = max(one.shape[1] for one in X)
        X = np.stack(
            [
                np.pad(
                    one, [(0, 0), (0, length - one.shape[1])], constant_values=np.nan
                )
                for one in X
            ]
        )
    module = to_torch(dim)
    features = module(torch.from_numpy(X))
    assert not features.requires_grad
    np.testing.assert_array_equal(features.numpy(), dim.transform(X))


def test_a_module_takes_flattened_rows_and_every_dtype():
    dim, X = fitted("patch"), samples("patch")
    module = to_torch(dim)
    expected = dim.transform(X)
    for dtype in ("int8", "int16", "int32", "int64", "float16", "float32", "float64"):
        if dtype == "int8":
            X = X // 2
            expected = dim.transform(X)
        rows = torch.from_numpy(X.reshape(len(X), -1).astype(dtype))
        assert difference(module(rows).numpy(), expected).max() < 1e-5


def test_a_module_is_a_copy():
    dim, X = fitted("conv"), samples("conv")
    before = dim.transform(X)
    module = to_torch(dim)
    for values in module.state_dict().values():
        values.zero_()
    np.testing.assert_array_equal(dim.transform(X), before)


def test_a_module_of_a_classifier_returns_probabilities():
    for labels in ("strings", "two classes"):
        model, X = classifier("conv", labels), samples("conv")
        found = to_torch(FrozenEstimator(model))(torch.from_numpy(X))
        np.testing.assert_allclose(found, model.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "conv",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("patch", "mirrored", "patch series", "resnet", "mlp", "series")
        ),
    ],
)
def test_torch_exports_a_module_for_batches_of_any_size(name):
    dim, X = fitted(name), samples(name)
    batch = torch.from_numpy(X)
    shapes = ({0: Dim("batch")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            to_torch(dim), (batch[:2],), dynamic_shapes=shapes
        )
        exported = program.module()
    for n in (1, 5, len(X)):
        found = exported(batch[:n]).numpy()
        rows = difference(found, dim.transform(X[:n]))
        if name == "series":
            check_series(rows)
        else:
            assert rows.max() < 1e-5


@pytest.mark.parametrize("size", [(1, 3), (2, 2), (3, 3), (4, 7)])
def test_exported_maxima_are_those_of_adaptive_pooling(size, monkeypatch):
    maps = torch.randn(2, 3, 4, 7, generator=torch.Generator().manual_seed(0))
    expected = grid_maxima(maps, size)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert torch.equal(grid_maxima(maps, size), expected)


@pytest.mark.parametrize("name", ["stepped series", "series of all sizes"])
def test_what_is_exported_of_the_series_encoder_says_the_same(name, monkeypatch):
    dim, X = fitted(name), samples(name)
    expected = dim.transform(X)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    rows = difference(to_torch(dim)(torch.from_numpy(X)).numpy(), expected)
    check_series(rows)


# ONNX


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("mlp", "float64"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("conv", "float32"),
                ("conv", "float64"),
                ("patch", "uint8"),
                ("conv", "int64"),
                ("mirrored", "float32"),
                ("resnet", "uint8"),
                *((name, "uint8") for name in OF_THE_PAPER),
                ("patch series", "float64"),
                ("series", "float32"),
            )
        ),
    ],
)
def test_onnx_returns_what_transform_does(name, dtype, tmp_path):
    dim, X = fitted(name), samples(name).astype(dtype)
    path = tmp_path / "a.onnx"
    to_onnx(dim, path, X[:1])
    onnx.checker.check_model(path, full_check=True)
    for n in (1, 5, len(X)):
        (found,) = run(path, X[:n])
        rows = difference(found, dim.transform(X[:n]))
        if name == "series":
            check_series(rows)
        else:
            assert rows.max() < 1e-5
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]
    n_bytes = sum(v.numel() * 4 for v in dim.encoder_.state_dict().values())
    assert path.stat().st_size < n_bytes + 300_000
    assert str(Path(torch.__file__).parent).encode() not in path.read_bytes()


@pytest.mark.slow
def test_onnx_takes_flattened_rows_and_other_lengths(tmp_path):
    path = tmp_path / "a.onnx"
    dim, X = fitted("conv"), samples("conv")
    rows = X.reshape(len(X), -1)
    to_onnx(dim, path, rows[:1])
    assert difference(run(path, rows)[0], dim.transform(X)).max() < 1e-5
    to_onnx(dim, path)  # float32, of the shape that fit saw
    assert difference(run(path, X)[0], dim.transform(X)).max() < 1e-5
    dim = fitted("unequal series")
    X = np.stack([one[:, :30] for one in samples("unequal series")])
    to_onnx(dim, path, X[:1])
    check_series(difference(run(path, X)[0], dim.transform(X)))


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["strings", "two classes"])
def test_onnx_of_a_classifier_names_the_class(labels, tmp_path):
    model, X = classifier("conv", labels), samples("conv")
    path = tmp_path / "a.onnx"
    to_onnx(model, path)
    label, probabilities = run(path, X)
    np.testing.assert_array_equal(label, model.predict(X))
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=1e-5)


@pytest.mark.slow
def test_onnx_of_a_pipeline_is_one_file(digits, tmp_path):
    X, y = digits
    path = tmp_path / "a.onnx"
    dim = DeepInfomaxTransformer(16, encoder=SMALL_CONV, max_iter=1, random_state=0)
    dim.fit(X)
    model = make_pipeline(
        "passthrough", FrozenEstimator(dim), StandardScaler(), LogisticRegression()
    )
    model.fit(X, y)
    to_onnx(model, path, X[:1])
    label, probabilities = run(path, X)
    np.testing.assert_array_equal(label, model.predict(X))
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=1e-4)
    rows = X.reshape(len(X), -1)
    model = make_pipeline(StandardScaler(), dim.set_params(input_shape=(8, 8)), PCA(3))
    model.fit(rows)
    to_onnx(model, path, rows[:1])
    np.testing.assert_allclose(run(path, rows)[0], model.transform(rows), atol=1e-3)
    with pytest.raises(ValueError, match="X=None does not tell what goes into"):
        to_onnx(model, path)


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        (np.zeros((1, 9, 9)), ValueError, r"samples of shape \(9, 9\), but fit saw"),
        (np.zeros((1, 8, 8), "u2"), TypeError, "X is uint16, which files of"),
        (np.zeros((1, 8, 8), "c8"), TypeError, "X is complex64, which files of"),
        (np.full((1, 8, 8), np.nan), ValueError, "X has NaN, which ONNX neither"),
        ([np.zeros(3), np.zeros(4)], ValueError, "and a file of ONNX takes one length"),
        ("text", ValueError, "samples of shape"),
        (np.zeros((0, 8, 8)), ValueError, "X has no rows; pass an array with"),
    ],
)
def test_rows_that_onnx_cannot_take(X, error, match, tmp_path):
    with pytest.raises(error, match=match):
        to_onnx(fitted("conv"), tmp_path / "a.onnx", X)
    assert not list(tmp_path.iterdir())


def test_what_onnx_is_refused_for(tmp_path):
    path = tmp_path / "a.onnx"
    with pytest.raises(ValueError, match="fit saw series of unequal length, or X"):
        to_onnx(fitted("unequal series"), path)
    nested = make_pipeline(FeatureUnion([("a", fitted("conv"))]), PCA(2))
    with pytest.raises(TypeError, match="the steps FeatureUnion, PCA; to_onnx takes"):
        to_onnx(nested, path)
    model = classifier()
    changed = DeepInfomaxClassifier()
    changed.__dict__.update(vars(model))
    changed.classes_ = np.array([(1,), (2,), (3,)], dtype="O,").astype(object)
    with pytest.raises(TypeError, match="the classes are tuple objects"):
        to_onnx(changed, path)
    assert not list(tmp_path.iterdir())


class Plain(TransformerMixin, BaseEstimator):
    """A step that skl2onnx knows nothing of."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X


@pytest.mark.slow
@pytest.mark.parametrize(
    "step",
    [Plain(), pytest.param(FunctionTransformer(np.tanh), marks=pytest.mark.slow)],
)
def test_a_step_without_a_converter_is_named(step, tmp_path):
    dim = FrozenEstimator(fitted("mlp"))
    match = rf"cannot convert the step {type(step).__name__} \(.*\); pass X as float32"
    for model in (make_pipeline(StandardScaler(), step, dim), make_pipeline(dim, step)):
        X = samples("mlp")
        with pytest.raises(TypeError, match=match):
            to_onnx(model.fit(X), tmp_path / "a", X)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_step_that_is_converted_wrongly_is_named(tmp_path):
    dim, X = FrozenEstimator(fitted("mlp")), samples("mlp")
    model = make_pipeline(dim, LinearDiscriminantAnalysis(), LogisticRegression())
    model.fit(X, np.arange(len(X)) % 3)
    with pytest.raises(TypeError, match=r"Analysis \(which gives other columns"):
        to_onnx(model, tmp_path / "a")
    bins = KBinsDiscretizer(encode="ordinal", strategy="uniform")
    with pytest.raises(TypeError, match="cannot convert the step KBinsDiscretizer"):
        to_onnx(make_pipeline(bins, dim).fit(X), tmp_path / "a", X)


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps",
    [
        (StandardScaler(), LinearSVC()),  # no probabilities
        *(
            pytest.param(steps, marks=pytest.mark.slow)
            for steps in (
                (KMeans(4, random_state=0), LogisticRegression()),  # two outputs
                (IsolationForest(n_estimators=3, random_state=0),),  # an older set
                (StandardScaler(), KNeighborsRegressor()),
            )
        ),
    ],
    ids=lambda steps: type(steps[-1]).__name__,
)
def test_onnx_of_a_pipeline_predicts_what_it_does(steps, tmp_path):
    X, path = samples("mlp") - 1e6, tmp_path / "a.onnx"
    dim = DeepInfomaxTransformer(8, max_iter=1, random_state=0)
    model = make_pipeline(StandardScaler(), dim, *steps)
    model.fit(X, np.arange(len(X)) % 3)
    to_onnx(model, path, X[:1])
    onnx.checker.check_model(path, full_check=True)
    found = run(path, X)[0].ravel()
    np.testing.assert_allclose(found, model.predict(X), atol=1e-5)


def test_onnx_wants_rows_for_a_pipeline(tmp_path):
    X = samples("mlp")
    model = make_pipeline(StandardScaler(), FrozenEstimator(fitted("mlp"))).fit(X)
    for rows in (X[:0], [], 3.0):
        with pytest.raises(ValueError, match="X has no rows; pass an array with at le"):
            to_onnx(model, tmp_path / "a", rows)
    with pytest.raises(TypeError, match=r"StandardScaler \(.*\); pass X as float32"):
        to_onnx(model, tmp_path / "a", np.zeros((1, 7), "float16"))
    with pytest.raises(ValueError, match="3 features, but StandardScaler is expecting"):
        to_onnx(model, tmp_path / "a", [[1.0, 2.0, 3.0]])


# Safetensors


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_file_returns_the_bits_of_transform(name, tmp_path):
    dim, X = fitted(name), samples(name)
    path = tmp_path / "a.safetensors"
    save_encoder(FrozenEstimator(dim), path)
    loaded = load_encoder(str(path))
    np.testing.assert_array_equal(loaded.transform(X), dim.transform(X))
    assert loaded.n_features_in_ == dim.n_features_in_
    assert loaded.input_shape_ == dim.input_shape_
    n_bytes = sum(
        v.numel() * v.element_size() for v in dim.encoder_.state_dict().values()
    )
    assert path.stat().st_size < n_bytes + 20_000
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_an_encoder_file_keeps_names_and_parameters(tmp_path):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "a.safetensors"
    table = pandas.DataFrame(samples("mlp"), columns=list("abcdefg"))
    dim = DeepInfomaxTransformer(
        8,
        max_iter=1,
        augment=("corrupt", "noise"),
        bound=lambda positive, negative: positive.mean() - negative.exp().mean(),
        random_state=0,
    ).fit(table)
    save_encoder(dim, path)
    loaded = load_encoder(path)
    assert loaded.augment == ("corrupt", "noise")
    assert loaded.bound == "infonce"  # a callable stays behind
    assert list(loaded.feature_names_in_) == list("abcdefg")
    loaded.set_output(transform="pandas")
    np.testing.assert_array_equal(loaded.transform(table), dim.transform(table))
    save_encoder(classifier(), path)
    loaded = load_encoder(path)
    expected = classifier().encoder_.transform(samples("conv"))
    np.testing.assert_array_equal(loaded.transform(samples("conv")), expected)


def test_a_loaded_encoder_transforms_and_no_more(tmp_path):
    dim, X = fitted("conv"), samples("conv")
    save_encoder(dim, tmp_path / "a")
    loaded = load_encoder(tmp_path / "a")
    expected = loaded.transform(X)
    for use in (loaded.score, loaded.local_scores, loaded.partial_fit):
        with pytest.raises(ValueError, match="loaded by load_encoder, from a file wit"):
            use(X)
    with pytest.raises(ValueError, match="loaded by load_encoder, from a file without"):
        DeepInfomaxClassifier(loaded).fit(X, np.arange(len(X)) % 2)
    head = DeepInfomaxClassifier(loaded, fine_tune="head")
    head.fit(X, np.arange(len(X)) % 2)
    again = pickle.loads(pickle.dumps(loaded))
    np.testing.assert_array_equal(again.transform(X), expected)
    np.testing.assert_array_equal(loaded.transform(X), expected)


def test_encoders_of_users_are_refused(tmp_path):
    own = DeepInfomaxTransformer(4, encoder=Own, max_iter=1).fit(samples("mlp"))
    with pytest.raises(TypeError, match="encoder=Own is not one of those that"):
        save_encoder(own, tmp_path / "a")
    features = to_torch(own)(torch.from_numpy(samples("mlp")))
    np.testing.assert_array_equal(features, own.transform(samples("mlp")))


def written(tmp_path, change):
    """Write an encoder file that is changed, with a checksum that fits."""
    path = tmp_path / "a.safetensors"
    save_encoder(fitted("conv"), path)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    about = json.loads(header["__metadata__"]["sk_dim"])
    tensors = load_file(path)
    change(about, tensors)
    text = json.dumps(about)
    metadata = {"sk_dim": text, "sk_dim.checksum": _checksum(text, tensors)}
    save_file(tensors, path, metadata=metadata)
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda about, tensors: about.update(encoder="os.system"),
        lambda about, tensors: about.update(encoder="mlp"),
        lambda about, tensors: about.update(settings={"command": "rm"}),
        lambda about, tensors: about.update(settings=3),
        lambda about, tensors: about.update(n_components=10**12),
        lambda about, tensors: about["samples"].update(layout=[0, 8]),
        lambda about, tensors: about["samples"].update(layout="ab"),
        lambda about, tensors: about["parameters"].update(critic="eval"),
        lambda about, tensors: about.pop("samples"),
        lambda about, tensors: tensors.popitem(),
        lambda about, tensors: tensors.update(
            {"scaling.mean": torch.zeros(5, 1, 1, dtype=torch.float64)}
        ),
    ],
)
def test_a_changed_encoder_file_is_damaged(change, tmp_path):
    with pytest.raises(ValueError, match="is damaged: its numbers and its description"):
        load_encoder(written(tmp_path, change))


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    save_encoder(fitted("conv"), path)
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    # In the description, in its checksum, and anywhere in the numbers.
    places = [whole.index(b"n_components"), whole.index(b"sk_dim.checksum") + 20]
    for place in (*places, *rng.integers(8 + length, len(whole), 20)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(7)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"is damaged|is no file of save_en"):
            load_encoder(path)


def encoder_file(folder):
    """Write the file of an encoder; return its path and its metadata."""
    path = folder / "a.safetensors"
    save_encoder(fitted("conv"), path)
    with safe_open(path, "pt") as file:
        return path, file.metadata()


def test_an_encoder_file_whose_numbers_changed_places_is_damaged(tmp_path):
    path, metadata = encoder_file(tmp_path)
    tensors = load_file(path)
    a, b = "scaling.mean", "scaling.std"
    tensors[a], tensors[b] = tensors[b], tensors[a]
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ValueError, match="its numbers are not those that were saved"):
        load_encoder(path)


def test_an_encoder_file_with_numbers_of_a_strange_kind_is_damaged(tmp_path):
    path, metadata = encoder_file(tmp_path)
    kinds = (torch.bfloat16, torch.float8_e4m3fn, torch.complex64, torch.bool)
    for dtype in kinds:
        save_file({"scaling.mean": torch.zeros(1, dtype=dtype)}, path, metadata)
        with pytest.raises(ValueError, match="its numbers are not those that were"):
            load_encoder(path)


def test_an_encoder_file_of_another_version(tmp_path):
    path = written(tmp_path, lambda about, tensors: about.update(format=2))
    with pytest.raises(
        ValueError, match=r"in format 2, and this is .* formats up to 1"
    ):
        load_encoder(path)
    path = written(tmp_path, lambda about, tensors: about.update(version="0.0.1"))
    with pytest.warns(UserWarning, match=r"saved by sk_dim 0\.0\.1 and is loaded by"):
        load_encoder(path)


def test_files_that_are_no_encoder_files(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileNotFoundError, match="is no file; check the name"):
        load_encoder(path)
    with pytest.raises(TypeError, match="path=None must be a path, as a str or"):
        load_encoder(None)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="of safetensors, but not of save_encoder"):
        load_encoder(path)
    save_encoder(fitted("conv"), path)
    whole = path.read_bytes()
    for data in (b"", b"text", whole[:100], whole[:-1], pickle.dumps({"a": print})):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="is no file of save_encoder, or is cut"):
            load_encoder(path)


# All of them


@pytest.mark.parametrize("write", [to_onnx, save_encoder])
def test_paths_that_cannot_be_written(write, tmp_path, monkeypatch):
    dim = fitted("conv")
    with pytest.raises(ValueError, match="which is no folder; make it first"):
        write(dim, tmp_path / "none" / "a")
    with pytest.raises(ValueError, match="is a folder; give the path of a file in it"):
        write(dim, str(tmp_path))
    for path in (None, 3, samples("conv")):
        with pytest.raises(TypeError, match=r"(?s)^path=.* must be a path, as a str"):
            write(dim, path)

    def refuse(*_, **__):  # as the system does to others than root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(ValueError, match="cannot be written, because of PermissionErr"):
        write(dim, tmp_path / "a")


def test_a_file_stays_whole_if_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("before")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_encoder(fitted("conv"), path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("export", [to_torch, to_onnx, save_encoder])
def test_estimators_that_cannot_be_exported(export, tmp_path):
    more = () if export is to_torch else (tmp_path / "a",)
    for estimator in (DeepInfomaxTransformer(), DeepInfomaxClassifier()):
        with pytest.raises(NotFittedError):
            export(estimator, *more)
    for estimator in (PCA(), None, "path"):
        with pytest.raises(TypeError, match=r"cannot be exported; pass a fitted Deep"):
            export(estimator, *more)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("onnx", lambda path: to_onnx(fitted("conv"), path)),
        ("onnxscript", lambda path: to_onnx(fitted("conv"), path)),
        ("skl2onnx", lambda path: to_onnx(make_pipeline(fitted("conv"), PCA()), path)),
        ("safetensors", lambda path: save_encoder(fitted("conv"), path)),
        ("safetensors", load_encoder),
    ],
)
def test_a_missing_package_is_named(package, use, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs the package {package}; install it"):
        use(tmp_path / "a")


@pytest.mark.parametrize(
    "name",
    [
        *("patch", "conv", "resnet", "mlp", "series"),
        pytest.param("folded", marks=pytest.mark.slow),
    ],
)
def test_skops_loads_what_it_is_told_to_trust(name, tmp_path):
    dim, X = fitted(name), samples(name)
    path = tmp_path / "a.skops"
    skops.io.dump(dim, path)
    loaded = skops.io.load(path, trusted=SKOPS_TRUSTED)
    np.testing.assert_array_equal(loaded.transform(X), dim.transform(X))
    if name == "conv":
        skops.io.dump(classifier(), path)
        loaded = skops.io.load(path, trusted=SKOPS_TRUSTED)
        np.testing.assert_array_equal(loaded.predict(X), classifier().predict(X))


def test_skops_does_not_trust_what_a_user_made(tmp_path):
    own = DeepInfomaxTransformer(4, encoder=Own, max_iter=1).fit(samples("mlp"))
    skops.io.dump(own, tmp_path / "a")
    with pytest.raises(TypeError, match="Own"):
        skops.io.load(tmp_path / "a", trusted=SKOPS_TRUSTED)


@pytest.mark.parametrize("version", VERSIONS)
def test_stored_files_of_each_version_load(version):
    assert __version__ in VERSIONS, "run tests/stored/make.py for a new version"
    with warnings.catch_warnings():
        if version != __version__:
            warnings.simplefilter("ignore")  # that versions differ
        content = joblib.load(STORED / f"{version}.joblib")
        encoder = load_encoder(STORED / f"{version}.safetensors")
    dim, images, features = content["transformer"]
    np.testing.assert_allclose(dim.transform(images), features, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(encoder.transform(images), dim.transform(images))
    model, table, probabilities = content["classifier"]
    np.testing.assert_allclose(model.predict_proba(table), probabilities, atol=1e-5)
    assert set(model.predict(table)) <= {"a", "b"}
