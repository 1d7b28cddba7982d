"""What the estimator promises, but for the errors (test_bad_input) and scikit-learn."""

import copy
import functools
import math
import pickle
import random
import subprocess
import sys
import warnings
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sk_dim import DeepInfomaxTransformer
from sk_dim._inputs._groups import read_groups
from sk_dim._training._model import Model
from sk_dim._training._net import InfomaxNet
from sk_dim._training._saving import checksum
from sk_dim._training._schedule import auto_epochs, batch_size_of, n_epochs_of
from sk_dim.critics import ConcatCritic, DotCritic
from sk_dim.encoders import ConvEncoder, Features, PatchEncoder, ResNetEncoder

QUICK = {"max_iter": 2, "n_components": 64, "random_state": 0}


def quick(**params):
    return DeepInfomaxTransformer(**(QUICK | params))


@pytest.fixture(scope="module", name="fitted")
def _fitted(digits):
    return quick().fit(digits[0])


def state(estimator):
    return {k: v.clone() for k, v in estimator.net_.module_.state_dict().items()}


def assert_same_state(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


# What fit leaves behind


def test_fitted_attributes(fitted, digits):
    assert fitted.n_features_in_ == 64
    assert fitted.input_shape_ == (1, 8, 8)
    assert fitted.n_iter_ == len(fitted.history_) == 2
    assert fitted.encoder_ is fitted.net_.module_
    assert fitted.device_.type in ("cpu", "cuda", "mps")
    assert fitted.precision_ in ("float32", "bfloat16")
    assert fitted.transform(digits[0]).dtype == np.float32


def test_every_epoch_has_the_same_keys_in_the_history(digits):
    expected = [
        "epoch", "loss", "local", "global", "prior", "valid_loss", "valid_local",
        "valid_global", "learning_rate", "seconds", "samples_per_second",
    ]  # fmt: skip
    everything = quick(
        global_weight=0.5, prior_weight=0.1, validation_fraction=0.2
    ).fit(digits[0])
    for row in everything.history_:
        assert list(row) == expected
        assert all(math.isfinite(value) for value in row.values())
    lean = quick(global_weight=0.0, prior_weight=0.0).fit(digits[0])
    assert list(lean.history_[0]) == expected
    missing = [k for k, v in lean.history_[0].items() if math.isnan(v)]
    assert missing == ["global", "prior", "valid_loss", "valid_local", "valid_global"]


def test_training_raises_the_bound(digits):
    history = quick(max_iter=8).fit(digits[0]).history_
    assert history[-1]["local"] > history[0]["local"] + 0.2


def last(estimator, term):
    return estimator.history_[-1][term]


def own_bound(positive, negative):
    """Return a value that no other bound has."""
    return 0 * positive.mean() + 0 * negative.logsumexp(1).mean() - 7.0


# Each choice, and a fact that holds of its fit on 100 digits and of hardly another.
CHOICES = {
    "jsd": ({"bound": "jsd"}, lambda e, X: last(e, "local") <= np.log(4)),
    "donsker_varadhan": (
        {"bound": "donsker_varadhan", "max_iter": 8},
        lambda e, X: last(e, "local") > e.history_[0]["local"],
    ),
    "nwj": (
        {"bound": "nwj", "max_iter": 8},
        lambda e, X: last(e, "local") > e.history_[0]["local"],
    ),
    "concat": (
        {"critic": "concat", "bound": "jsd"},
        lambda e, X: isinstance(e.net_.criterion_.critics["local"], ConcatCritic),
    ),
    "one view": (
        {"augment": None, "global_weight": 1.0},
        lambda e, X: np.isfinite(last(e, "global")) and e.net_.augment is None,
    ),
    "flip": ({"augment": ("flip", "color")}, lambda e, X: e.encoder_.is_mirrored),
    "natural": ({"augment": "natural"}, lambda e, X: e.encoder_.is_mirrored),
    "uniform": (
        {"prior": "uniform", "prior_weight": 0.1},
        lambda e, X: e.net_.criterion_.has_adversary and last(e, "prior") < 0,
    ),
    "normal": (
        {"prior": "normal", "prior_weight": 0.1},
        lambda e, X: e.net_.criterion_.has_adversary and last(e, "prior") < 0,
    ),
    "noise": (
        {"prior": "noise", "prior_weight": 0.1},
        lambda e, X: not e.net_.criterion_.has_adversary and last(e, "prior") == 0,
    ),
    "views only": (
        {"local_weight": 0.0, "global_weight": 1.0},
        lambda e, X: np.isnan(last(e, "local")) and np.isfinite(last(e, "global")),
    ),
    "prior only": (
        {"local_weight": 0.0, "global_weight": 0.0, "prior_weight": 1.0},
        lambda e, X: np.isnan([last(e, "local"), last(e, "global")]).all(),
    ),
    "held out": (
        {"validation_fraction": 0.3},
        lambda e, X: np.isfinite(last(e, "valid_loss")),
    ),
    "batches of 17": (
        {"precision": "float32", "batch_size": 17},
        lambda e, X: e.precision_ == "float32" and e.net_.n_steps == 2 * 6,
    ),
    "time enough": ({"max_time": 1e3}, lambda e, X: e.n_iter_ == 2),
    "own encoder": (
        {"encoder": lambda shape, n: ConvEncoder(shape, n, n_hidden=32)},
        lambda e, X: e.features(X)["hidden"].shape[1] == 32,
    ),
    "critic of 16": (
        {"critic": functools.partial(DotCritic, n_units=16, n_locations=None)},
        lambda e, X: e.net_.criterion_.critics["local"].n_locations is None,
    ),
    "own bound": ({"bound": own_bound}, lambda e, X: last(e, "local") == -7.0),
    "own view": (
        {"augment": lambda batch, generator: torch.zeros_like(batch), "bound": "jsd"},
        # Nothing can be told apart: log 4 less 2 log 2.
        lambda e, X: last(e, "local") < 0.05,
    ),
    "3 components": ({"n_components": 3}, lambda e, X: e.transform(X).shape[1] == 3),
}


@pytest.mark.slow
@pytest.mark.parametrize(("params", "fact"), CHOICES.values(), ids=CHOICES)
def test_choices_train_and_transform(params, fact, digits):
    X = digits[0][:100]
    estimator = quick(**params).fit(X)
    Z = estimator.transform(X)
    assert Z.shape == (100, estimator.n_components)
    assert np.isfinite(Z).all()
    assert Z.std(axis=0).min() > 0
    assert fact(estimator, X)


@pytest.mark.parametrize(
    ("shape", "encoder", "width"),
    [
        ((16, 16), "auto", 2816),
        ((16, 16), "conv", 1024),
        ((16, 16), functools.partial(PatchEncoder, n_filters=8), 2368),
        ((16, 16), functools.partial(ResNetEncoder, n_channels=4), 60),
        ((16, 16), ConvEncoder, 1024),
        ((8, 8), "auto", 1024),
        ((5,), "auto", 1024),
    ],
)
def test_without_n_components_the_encoder_says_how_wide_it_is(shape, encoder, width):
    X = np.random.default_rng(0).normal(size=(10, *shape))
    estimator = quick(n_components=None, encoder=encoder, max_iter=1).fit(X)
    assert estimator.transform(X).shape == (10, width)
    assert len(estimator.get_feature_names_out()) == width


def test_two_rows_are_enough():
    for shape in [(2, 5), (2, 9, 12), (2, 3, 8, 8)]:
        X = np.random.default_rng(0).normal(size=shape)
        assert np.isfinite(quick().fit_transform(X)).all()


def test_epochs_of_auto_fall_with_the_rows():
    epochs = [auto_epochs(n) for n in (10, 1000, 10_000, 100_000, 10_000_000)]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[-1] >= 1


@pytest.mark.parametrize(
    ("n_rows", "size"), [(2, 128), (1000, 128), (6000, 150), (50_000, 512)]
)
def test_batches_of_auto_are_larger_on_a_gpu_if_an_epoch_keeps_enough(n_rows, size):
    model = SimpleNamespace(device=torch.device("cuda"), encoder=None)
    assert batch_size_of(quick(batch_size="auto"), model, n_rows) == size
    assert batch_size_of(quick(batch_size=7), model, n_rows) == 7
    assert size == 128 or n_rows / size >= 40
    auto, given = (
        n_epochs_of(quick(batch_size=each, max_iter="auto"), model, n_rows)
        for each in ("auto", 128)
    )
    assert auto * n_rows / size == pytest.approx(given * n_rows / 128, rel=0.1)
    assert n_epochs_of(quick(max_iter=3), model, n_rows) == 3
    assert n_epochs_of(quick(max_iter="auto", max_time=1), model, n_rows) is None
    model.device = torch.device("cpu")
    assert batch_size_of(quick(batch_size="auto"), model, n_rows) == 128


def test_the_batch_size_of_a_training_is_told(digits):
    assert quick().fit(digits[0][:60]).batch_size_ == 128
    assert quick(batch_size=20).fit(digits[0][:60]).batch_size_ == 20


# Inputs


def test_flattened_rows_and_images_give_the_same_features(digits):
    X = digits[0]
    images = quick().fit(X)
    rows = quick(input_shape=(8, 8)).fit(X.reshape(len(X), -1))
    expected = images.transform(X)
    np.testing.assert_array_equal(rows.transform(X), expected)
    np.testing.assert_array_equal(rows.transform(X.reshape(len(X), -1)), expected)


def test_channels_first_and_last_give_the_same_features():
    X = np.random.default_rng(0).random((30, 3, 12, 16))
    first, last = (quick().fit_transform(a) for a in (X, X.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(first, last, atol=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float32", "float64"])
def test_the_dtype_of_the_same_values_does_not_matter(dtype, digits):
    X = digits[0][:100]
    expected = quick().fit_transform(X.astype(np.float32))
    Z = quick().fit_transform(X.astype(dtype))
    if dtype in ("uint8", "float16"):
        np.testing.assert_array_equal(Z, expected)
    else:
        np.testing.assert_allclose(Z, expected, atol=1e-3)


def test_uint8_stays_uint8_until_it_is_on_the_device(digits, monkeypatch):
    from sk_dim._inputs._scaling import Scaling

    seen = set()
    original = Scaling.__call__
    monkeypatch.setattr(
        Scaling,
        "__call__",
        lambda s, batch: seen.add(batch.dtype) or original(s, batch),
    )
    quick().fit_transform(digits[0].astype(np.uint8))
    assert seen == {torch.uint8}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8])
def test_torch_tensors(dtype, digits):
    X = torch.tensor(digits[0][:60]).to(dtype)
    Z = quick().fit_transform(X)
    assert isinstance(Z, np.ndarray)
    np.testing.assert_allclose(Z, quick().fit_transform(digits[0][:60]), atol=1e-3)
    gradient = X.float().requires_grad_()
    assert quick().fit(gradient).transform(gradient).shape == Z.shape


def test_data_frames_keep_their_names(digits):
    X = pd.DataFrame(digits[0][:50, 0], columns=list("abcdefgh"))
    estimator = quick().fit(X)
    assert estimator.feature_names_in_.tolist() == list("abcdefgh")
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.transform(X.rename(columns={"a": "z"}))
    nested = digits[0][:50].tolist()
    assert quick().fit(nested).input_shape_ == (1, 8, 8)


@pytest.mark.slow
def test_colour_images_have_equal_features_in_the_mirror_where_views_are_flipped():
    X = np.random.default_rng(0).integers(0, 256, (40, 18, 20, 3), dtype=np.uint8)
    mirrored = X[:, :, ::-1]
    natural = quick(augment="natural").fit(X)
    Z, Z_mirrored = natural.transform(X), natural.transform(mirrored)
    np.testing.assert_allclose(Z, Z_mirrored, atol=1e-4)
    maps, maps_mirrored = (natural.features(a)["conv"] for a in (X, mirrored))
    np.testing.assert_allclose(maps, maps_mirrored[..., ::-1], atol=1e-4)
    plain = quick().fit(X)
    assert np.abs(plain.transform(X) - plain.transform(mirrored)).max() > 0.1
    loaded = pickle.loads(pickle.dumps(natural))
    np.testing.assert_array_equal(loaded.transform(X), Z)


@pytest.mark.slow
def test_the_first_layer_is_learnt_from_the_training_images_and_not_trained():
    X = np.random.default_rng(0).random((30, 16, 16))
    filters = [
        quick(max_iter=n, random_state=seed).fit(X).encoder_.patches.filters
        for n, seed in ((1, 0), (3, 0), (1, 1))
    ]
    assert torch.equal(filters[0], filters[1])
    assert not torch.equal(filters[0], filters[2])


def test_series(digits):
    X = np.random.default_rng(0).normal(size=(40, 3, 50)).cumsum(axis=2)
    estimator = quick(input_type="series", augment="crop").fit(X)
    assert estimator.input_shape_ == (3, 50)
    assert estimator.local_scores(X).shape[0] == 40


def test_tables_with_one_column_and_constant_columns():
    X = np.column_stack([np.arange(30.0), np.zeros(30)])
    assert np.isfinite(quick().fit_transform(X)).all()
    assert np.isfinite(quick().fit_transform(X[:, :1])).all()


def test_constant_data_draws_a_warning_and_gives_finite_features():
    with pytest.warns(UserWarning, match="X is constant"):
        Z = quick().fit_transform(np.ones((20, 9)))
    assert np.isfinite(Z).all()


def test_memory_maps_are_not_copied_whole(digits, tmp_path):
    path = tmp_path / "X.npy"
    np.save(path, digits[0])
    X = np.load(path, mmap_mode="r")
    np.testing.assert_array_equal(
        quick().fit_transform(X), quick().fit_transform(digits[0])
    )


# Outputs


def test_layers(fitted, digits):
    X = digits[0][:20]
    layers = fitted.features(X)
    assert list(layers) == ["global", "hidden", "conv", "local"]
    estimator = copy.deepcopy(fitted)
    for name, values in layers.items():
        Z = estimator.set_params(output_layer=name).transform(X)
        np.testing.assert_array_equal(Z, values.reshape(20, -1))
        assert len(estimator.get_feature_names_out()) == Z.shape[1]
    assert layers["local"].ndim == 4


def test_output_of_pandas(fitted, digits):
    estimator = pickle.loads(pickle.dumps(fitted)).set_output(transform="pandas")
    frame = estimator.transform(digits[0][:5])
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == fitted.get_feature_names_out().tolist()


def test_features_do_not_depend_on_batch_size_or_order(fitted, digits, monkeypatch):
    X = digits[0]
    Z = fitted.transform(X)
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_allclose(fitted.transform(X[order]), Z[order], atol=1e-4)
    monkeypatch.setattr("sk_dim._training._model.ENCODED_AT_ONCE", 7)
    np.testing.assert_allclose(fitted.transform(X), Z, atol=1e-4)
    np.testing.assert_allclose(fitted.transform(X[:1]), Z[:1], atol=1e-4)


def test_local_scores_are_one_for_each_location(fitted, digits):
    scores = fitted.local_scores(digits[0][:10])
    locations = fitted.features(digits[0][:10])["local"][0, 0].size
    assert scores.shape == (10, locations)


@pytest.mark.slow
def test_score_is_a_bound_in_nats_that_rises_with_training(digits):
    X = digits[0]
    scores = [quick(max_iter=n).fit(X).score(X) for n in (1, 12)]
    assert scores[0] < scores[1] < math.log(256)


def test_score_does_not_depend_on_the_order_of_rows_much(fitted, digits):
    X = digits[0]
    order = np.argsort(digits[1], kind="stable")
    assert fitted.score(X[order]) == pytest.approx(fitted.score(X), abs=0.05)


@pytest.mark.slow
def test_score_works_for_any_bound_and_critic(digits):
    X = digits[0][:30]
    for params in [
        {"bound": "jsd"},
        {"critic": "concat"},
        {"prior": "noise", "prior_weight": 0.1},
    ]:
        assert quick(**params).fit(X).score(X) < math.log(256)


def test_y_is_ignored(digits):
    X, y = digits
    np.testing.assert_array_equal(
        quick().fit(X, y).transform(X), quick().fit(X).transform(X)
    )


# Repeats, and the world outside


def test_the_same_seed_gives_the_same_bits(digits):
    params = {"global_weight": 0.5, "prior_weight": 0.1, "augment": "natural"}
    states = [state(quick(**params).fit(digits[0])) for _ in range(2)]
    assert_same_state(*states)
    other = state(quick(**params | {"random_state": 1}).fit(digits[0]))
    assert not torch.equal(other["global_.weight"], states[0]["global_.weight"])


def test_a_random_state_instance_moves_on(digits):
    rng = np.random.RandomState(0)
    a, b = (state(quick(random_state=rng).fit(digits[0][:50])) for _ in range(2))
    assert not torch.equal(a["global_.weight"], b["global_.weight"])


def with_dropout(shape, n_components):
    """Build an encoder that draws from torch's global generator."""
    return torch.nn.Sequential(torch.nn.Dropout(0.2), ConvEncoder(shape, n_components))


@pytest.mark.parametrize("encoder", ["auto", with_dropout])
def test_global_generators_are_untouched_and_do_not_matter(encoder, digits):
    def worlds():
        return torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002

    before = worlds()
    a = quick(encoder=encoder).fit(digits[0][:60])
    a.transform(digits[0][:60])
    after = worlds()
    assert torch.equal(before[0], after[0])
    assert (before[1] == after[1]).all()
    assert before[2] == after[2]
    torch.rand(3)
    b = quick(encoder=encoder).fit(digits[0][:60])
    assert_same_state(state(a), state(b))


@pytest.mark.parametrize(
    "precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)]
)
@pytest.mark.filterwarnings("ignore:precision='bfloat16' is emulated")
def test_fits_in_threads_do_not_disturb_each_other(precision, digits):
    X = digits[0][:60]
    params = {"precision": precision, "batch_size": 16, "n_components": 8}

    def fit():
        return state(quick(**params).fit(X))

    alone = fit()
    together = joblib.Parallel(n_jobs=3, backend="threading")(
        joblib.delayed(fit)() for _ in range(3)
    )
    for each in together:
        assert_same_state(each, alone)


def test_parameters_and_data_are_not_changed(digits):
    X = digits[0].copy()
    estimator = quick(callbacks=[])
    params = dict(estimator.get_params())
    estimator.fit(X).transform(X)
    assert estimator.get_params() == params
    np.testing.assert_array_equal(X, digits[0])


def test_a_second_fit_forgets_the_first(digits):
    X = digits[0]
    estimator = quick().fit(X[:, :, :].reshape(len(X), -1)[:, :7])
    estimator.fit(X)
    assert_same_state(state(estimator), state(quick().fit(X)))
    assert estimator.n_iter_ == 2


# More training


@pytest.mark.slow
def test_warm_start_goes_on(digits):
    X = digits[0]
    estimator = quick(warm_start=True, max_iter=6).fit(X)
    first = state(estimator)
    bound = estimator.history_[-1]["local"]
    estimator.fit(X)
    assert estimator.n_iter_ == 12
    assert [row["epoch"] for row in estimator.history_] == list(range(1, 13))
    assert not torch.equal(first["global_.weight"], state(estimator)["global_.weight"])
    assert estimator.history_[-1]["local"] > bound
    with pytest.raises(
        ValueError, match="n_components changed since the net was built"
    ):
        estimator.set_params(n_components=3).fit(X)


@pytest.mark.slow
def test_a_training_goes_on_in_another_precision(digits):
    X = digits[0][:100]
    estimator = quick(warm_start=True, precision="float32").fit(X)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "precision='bfloat16' is emulated")
        estimator.set_params(precision="bfloat16").fit(X)
    assert estimator.precision_ == "bfloat16"
    assert np.isfinite(estimator.transform(X)).all()


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_training_goes_on_where_it_began(method, digits, monkeypatch):
    X = digits[0][:100]
    estimator = quick(warm_start=True, device="cpu").fit(X)
    before = estimator.transform(X)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ValueError, match=r"device='mps', but the model .* on 'cpu'"):
        getattr(estimator.set_params(device="mps"), method)(X)
    np.testing.assert_array_equal(estimator.transform(X), before)
    getattr(estimator.set_params(device="auto"), method)(X)
    assert estimator.device_ == torch.device("cpu")


