"""Settings of the whole suite, made before scipy is imported."""

import os

os.environ["SCIPY_ARRAY_API"] = "1"  # or scikit-learn skips its array-API check
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    # Workers share the cores: threads that wait for one another slow all of them down.
    n_workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    n_threads = max(1, (os.cpu_count() or 1) // n_workers)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(n_threads))

import matplotlib as mpl
import pytest
import torch
from hypothesis import settings
from sklearn.datasets import load_digits

mpl.use("Agg")
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _on_the_cpu(request, monkeypatch):
    """Hide other devices from all tests that are not about them."""
    if request.node.get_closest_marker("gpu") is None:
        for backend in (torch.cuda, torch.backends.mps):
            if backend.is_available():
                monkeypatch.setattr(backend, "is_available", lambda: False)


@pytest.fixture(scope="session")
def digits():
    """Return 300 images of shape (8, 8) and their labels."""
    images, y = load_digits(return_X_y=True)
    return images[:300].reshape(-1, 8, 8), y[:300]
