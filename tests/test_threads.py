"""Threads that other processes hold up sleep, and compute the same."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer, _threads
from sk_dim._threads import ThreadWatch, delay_of_threads

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="threads are watched where there are CPUs to share",
)


@pytest.fixture
def all_threads():
    """Let torch compute on a thread for each CPU, as it does by itself."""
    before = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    yield torch.get_num_threads()
    torch.set_num_threads(before)


@pytest.fixture
def held_up(monkeypatch, all_threads):
    """Find threads held up at the first look, and count looks."""
    looks = []
    monkeypatch.setattr(_threads, "FIRST_LOOK", 0.0)
    monkeypatch.setattr(
        _threads, "delay_of_threads", lambda: looks.append(1) or 2 * _threads.HELD_UP
    )
    return looks


def n_threads_of_process():
    return len(list(Path("/proc/self/task").iterdir()))


def test_the_delay_is_a_ratio_and_leaves_threads_as_they_were(all_threads):
    assert 0.1 < delay_of_threads() < np.inf
    assert torch.get_num_threads() == all_threads


def test_a_team_waits_until_the_work_ends(held_up, all_threads):
    torch.zeros(10**6).add_(1)
    before, of_process = threading.active_count(), n_threads_of_process()
    with ThreadWatch(CPU) as threads:
        for _ in range(3):
            threads.look()
        assert len(held_up) == 1
        assert threading.active_count() == before + 1
        # More of OpenMP than there are CPUs, which is what it spins less for.
        assert n_threads_of_process() >= of_process + all_threads
    assert threading.active_count() == before


def test_the_team_ends_with_work_that_fails(held_up):
    def work():
        with ThreadWatch(CPU) as threads:
            threads.look()
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        work()
    assert threading.active_count() == before


def test_threads_that_are_not_held_up_are_looked_at_ever_less(monkeypatch, all_threads):
    now, looks = [0.0], []
    monkeypatch.setattr(_threads.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        _threads, "delay_of_threads", lambda: looks.append(now[0]) or 1.0
    )
    before = threading.active_count()
    with ThreadWatch(CPU) as threads:
        for now[0] in np.arange(0.0, 200.0, 0.5):
            threads.look()
    assert looks == [2.0, 6.0, 14.0, 30.0, 62.0, 122.0, 182.0]
    assert threading.active_count() == before


@pytest.mark.parametrize("case", ["one thread", "GPU"])
def test_nothing_is_measured_without_threads_on_cpus(case, held_up):
    if case == "one thread":
        torch.set_num_threads(1)
    with ThreadWatch(torch.device("cuda" if case == "GPU" else "cpu")) as threads:
        threads.look()
    assert not held_up


@pytest.mark.slow
def test_features_are_the_same_whether_threads_sleep_or_not(
    monkeypatch, all_threads, request
):
    X = np.random.default_rng(0).normal(size=(200, 10)).astype("float32")
    y = np.where(np.arange(200) < 20, np.arange(200) % 2, -1)
    dim = DeepInfomaxTransformer(max_iter=2, random_state=0, device="cpu")
    tuned = DeepInfomaxClassifier(dim, fine_tune="all", n_steps=4, random_state=0)
    expected = dim.fit_transform(X), tuned.fit(X, y).predict_proba(X)
    looks = request.getfixturevalue("held_up")
    found = dim.fit_transform(X), tuned.fit(X, y).predict_proba(X)
    assert len(looks) >= 4  # training, transform, fine-tuning, prediction
    for before, after in zip(expected, found, strict=True):
        np.testing.assert_array_equal(before, after)
