"""Blocks of rows on several threads."""

import itertools
import threading

import pytest
import torch

from sk_dim.encoders import SeriesEncoder
from sk_dim.encoders._blocks import map_blocks


@pytest.fixture(params=[1, 3])
def n_threads(request):
    """Threads that torch may use, as a user sets them."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_blocks_come_in_their_order_and_each_is_computed_by_one_thread(n_threads):
    series, lengths = torch.arange(20.0)[:, None, None], torch.arange(20)
    threads = set()

    def compute(rows, own):
        threads.add(threading.get_ident())
        assert torch.get_num_threads() == 1
        assert not torch.is_grad_enabled()
        return rows.flatten().tolist(), own.tolist()

    found = map_blocks(compute, series, lengths, n_rows=3)
    assert [len(rows) for rows, _ in found] == [3] * 6 + [2]
    for column in zip(*found, strict=True):
        assert list(itertools.chain(*column)) == list(range(20))
    assert (threading.get_ident() in threads) == (n_threads == 1)
    assert torch.get_num_threads() == n_threads


def test_other_threads_compute_with_all_threads_afterwards(n_threads):
    map_blocks(lambda rows, _: rows.sum(), torch.ones(20, 1, 9), None, n_rows=2)
    seen = []
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert seen == [n_threads]


def test_an_error_is_the_one_that_was_raised(n_threads):
    def fail(rows, _):
        raise ZeroDivisionError("no such block")

    with pytest.raises(ZeroDivisionError, match="no such block"):
        map_blocks(fail, torch.ones(4, 1, 9), None, n_rows=1)
    assert torch.get_num_threads() == n_threads


@pytest.mark.slow
def test_features_do_not_depend_on_the_number_of_threads():
    generator = torch.Generator().manual_seed(0)
    series = torch.randn(70, 2, 300, generator=generator)
    series[::4, :, 260:] = torch.nan
    torch.manual_seed(0)
    encoder = SeriesEncoder((2, 300), 64).eval()
    before = torch.get_num_threads()
    found = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            with torch.inference_mode():
                found.append(encoder(series)[1])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