def test_what_a_fit_learns_is_not_there_before():
    estimator = DeepInfomaxTransformer()
    for name in ("net_", "encoder_", "history_", "n_iter_", "device_", "precision_"):
        assert not hasattr(estimator, name)
    with pytest.raises(NotFittedError, match="DeepInfomaxTransformer instance is not"):
        estimator.history_  # noqa: B018


def test_large_samples_are_scored_in_parts(digits, monkeypatch):
    X = digits[0][:300]
    estimator = quick().fit(X)
    expected = estimator.score(X)
    sizes = []
    step = InfomaxNet.evaluation_step
    monkeypatch.setattr(
        InfomaxNet,
        "evaluation_step",
        lambda net, batch: sizes.append(len(batch)) or step(net, batch),
    )
    monkeypatch.setattr("sk_dim._inputs._batches.MAX_BATCH_VALUES", 64 * 10)
    assert estimator.score(X) == pytest.approx(expected, abs=1e-5)
    assert max(sizes) == 10
    assert sum(sizes) == 300


def test_partial_fit_is_one_epoch_with_the_first_scaling(digits):
    X = digits[0]
    estimator = DeepInfomaxTransformer(random_state=0).partial_fit(X[:100])
    mean = estimator.model_.scaling.mean.clone()
    optimizer = estimator.net_.optimizer_
    estimator.partial_fit(100 + X[100:200]).partial_fit(X[:2])
    assert estimator.n_iter_ == 3
    assert torch.equal(estimator.model_.scaling.mean, mean)
    assert estimator.net_.optimizer_ is optimizer
    rates = {row["learning_rate"] for row in estimator.history_}
    assert rates == {estimator.learning_rate}


