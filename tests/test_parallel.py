"""Many fits and transforms at once: workers of joblib's backends, and threads."""

import hashlib
import itertools
import multiprocessing
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim.evaluation import linear_probe

RNG = np.random.default_rng(0)
Y = np.arange(48) % 2
TINY = {"n_components": 4, "max_iter": 1, "batch_size": 16, "random_state": 0}
SHAPES = {"image": (1, 8, 8), "series": (2, 30), "table": (6,)}
ROWS = RNG.normal(size=(1000, 160))  # 1.3 MB, of which joblib makes a memory map
LABELS = np.arange(1000) % 2
LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def samples(kind, dtype):
    X = RNG.normal(size=(48, *SHAPES[kind])).cumsum(axis=-1)
    X += Y.reshape(48, *[1] * len(SHAPES[kind]))
    return (X * 20 + 128).clip(0, 255).astype(dtype)


def quick(**params):
    return DeepInfomaxTransformer(**(TINY | params))


# Memory maps


def checksum(path):
    return hashlib.sha256(path.read_bytes()).digest()


@pytest.fixture(name="path")
def _path(tmp_path):
    return tmp_path / "X.npy"


FAST = {("image", "uint8"), ("series", "float32"), ("table", "float64")}


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        pytest.param(*case, marks=() if case in FAST else pytest.mark.slow)
        for case in itertools.product(SHAPES, ["uint8", "float32", "float64"])
    ],
)
# In mode "r" a write and a warning fail; in "r+" a write would reach the file.
@pytest.mark.parametrize("mode", [pytest.param("r", marks=pytest.mark.slow), "r+"])
def test_a_memory_map_is_never_written_to(kind, dtype, mode, path):
    np.save(path, samples(kind, dtype))
    before = checksum(path)
    X = np.load(path, mmap_mode=mode)
    dim = quick(input_type=kind).fit(X)
    dim.transform(X)
    dim.score(X)
    dim.partial_fit(X)
    few = np.where(np.arange(48) < 24, Y, -1)
    model = DeepInfomaxClassifier(FrozenEstimator(dim), n_steps=2, random_state=0)
    model.fit(X, few).predict_proba(X)
    X.flush()
    assert checksum(path) == before


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHAPES)
def test_a_probe_does_not_write_to_a_memory_map(kind, path):
    np.save(path, samples(kind, "float32"))
    before = checksum(path)
    X = np.load(path, mmap_mode="r+")
    linear_probe(quick(input_type=kind).fit(X), X, Y)
    linear_probe(None, X.reshape(48, -1), Y)
    X.flush()
    assert checksum(path) == before


# Threads


IMAGES = RNG.normal(size=(160, 1, 16, 16)).astype(np.float32)
USES = {
    "patch": (IMAGES, {"encoder": "patch"}),
    "conv": (IMAGES, {"encoder": "conv"}),
    "mlp": (RNG.normal(size=(4000, 12)), {"encoder": "mlp"}),
    "series": (
        RNG.normal(size=(160, 1, 60)).cumsum(axis=2),
        {"encoder": "series", "input_type": "series"},
    ),
}


def assert_same_in_eight_threads(function, X):
    """Compare calls on parts of X from eight threads at once with calls in turn."""
    # Parts of different sizes, so that batches mixed up would not go unnoticed.
    parts = np.array_split(X[: len(X) - 4], 8)
    expected = [function(part) for part in parts]
    barrier = threading.Barrier(8)

    def work(part):
        barrier.wait()
        return [function(part) for _ in range(3)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, parts))
    for several, alone in zip(found, expected, strict=True):
        for each in several:
            # The same kernels compute the same batches: no rounding differs.
            np.testing.assert_array_equal(each, alone)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", USES)
def test_one_estimator_transforms_in_eight_threads(encoder):
    X, params = USES[encoder]
    dim = quick(**params).fit(X[:64])
    assert_same_in_eight_threads(dim.transform, X)


def test_one_classifier_predicts_in_eight_threads(digits):
    X, y = digits
    model = DeepInfomaxClassifier(quick(), n_steps=5, random_state=0).fit(X, y)
    assert_same_in_eight_threads(model.predict_proba, X)


# Forks


def report(dim, X, queue):
    """Say what a fork raises, on the threads of its parent and on one."""
    errors = []
    for n_threads in (2, 1):
        torch.set_num_threads(n_threads)
        for method in (dim.transform, clone(dim).fit):
            try:
                method(X)
            except RuntimeError as error:
                errors.append(str(error))
    queue.put(errors)


@pytest.mark.slow
def test_a_fork_says_that_it_lacks_the_threads(digits):
    X = digits[0][:64]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        dim = quick().fit(X)
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        fork = context.Process(target=report, args=(dim, X, queue))
        fork.start()
        errors = queue.get(timeout=60)
        fork.join()
    finally:
        torch.set_num_threads(before)
    assert len(errors) == 2
    assert all("a fork of one that computed on several threads" in e for e in errors)


# Workers


@contextmanager
def loky():
    try:
        with joblib.parallel_config("loky", n_jobs=2):
            yield
    finally:
        get_reusable_executor().shutdown(wait=True)


@contextmanager
def dask():
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask", n_jobs=2),
    ):
        yield


@contextmanager
def ray():
    import ray as engine
    from ray.util.joblib import register_ray

    engine.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    register_ray()
    try:
        with joblib.parallel_config("ray", n_jobs=2):
            yield
    finally:
        engine.shutdown()


def learn(X):
    """Learn in a worker from what it was given, with warnings as errors."""
    before = X.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Z = quick(input_type="table").fit(X).transform(X)
    assert (before == X).all()
    return Z, isinstance(X, np.memmap), torch.get_num_threads()


def compare(engine):
    """Search with two workers and in this process, on one thread as they do."""
    torch.set_num_threads(1)
    before = ROWS.copy()
    model = make_pipeline(quick(input_type="table"), LogisticRegression())
    grid = {"deepinfomaxtransformer__n_components": [2, 8]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise")
    expected = search.fit(ROWS, LABELS).cv_results_["mean_test_score"]
    features = learn(ROWS)[0]
    with engine():
        found = search.set_params(n_jobs=2).fit(ROWS, LABELS)
        np.testing.assert_allclose(found.cv_results_["mean_test_score"], expected)
        for Z, is_map, n_threads in joblib.Parallel()(
            joblib.delayed(learn)(ROWS) for _ in range(2)
        ):
            np.testing.assert_allclose(Z, features, atol=1e-6)
            assert is_map == (engine is loky)
            # Two workers have no more threads in all than there are cores.
            assert n_threads <= max(1, (os.cpu_count() or 1) // 2)
    assert (before == ROWS).all()
    print("the same")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["loky", "distributed", "ray"])
def test_workers_find_what_one_process_finds(engine):
    """In a process of its own, where no limits of threads are set."""
    pytest.importorskip("joblib.externals.loky" if engine == "loky" else engine)
    # Dask's workers end without a word where scipy's array API is on, as in this suite.
    left_out = (*LIMITS, "SCIPY_ARRAY_API")
    environment = {name: v for name, v in os.environ.items() if name not in left_out}
    folders = [str(Path(__file__).parent), *sys.path]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    name = "dask" if engine == "distributed" else engine
    code = f"import test_parallel; test_parallel.compare(test_parallel.{name})"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the same" in ran.stdout, ran.stderr
