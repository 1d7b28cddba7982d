"""Devices are those that there are, and warnings name the line of the user."""

import contextlib
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline

from sk_dim import DeepInfomaxTransformer, mutual_information
from sk_dim._devices import available_device, choose_device, exact_float32

PIXELS = load_digits().data[:60]


def fit(X):
    return DeepInfomaxTransformer(max_iter=1).fit(X)


def partial_fit(X):
    return DeepInfomaxTransformer().partial_fit(X)


def fit_in_a_pipeline(X):
    return make_pipeline(DeepInfomaxTransformer(max_iter=1)).fit_transform(X)


def estimate(X):
    return mutual_information(np.zeros(len(X)), X)


@pytest.mark.parametrize("X", [np.zeros((60, 5)), PIXELS], ids=["constant", "pixels"])
@pytest.mark.parametrize("call", [fit, partial_fit, fit_in_a_pipeline, estimate])
def test_a_warning_blames_the_line_outside_the_package(call, X):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        call(X)
    assert {each.filename for each in seen} == {__file__}
    assert {each.lineno for each in seen} == {call.__code__.co_firstlineno + 1}


class FakeCuda:
    """Two CUDA devices, of which the second is the current one."""

    def __init__(self, monkeypatch, n_devices=2):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n_devices > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n_devices)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: n_devices - 1)


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ("auto", "cuda:1"),
        ("cuda", "cuda:1"),
        ("cuda:0", "cuda:0"),
        (torch.device("cuda", 1), "cuda:1"),
        ("cpu", "cpu"),
        ("cpu:0", "cpu"),
    ],
    ids=str,
)
def test_a_cuda_device_has_its_number(given, chosen, monkeypatch):
    FakeCuda(monkeypatch)
    assert choose_device(given) == torch.device(chosen)


@pytest.mark.parametrize("n_devices", [0, 1])
@pytest.mark.parametrize("name", ["cuda:1", "cuda:99", "cpu:7", "xpu", "meta", "mps:1"])
def test_a_device_that_is_not_there(name, n_devices, monkeypatch):
    FakeCuda(monkeypatch, n_devices)
    with pytest.raises(ValueError, match=f"device='{name}' is not available on this"):
        choose_device(name)
    with pytest.raises(ValueError, match=r"device=.* is not available"):
        DeepInfomaxTransformer(device=name).fit(PIXELS)


def test_a_model_of_a_device_that_is_not_there_takes_the_next_best(monkeypatch):
    FakeCuda(monkeypatch, 1)
    with pytest.warns(UserWarning, match="fitted on cuda:3, .* compute on cuda:0"):
        assert available_device(torch.device("cuda:3")) == torch.device("cuda:0")
    FakeCuda(monkeypatch, 0)
    with pytest.warns(UserWarning, match="fitted on cuda:3, .* compute on the CPU"):
        assert available_device(torch.device("cuda:3")) == torch.device("cpu")


def test_float32_is_exact_within_and_as_before_after():
    backends = [torch.backends.cudnn, torch.backends.cuda.matmul]
    before = [backend.allow_tf32 for backend in backends]
    try:
        for is_allowed in (True, False):
            for backend in backends:
                backend.allow_tf32 = is_allowed
            with contextlib.suppress(KeyError), exact_float32(torch.device("cuda:0")):
                assert not any(backend.allow_tf32 for backend in backends)
                raise KeyError
            assert all(backend.allow_tf32 == is_allowed for backend in backends)
    finally:
        for backend, is_allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = is_allowed