@pytest.mark.slow
@pytest.mark.parametrize("prior_weight", [0.0, 0.1])
def test_saving_between_partial_fits_changes_nothing(prior_weight, digits):
    X = digits[0][:100]
    a = DeepInfomaxTransformer(random_state=0, prior_weight=prior_weight).partial_fit(X)
    b = pickle.loads(pickle.dumps(a))
    assert_same_state(state(a.partial_fit(X)), state(b.partial_fit(X)))
    assert b.n_iter_ == 2


# Saving


def test_training_can_go_on_after_loading_a_finished_fit(fitted, digits):
    loaded = pickle.loads(pickle.dumps(fitted)).partial_fit(digits[0])
    assert loaded.n_iter_ == 3
    assert [row["epoch"] for row in loaded.history_] == [1, 2, 3]


def test_round_trips_give_the_same_bits(fitted, digits, tmp_path):
    X = digits[0]
    path = tmp_path / "dim.joblib"
    joblib.dump(fitted, path)
    for loaded in (pickle.loads(pickle.dumps(fitted)), joblib.load(path)):
        np.testing.assert_array_equal(loaded.transform(X), fitted.transform(X))
        np.testing.assert_array_equal(loaded.local_scores(X), fitted.local_scores(X))
        assert loaded.score(X) == fitted.score(X)
        assert str(loaded.history_) == str(fitted.history_)


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_bits(fitted, digits, tmp_path):
    joblib.dump(fitted, tmp_path / "dim.joblib")
    np.save(tmp_path / "X.npy", digits[0])
    np.save(tmp_path / "Z.npy", fitted.transform(digits[0]))
    program = (
        "import joblib, numpy as np\n"
        "dim, X, Z = joblib.load('dim.joblib'), np.load('X.npy'), np.load('Z.npy')\n"
        "assert np.array_equal(dim.transform(X), Z)\n"
        # Which takes seconds, and only a training needs.
        "import sys; assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("prior_weight", [0.0, 0.1])
def test_a_file_holds_encoder_and_critics_and_little_else(prior_weight, digits):
    estimator = quick(prior_weight=prior_weight).fit(digits[0])
    net = estimator.net_
    parameters = [*net.module_.parameters(), *net.criterion_.critics.parameters()]
    n_bytes = sum(p.numel() * p.element_size() for p in parameters)
    assert len(pickle.dumps(estimator)) < 1.1 * n_bytes
    resumable = quick(prior_weight=prior_weight, warm_start=True).fit(digits[0])
    assert len(pickle.dumps(resumable)) > 2 * n_bytes


def test_a_lambda_cannot_be_pickled_and_the_error_names_it(digits):
    estimator = quick(encoder=lambda shape, n: ConvEncoder(shape, n, n_hidden=16))
    estimator.fit(digits[0][:20])
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(estimator)


def test_an_estimator_fitted_on_a_device_that_is_missing_comes_back_on_the_cpu(
    fitted, digits
):
    state = fitted.model_.__getstate__() | {"device": "cuda:0"}
    estimator = clone(fitted)
    estimator.model_ = Model.__new__(Model)
    with pytest.warns(UserWarning, match="will compute on the CPU"):
        estimator.model_.__setstate__(state)
    assert estimator.device_.type == "cpu"
    np.testing.assert_allclose(
        estimator.transform(digits[0]), fitted.transform(digits[0]), atol=1e-4
    )


@pytest.mark.parametrize("position", [0.3, 0.6, 0.9])
def test_a_file_in_which_a_byte_changed_is_refused(position, fitted):
    pickled = bytearray(pickle.dumps(fitted))
    pickled[int(position * len(pickled))] ^= 64
    with pytest.raises(ValueError, match="the saved estimator is damaged"):
        pickle.loads(pickled)


def test_a_state_of_another_version_is_said(fitted, digits):
    state = fitted.model_.__getstate__()
    model = Model.__new__(Model)
    with pytest.warns(UserWarning, match=r"saved by sk_dim 0\.0\.1 and is loaded by"):
        model.__setstate__(state | {"version": "0.0.1"})
    before = fitted.__getstate__()
    del before["learning_rate"]
    estimator = DeepInfomaxTransformer()
    with pytest.warns(UserWarning, match="saved without learning_rate"):
        estimator.__setstate__(before)
    assert estimator.learning_rate == DeepInfomaxTransformer().learning_rate
    np.testing.assert_array_equal(
        estimator.transform(digits[0]), fitted.transform(digits[0])
    )


def test_a_state_that_lost_a_critic_is_refused(fitted):
    state = fitted.model_.__getstate__()
    objective = state["arrays"]["objective"]
    for name in [name for name in objective if name.startswith("critics.local")]:
        del objective[name]
    state["checksum"] = checksum(state["arrays"], state["progress"])
    with pytest.raises(ValueError, match=r"lacks critics\.local"):
        Model.__new__(Model).__setstate__(state)


# Own parts


class TwoLayers(torch.nn.Module):
    """An encoder without hidden and conv layers, its local features without axes."""

    def __init__(self, shape, n_components):
        super().__init__()
        self.local = torch.nn.Linear(math.prod(shape), 6)
        self.global_ = torch.nn.Linear(6, n_components)

    def forward(self, batch):
        local = self.local(batch.flatten(1)).relu()
        return Features(self.global_(local), None, None, local)


def test_an_own_encoder_has_the_layers_it_returns(digits):
    X = digits[0][:50]
    estimator = quick(encoder=TwoLayers, n_components=5).fit(X)
    assert {k: v.shape for k, v in estimator.features(X).items()} == {
        "global": (50, 5),
        "local": (50, 6),
    }
    assert estimator.local_scores(X).shape == (50, 1)
    again = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(again.transform(X), estimator.transform(X))
    with pytest.raises(ValueError, match="'conv' is not a layer of this encoder"):
        estimator.set_params(output_layer="conv").transform(X)


# Groups

FORMS = {
    "integers": lambda codes: codes + 7,
    "strings": lambda codes: np.array([f"patient {code:02}" for code in codes]),
    "tuples": lambda codes: [("ward", int(code)) for code in codes],
    "several types": lambda codes: [str(c) if c % 2 else int(c) for c in codes],
    "a column": lambda codes: pd.Series(codes, dtype="category"),
    "a tensor": torch.from_numpy,
}


@pytest.mark.parametrize("form", FORMS)
def test_groups_may_have_any_names(form):
    codes = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 6))
    found = read_groups(FORMS[form](codes), 60)
    np.testing.assert_array_equal(found[:, None] == found, codes[:, None] == codes)
    assert sorted(set(found)) == list(range(10))


