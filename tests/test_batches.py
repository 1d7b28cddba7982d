import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sk_dim._inputs._batches import (
    HoldOut,
    RowSubset,
    SliceLoader,
    count_held_out,
    rows_that_fit,
)


class Numbers:
    """The rows 0, 1, 2, ..."""

    device = torch.device("cpu")
    groups = None

    def __init__(self, n):
        self.values = torch.arange(n)

    def __len__(self):
        return len(self.values)

    def take(self, rows):
        return self.values[rows]


@given(n=st.integers(1, 300), batch_size=st.integers(2, 64), is_shuffled=st.booleans())
def test_an_epoch_holds_every_row_once_in_batches_of_two_or_more(
    n, batch_size, is_shuffled
):
    generator = torch.Generator().manual_seed(0) if is_shuffled else None
    loader = SliceLoader(Numbers(n), batch_size, generator)
    batches = list(loader)
    assert len(batches) == len(loader)
    assert sorted(torch.cat(batches).tolist()) == list(range(n))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(n, 2)
    assert max(sizes) <= max(1.5 * batch_size + 1, 3)
    assert is_shuffled or torch.cat(batches).tolist() == list(range(n))


def test_each_epoch_has_its_own_order():
    loader = SliceLoader(Numbers(50), 10, torch.Generator().manual_seed(0))
    assert [b.tolist() for b in loader] != [b.tolist() for b in loader]


def test_neighbours_in_a_batch_are_random_rows():
    loader = SliceLoader(Numbers(3000), 100, torch.Generator().manual_seed(0))
    batches = [batch.double() for batch in loader]
    # In sorted batches they are 30 apart on average, of random rows a third of all.
    gaps = [(batch - batch.roll(1)).abs().mean() for batch in batches]
    assert np.mean(gaps) == pytest.approx(1000, rel=0.05)
    held_out = HoldOut(0.5, seed=0)(Numbers(3000))[1]
    batch = held_out.take(slice(0, 1500)).double()
    assert float((batch - batch.roll(1)).abs().mean()) == pytest.approx(1000, rel=0.1)


def test_a_subset_takes_rows_of_the_whole():
    subset = RowSubset(Numbers(10), torch.tensor([2, 5, 9]))
    assert subset.take(slice(1, 3)).tolist() == [5, 9]
    assert subset.take(torch.tensor([0, 2])).tolist() == [2, 9]


@given(n=st.integers(10, 200), fraction=st.floats(0.2, 0.7))
def test_held_out_rows_and_the_others_are_all_rows(n, fraction):
    train, held_out = HoldOut(fraction, seed=0)(Numbers(n))
    assert len(held_out) == round(n * fraction)
    together = [*train.indices.tolist(), *held_out.indices.tolist()]
    assert sorted(together) == list(range(n))


def of_groups(n, seed=0):
    """The rows 0, 1, 2, ... in groups of five, in random order."""
    rows = Numbers(n)
    rows.groups = torch.from_numpy(
        np.random.default_rng(seed).permutation(np.arange(n) // 5)
    )
    return rows


@pytest.mark.parametrize("generator", [None, torch.Generator()], ids=["plain", "mixed"])
def test_groups_travel_with_their_rows(generator):
    rows = of_groups(60)
    subset = RowSubset(rows, torch.arange(10, 50))
    for source in (rows, subset):
        for batch, groups in SliceLoader(source, 8, generator).with_groups():
            assert torch.equal(groups, rows.groups[batch])
    for _, groups in SliceLoader(Numbers(60), 8, generator).with_groups():
        assert groups is None


@pytest.mark.parametrize(
    ("n_groups", "fraction"), [(4, 0.5), (4, 0.01), (9, 0.3), (30, 0.1), (30, 0.95)]
)
def test_groups_are_held_out_whole(n_groups, fraction):
    rows = of_groups(5 * n_groups)
    train, held_out = HoldOut(fraction, seed=3)(rows)
    together = [*train.indices.tolist(), *held_out.indices.tolist()]
    assert sorted(together) == list(range(5 * n_groups))
    assert not set(train.groups.tolist()) & set(held_out.groups.tolist())
    n_held_out = len(held_out.groups.unique())
    assert n_held_out == np.clip(round(fraction * n_groups), 2, n_groups - 2)


def test_too_few_groups_to_hold_any_out():
    with pytest.raises(ValueError, match="at least 2 in each part, but there are 3"):
        HoldOut(0.3, seed=0)(of_groups(15))


def test_too_few_rows_to_hold_any_out():
    with pytest.raises(
        ValueError, match=r"validation_fraction=0.1 splits 10 rows into"
    ):
        count_held_out(10, 0.1)


def test_batches_of_large_samples_are_small():
    assert rows_that_fit(3 * 32 * 32, 512) == 512
    assert rows_that_fit(3 * 512 * 512, 512) == 5
    assert rows_that_fit(10**9, 512) == 1
