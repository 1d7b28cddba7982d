"""What is promised on a CUDA device; run there with ``pytest -m gpu``."""

import copy
import functools
import pickle
import warnings

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sk_dim import (
    DeepInfomaxClassifier,
    DeepInfomaxTransformer,
    MutualInformationEstimator,
    PairwiseMutualInformation,
)
from sk_dim._training import _captured, _checkpoints
from sk_dim.datasets import make_class_pairs
from sk_dim.encoders import ConvEncoder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

QUICK = {"max_iter": 5, "n_components": 64, "random_state": 0, "precision": "float32"}


def quick(**params):
    return DeepInfomaxTransformer(**(QUICK | {"device": "cuda"} | params))


@pytest.fixture(name="deterministic")
def _deterministic(monkeypatch):
    """Ask torch for kernels that add in one order."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def without_a_gpu(monkeypatch, function):
    """Call a function as on a machine without a CUDA device."""
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "this estimator was fitted on")
        warnings.filterwarnings("ignore", "this was fitted on")
        patch.setattr(torch.cuda, "is_available", lambda: False)
        return function()


def test_auto_takes_the_device_with_its_number(digits):
    estimator = quick(device="auto").fit(digits[0])
    assert estimator.device_ == torch.device("cuda", torch.cuda.current_device())


def test_a_device_that_is_not_there_is_refused(digits):
    with pytest.raises(ValueError, match="device='cuda:99' is not available"):
        quick(device="cuda:99").fit(digits[0])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_a_fit_learns_the_same_as_on_the_cpu(dtype, digits):
    X = digits[0].astype(dtype)
    on_gpu, on_cpu = (quick(device=device).fit(X) for device in ("cuda", "cpu"))
    assert on_gpu.history_[-1]["local"] == pytest.approx(
        on_cpu.history_[-1]["local"], abs=0.1
    )
    assert on_gpu.transform(X).dtype == np.float32


@pytest.mark.parametrize("augment", ["auto", "natural", None])
def test_features_are_those_of_the_cpu_within_a_tolerance(augment, digits, monkeypatch):
    X = np.random.default_rng(0).random((60, 3, 32, 32), dtype=np.float32)
    estimator = quick(augment=augment, max_iter=2).fit(X)
    expected = estimator.transform(X)
    pickled = pickle.dumps(estimator)
    on_cpu = without_a_gpu(monkeypatch, lambda: pickle.loads(pickled))
    assert on_cpu.device_.type == "cpu"
    # In full float32: TF32 would differ by a thousandth.
    scale = np.abs(expected).max()
    np.testing.assert_allclose(on_cpu.transform(X), expected, atol=5e-5 * scale)
    assert on_cpu.score(X) == pytest.approx(estimator.score(X), abs=1e-3)


@pytest.mark.usefixtures("deterministic")
def test_the_same_seed_gives_the_same_bits_where_torch_can(digits):
    first, second = (
        quick(encoder=ConvEncoder).fit(digits[0]).transform(digits[0]) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.usefixtures("deterministic")
def test_saving_between_partial_fits_changes_nothing(digits):
    X = digits[0]
    estimator = quick(encoder=ConvEncoder, prior_weight=0.1).partial_fit(X)
    loaded = pickle.loads(pickle.dumps(estimator)).partial_fit(X)
    copied = copy.deepcopy(estimator).partial_fit(X)
    expected = estimator.partial_fit(X).transform(X)
    np.testing.assert_array_equal(loaded.transform(X), expected)
    np.testing.assert_array_equal(copied.transform(X), expected)


class Killed(Callback):
    """Ends a fit within its second epoch."""

    def on_batch_end(self, net, **_):
        if net.n_steps == 4:
            raise RuntimeError("killed")


def test_a_killed_fit_goes_on(digits, tmp_path, monkeypatch):
    X = digits[0]
    params = {"encoder": ConvEncoder, "prior_weight": 0.1, "max_iter": 3}
    path = tmp_path / "checkpoint"
    monkeypatch.setattr(_checkpoints, "SECONDS", 0.0)
    with pytest.raises(RuntimeError, match="killed"):
        quick(checkpoint=path, callbacks=[Killed()], **params).fit(X)
    resumed = quick(checkpoint=path, warm_start=True, **params).fit(X)
    whole = quick(**params).fit(X)
    for one, other in zip(resumed.history_, whole.history_, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=0.02)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"precision": "bfloat16", "augment": "natural"},
        {"prior_weight": 0.1, "encoder": "conv"},
        {"encoder": "resnet", "augment": "natural"},
        {"critic": "concat", "bound": "jsd"},
        {"max_iter": "auto", "max_time": 3.0},
    ],
)
def test_recorded_steps_are_those_that_are_computed(params, digits, monkeypatch):
    graphs = []

    class Spy(_captured.StepGraphs):
        def __init__(self, net):
            super().__init__(net)
            graphs.append(self)

    monkeypatch.setattr(_captured, "StepGraphs", Spy)
    X = np.random.default_rng(0).integers(0, 256, (500, 32, 32, 3), dtype=np.uint8)
    recorded = quick(**params).fit(X)
    recorded.partial_fit(X)
    assert [len(each.recorded) for each in graphs] == [1, 0]  # of 20 steps and of 4
    assert not any(each.is_refused for each in graphs)
    if "max_time" in params:
        return
    monkeypatch.setattr("sk_dim._training._net.graphs_of", lambda *_: None)
    computed = quick(**params).fit(X)
    computed.partial_fit(X)
    for one, other in zip(recorded.history_, computed.history_, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
    expected = computed.transform(X)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(recorded.transform(X), expected, atol=0.01 * scale)


@pytest.mark.parametrize("encoder", ["patch", "conv", "resnet"])
def test_a_step_waits_for_no_value(encoder):
    X = np.random.default_rng(0).integers(0, 256, (256, 32, 32, 3), dtype=np.uint8)
    net = quick(encoder=encoder, augment="natural", max_iter=1).fit(X).net_
    batch = torch.randn(128, 3, 32, 32, device="cuda")
    net.train_step(batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        net.train_step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("critic", ["dot", "concat"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_groups_travel_to_the_device(critic, dtype, digits):
    X, groups = digits[0].astype(dtype), np.arange(300) // 30
    params = {"critic": critic, "validation_fraction": 0.3, "max_iter": 2}
    on_gpu, on_cpu = (
        quick(device=device, **params).fit(X, groups=groups)
        for device in ("cuda", "cpu")
    )
    for name in ("local", "global", "valid_local", "valid_global"):
        assert on_gpu.history_[-1][name] == pytest.approx(
            on_cpu.history_[-1][name], abs=0.1
        )


def test_own_parts_train_in_bfloat16(digits):
    encoder = functools.partial(ConvEncoder, n_hidden=16)
    estimator = quick(encoder=encoder, critic="concat", precision="bfloat16")
    assert np.isfinite(estimator.fit(digits[0]).transform(digits[0])).all()


def test_many_scores_and_large_batches_are_as_on_the_cpu(monkeypatch):
    X = np.random.default_rng(0).random((2048, 16, 16), dtype=np.float32)
    params = {"batch_size": 1024, "max_iter": 1}
    losses = [
        quick(device=device, **params).fit(X).history_[0]["local"]
        for device in ("cuda", "cpu")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)


def test_the_classifier_trains_and_comes_back_on_a_cpu(digits, monkeypatch):
    X, y = digits
    given = np.where(np.arange(len(y)) < 60, y, -1)
    model = DeepInfomaxClassifier(quick(), n_steps=30, random_state=0).fit(X, given)
    pickled = pickle.dumps(model)
    loaded = without_a_gpu(monkeypatch, lambda: pickle.loads(pickled))
    assert np.mean(loaded.predict(X) == model.predict(X)) > 0.99


@pytest.mark.usefixtures("deterministic")
def test_recorded_steps_of_fine_tuning_are_those_that_are_computed(digits, monkeypatch):
    X, y = digits
    given = np.where(np.arange(len(y)) < 60, y, -1)
    learnt = quick().fit(X)
    model = DeepInfomaxClassifier(learnt, n_steps=30, random_state=0)
    recorded = copy.deepcopy(model).fit(X, given)
    monkeypatch.setattr("sk_dim._training._fine_tuning.can_record", lambda *_: False)
    computed = model.fit(X, given)
    for one, other in zip(recorded.history_, computed.history_, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
    assert np.mean(recorded.predict(X) == computed.predict(X)) > 0.99


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("n_visits", [1, 3])
@pytest.mark.parametrize("bound", ["infonce", "donsker_varadhan"])
def test_recorded_steps_of_pair_critics_are_those_that_are_computed(
    bound, n_visits, monkeypatch
):
    groups = np.arange(600) // n_visits
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 3))
    Y = X + rng.normal(size=X.shape)
    params = {"device": "cuda", "max_iter": 10, "random_state": 0, "bound": bound}
    recorded = MutualInformationEstimator(**params).fit(X, Y, groups=groups)
    monkeypatch.setattr("sk_dim._information._held_out.PAIR_CRITICS", {})
    computed = MutualInformationEstimator(**params).fit(X, Y, groups=groups)
    assert recorded.mutual_information_ == pytest.approx(
        computed.mutual_information_, abs=1e-2
    )


def test_mutual_information_comes_back_on_a_cpu(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=500)
    Y = X + rng.normal(size=500)
    found = MutualInformationEstimator(device="cuda", max_iter=10, random_state=0)
    found.fit(X, Y)
    assert found.mutual_information_ == pytest.approx(np.log(2) / 2, abs=0.15)
    pickled = pickle.dumps(found)
    loaded = without_a_gpu(monkeypatch, lambda: pickle.loads(pickled))
    assert loaded.score(X, Y) == pytest.approx(found.score(X, Y), abs=1e-3)


def test_pairs_of_columns_are_those_of_the_cpu():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(300, 3)), rng.integers(4, size=300)])
    y = X[:, 0] + X[:, 3] + rng.normal(size=300)
    on_gpu, on_cpu = (
        PairwiseMutualInformation(device=device, random_state=0).fit(X, y)
        for device in ("cuda", "cpu")
    )
    np.testing.assert_allclose(
        on_gpu.mutual_information_, on_cpu.mutual_information_, atol=5e-3
    )


def test_images_share_their_class_on_a_gpu_too(digits):
    images, classes = digits
    X, Y, truth = make_class_pairs(images, classes, 2_000, random_state=0)
    found = MutualInformationEstimator(device="cuda", random_state=0).fit(X, Y)
    assert found.mutual_information_ == pytest.approx(truth, abs=0.3)