def test_groups_change_what_is_learnt(digits):
    X, codes = digits[0][:60], np.arange(60) // 6
    plain, of_codes, of_names = (
        state(quick(max_iter=1).fit(X, groups=groups))
        for groups in (None, codes, [f"patient {code}" for code in codes])
    )
    assert_same_state(of_codes, of_names)
    assert not all(torch.equal(plain[name], of_codes[name]) for name in plain)


def test_each_batch_has_the_groups_of_its_rows(monkeypatch):
    codes = np.random.default_rng(0).permutation(np.arange(200) // 10)
    X = np.repeat(codes[:, None], 12, axis=1) * 1.0
    seen = {True: [], False: []}
    evaluate = InfomaxNet._evaluate_terms

    def spy(self, batch, *generators_and_groups):
        seen[self.module_.training].append((batch[:, 0], generators_and_groups[-1]))
        return evaluate(self, batch, *generators_and_groups)

    monkeypatch.setattr(InfomaxNet, "_evaluate_terms", spy)
    dim = quick(batch_size=32, augment=None, validation_fraction=0.2)
    dim.fit(X, groups=codes)
    dim.partial_fit(X, groups=codes)
    for batch, groups in seen[True] + seen[False]:
        value = dim.model_.scaling(torch.from_numpy(X[:, :12]))[:, 0]
        of_code = {int(c): v for c, v in zip(codes, value.tolist(), strict=True)}
        expected = [of_code[int(each)] for each in groups]
        np.testing.assert_allclose(batch, expected, rtol=1e-5, atol=1e-6)
    trained, held_out = (
        {int(code) for _, groups in seen[key] for code in groups}
        for key in (True, False)
    )
    assert len(held_out) == 4
    assert trained | held_out == set(range(20))
    assert not trained & held_out


def test_a_bound_gets_no_negatives_of_the_own_group(digits):
    counts = []

    def count(positive, negative):
        counts.append((~negative.isneginf()).sum(dim=1).flatten())
        return 0 * positive.mean()

    # Of 60 rows in one batch, 40 have 50 others to be told from, and 20 have 40.
    codes = np.array([0, 1, 2, 3] * 10 + [4] * 20)
    quick(max_iter=1, bound=count, global_weight=1.0, local_weight=0.0).fit(
        digits[0][:60], groups=codes
    )
    counts = [each for each in counts if len(each) == 60]  # less where it is tried
    assert len(counts) == 2  # two views
    for each in counts:
        assert sorted(each.tolist()) == [40] * 20 + [50] * 40


def test_fit_transform_takes_groups(digits):
    X, groups = digits[0][:60], np.arange(60) // 6
    both = quick(max_iter=1).fit_transform(X, groups=groups)
    np.testing.assert_array_equal(
        both, quick(max_iter=1).fit(X, groups=groups).transform(X)
    )


@pytest.mark.parametrize(
    ("groups", "params", "error", "message"),
    [
        (range(59), {}, ValueError, "holds 59 labels, but X has 60 samples"),
        ([0] * 60, {}, ValueError, "all 60 samples into one group, 0"),
        ([0, None] * 30, {}, ValueError, "30 missing values .* first in row 1"),
        ([np.nan, 1.0] * 30, {}, ValueError, "30 missing values .* first in row 0"),
        (np.zeros((60, 1)), {}, ValueError, r"has shape \(60, 1\)"),
        (3, {}, TypeError, "groups=3 is no list or array"),
        ([{}, "a"] * 30, {}, TypeError, "cannot be hashed"),
        (
            [0, 1, 2] * 20,
            {"validation_fraction": 0.2},
            ValueError,
            "at least 2 in each part, but there are 3 groups",
        ),
    ],
)
def test_groups_that_are_refused(groups, params, error, message, digits):
    X = digits[0][:60]
    for method in ("fit", "partial_fit"):
        estimator = quick(**params)
        with pytest.raises(error, match=message):
            getattr(estimator, method)(X, groups=groups)
        assert not hasattr(estimator, "model_")


class Next(torch.nn.Module):
    """A critic that knows nothing of groups, and scores the next sample only."""

    def __init__(self, n_local_channels, n_components):
        super().__init__()
        self.local = torch.nn.Linear(n_local_channels, n_components)

    def forward(self, local, global_):
        local = self.local(local.transpose(1, 2))
        near = [(local.roll(-s, 0) * global_[:, None]).sum(2) for s in (0, 1)]
        return near[0], near[1].unsqueeze(1)


def test_a_critic_that_cannot_leave_groups_out_is_refused(digits):
    X = digits[0][:60]
    estimator = quick(critic=Next, global_weight=0.0).fit(X)
    with pytest.raises(ValueError, match="give it a method of_negatives"):
        estimator.fit(X, groups=np.arange(60) // 6)
