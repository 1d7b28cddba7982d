"""Which rows to look at first, beside slow loops and clusters that were planted."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_blobs

from sk_dim.selection import (
    _duplicates,
    _outliers,
    _suggestions,
    near_duplicates,
    outliers,
    suggest_labels,
)

CALLS = {
    "suggest": lambda Z: suggest_labels(Z, 3),
    "duplicates": near_duplicates,
    "outliers": outliers,
}


def draw(seed, n=60, d=6):
    """Rows of four kinds of unequal size, some of them nearly or exactly the same."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, d)) + 4 * rng.normal(size=(4, d))[rng.integers(4, size=n)]
    Z[1] = Z[0]
    Z[3] = Z[2] + 0.01
    return Z


def rotate(Z, seed=0):
    d = Z.shape[1]
    return Z @ np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def loop_over_pairs(Z, threshold):
    n = len(Z)
    apart = {
        (i, j): np.sqrt(((Z[i] - Z[j]) ** 2).sum())
        for i in range(n)
        for j in range(i + 1, n)
    }
    typical = np.sqrt(np.mean([each**2 for each in apart.values()]))
    return {
        pair: each / typical
        for pair, each in apart.items()
        if each <= threshold * typical
    }


def loop_over_rows(Z, k):
    scores = []
    for row in range(len(Z)):
        others = [i for i in range(len(Z)) if i != row]
        scores.append(np.sort(np.linalg.norm(Z[others] - Z[row], axis=1))[:k].mean())
    return np.array(scores) / np.median(scores)


def loop_over_gains(Z, chosen):
    """Yield the gains of all rows before each of the chosen ones."""
    squared = ((Z[:, None] - Z) ** 2).sum(axis=2)
    kernel = np.exp(-squared / (_suggestions.WIDTH * squared.mean()))
    covered = np.zeros(len(Z))
    for row in chosen:
        yield np.maximum(kernel - covered, 0).sum(axis=1)
        covered = np.maximum(covered, kernel[row])


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 5), st.floats(0.01, 0.9)
)
def test_pairs_are_those_of_a_double_loop(seed, n, d, threshold):
    Z = np.random.default_rng(seed).integers(0, 6, size=(n, d)) / 3.0
    Z[0, 0] = 7.0  # not all are the same
    pairs, distances = near_duplicates(Z, threshold)
    expected = loop_over_pairs(Z, threshold)
    found = dict(zip(map(tuple, pairs.tolist()), distances, strict=True))
    # But for rounding of what is at the threshold.
    for pair in found.keys() ^ expected.keys():
        assert (found | expected)[pair] == pytest.approx(threshold, abs=1e-5)
    for pair in found.keys() & expected.keys():
        assert found[pair] == pytest.approx(expected[pair], abs=1e-5)
    assert np.all(np.diff(distances) >= 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("offset", [0, 1000])
def test_pairs_in_blocks_and_fewer_columns_are_exact(dtype, offset, monkeypatch):
    monkeypatch.setattr(_duplicates, "BLOCK_ROWS", 16)
    monkeypatch.setattr(_duplicates, "FEW_COLUMNS", 4)
    monkeypatch.setattr(_duplicates, "BLOCK_VALUES", 64)
    Z = (draw(0, n=100, d=12) + offset).astype(dtype)
    for threshold in (0.0, 0.05, 0.4):
        pairs, distances = near_duplicates(Z, threshold)
        expected = loop_over_pairs(Z.astype(float), threshold)
        assert set(map(tuple, pairs.tolist())) == expected.keys()
        np.testing.assert_allclose(distances, sorted(expected.values()), atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 40), st.integers(1, 5), st.integers(1, 12))
def test_scores_of_outliers_are_those_of_a_loop(seed, n, d, k):
    Z = np.random.default_rng(seed).normal(size=(n, d))
    np.testing.assert_allclose(outliers(Z, k), loop_over_rows(Z, k), rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_suggestions_are_those_of_slow_greedy_coverage(seed, monkeypatch):
    monkeypatch.setattr(_suggestions, "N_TOP", 5)
    Z = np.delete(draw(seed), 1, axis=0)
    rows = suggest_labels(Z, 50)
    assert len(set(rows)) == 50
    for row, gains in zip(rows, loop_over_gains(Z, rows), strict=True):
        # Of two rows that are far from all others each may come first.
        assert gains[row] == pytest.approx(gains.max(), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("n_kinds", [2, 10, 25])
@pytest.mark.parametrize("d", [2, 300])
def test_each_planted_kind_comes_once_before_any_comes_twice(n_kinds, d):
    rng = np.random.default_rng(n_kinds)
    sizes = rng.integers(5, 40, size=n_kinds)
    corners = np.stack(np.unravel_index(rng.permutation(36)[:n_kinds], (6, 6)), axis=1)
    centres = np.pad(10.0 * corners, ((0, 0), (0, d - 2)))
    Z, kind = make_blobs(
        sizes.tolist(), centers=centres, cluster_std=0.5 / d**0.5, random_state=0
    )
    rows = suggest_labels(Z, n_kinds, random_state=0)
    assert sorted(kind[rows]) == list(range(n_kinds))
    # Kinds that have labels already, one or all rows, are left for later.
    given = np.flatnonzero(kind == 1)[[0]]
    rows = suggest_labels(Z, n_kinds - 1, given, random_state=0)
    assert sorted([*kind[rows], 1]) == list(range(n_kinds))
    rows = suggest_labels(Z, n_kinds - 1, kind == 1, random_state=0)
    assert sorted([*kind[rows], 1]) == list(range(n_kinds))


def test_the_first_suggestions_are_the_suggestion_of_fewer():
    Z = draw(1)
    rows = suggest_labels(Z, 40)
    np.testing.assert_array_equal(suggest_labels(Z, 7), rows[:7])
    later = suggest_labels(Z, 33, labelled=rows[:7])
    np.testing.assert_array_equal(later, rows[7:])


@pytest.mark.parametrize(
    "change",
    [
        lambda Z: Z * 1e-20,
        lambda Z: Z * 1e200,
        lambda Z: Z + 100,
        rotate,
        np.asfortranarray,
        np.ndarray.tolist,
        pd.DataFrame,
        lambda Z: Z.reshape(60, 2, 3),
    ],
    ids=["tiny", "huge", "shift", "rotation", "order", "list", "frame", "images"],
)
def test_form_unit_shift_and_rotation_change_nothing(change):
    Z = draw(2)
    Y = change(Z)
    np.testing.assert_array_equal(suggest_labels(Y, 10), suggest_labels(Z, 10))
    (pairs, distances), (expected, others) = near_duplicates(Y), near_duplicates(Z)
    np.testing.assert_array_equal(pairs, expected)
    np.testing.assert_allclose(distances, others, atol=1e-6)
    np.testing.assert_allclose(outliers(Y), outliers(Z), rtol=1e-4)


def test_the_order_of_rows_changes_nothing_and_input_stays_as_it_is():
    Z = draw(3)
    before = Z.copy()
    order = np.random.default_rng(0).permutation(60)
    rows = suggest_labels(Z, 10)
    np.testing.assert_array_equal(Z[order][suggest_labels(Z[order], 10)], Z[rows])
    np.testing.assert_allclose(outliers(Z[order]), outliers(Z)[order], rtol=1e-5)
    pairs, _ = near_duplicates(Z[order])
    expected, _ = near_duplicates(Z)
    assert {frozenset(order[pair]) for pair in pairs} == set(map(frozenset, expected))
    np.testing.assert_array_equal(Z, before)


def test_float32_and_pixels_do_as_well():
    Z = np.random.default_rng(0).integers(256, size=(80, 5))
    for dtype in ("uint8", "float32"):
        rows = suggest_labels(Z.astype(dtype), 8)
        np.testing.assert_array_equal(rows, suggest_labels(Z, 8))
        np.testing.assert_allclose(outliers(Z.astype(dtype)), outliers(Z), rtol=1e-4)


def test_of_many_rows_some_are_drawn_by_the_seed(monkeypatch):
    monkeypatch.setattr(_suggestions, "MANY_ROWS", 100)
    monkeypatch.setattr(_suggestions, "MANY_STEPS", 8)
    monkeypatch.setattr(_outliers, "MANY_ROWS", 100)
    Z, kind = make_blobs(400, centers=5, cluster_std=0.2, random_state=0)
    rows = suggest_labels(Z, 5, random_state=0)
    assert sorted(kind[rows]) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(rows, suggest_labels(Z, 5, random_state=0))
    assert set(rows) != set(suggest_labels(Z, 5, random_state=1))
    assert sorted(suggest_labels(Z, 400, random_state=0)) == list(range(400))
    Z[7] = 100.0
    scores = outliers(Z, random_state=0)
    assert scores.argmax() == 7
    np.testing.assert_array_equal(scores, outliers(Z, random_state=0))
    # Copies of labelled rows are last even then.
    Z = np.vstack([Z, Z[:200]])
    rows = suggest_labels(Z, 400, labelled=np.arange(200), random_state=0)
    assert sorted(rows[:200]) == list(range(200, 400))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_copies_come_after_all_other_rows(dtype):
    Z = draw(4, n=12)[[*range(12), 5, 5, 7, 0]].astype(dtype)
    Z[7, 0], Z[14, 0] = 0.0, -0.0
    Z[1] = 3.0  # no copy of row 0 any more
    rows = suggest_labels(Z, 16)
    assert sorted(rows[:12]) == list(range(12))
    assert set(rows[12:15]) == {12, 14, 15}
    assert rows[15] == 13
    # In the order of the rows that they are copies of.
    place = {row: i for i, row in enumerate(rows.tolist())}
    assert (place[12] < place[14]) == (place[5] < place[7])
    rows = suggest_labels(Z, 15, labelled=[13])
    assert sorted(rows[:11]) == [0, 1, 2, 3, 4, *range(6, 12)]
    assert set(rows[11:]) == {5, 12, 14, 15}


@pytest.mark.parametrize("Z", [np.zeros((5, 3)), np.full((5, 1), 7)], ids=["0", "7"])
def test_constant_features(Z):
    assert sorted(suggest_labels(Z, 5)) == [0, 1, 2, 3, 4]
    pairs, distances = near_duplicates(Z)
    assert pairs.tolist() == [[i, j] for i in range(5) for j in range(i + 1, 5)]
    assert not distances.any()
    assert not outliers(Z).any()


def test_one_row_and_one_column():
    row = np.ones((1, 3))
    assert suggest_labels(row, 1).tolist() == [0]
    assert near_duplicates(row)[0].shape == (0, 2)
    assert outliers(row).tolist() == [0.0]
    column = np.array([[0.0], [0.1], [5.0], [5.1], [5.2], [20.0]])
    # One of each of the three groups.
    kinds = np.array([0, 0, 1, 1, 1, 2])
    assert sorted(kinds[suggest_labels(column, 3)]) == [0, 1, 2]
    assert outliers(column, 1).argmax() == 5
    pairs, _ = near_duplicates(column, 0.015)
    assert sorted(map(tuple, pairs.tolist())) == [(0, 1), (2, 3), (3, 4)]


def test_rows_that_could_not_be_read_are_left_out():
    Z = draw(5)
    kept = np.delete(np.arange(60), [10, 30])
    holed = Z.copy()
    holed[10], holed[30, 2] = np.nan, np.nan
    np.testing.assert_array_equal(
        suggest_labels(holed, 58, labelled=None), kept[suggest_labels(Z[kept], 58)]
    )
    assert 10 not in suggest_labels(holed, 20, labelled=[10, 11])
    pairs, _ = near_duplicates(holed)
    np.testing.assert_array_equal(pairs, kept[near_duplicates(Z[kept])[0]])
    scores = outliers(holed)
    assert np.flatnonzero(np.isnan(scores)).tolist() == [10, 30]
    np.testing.assert_array_equal(scores[kept], outliers(Z[kept]))
    nothing = np.full((3, 2), np.nan)
    assert near_duplicates(nothing)[0].shape == (0, 2)
    assert np.isnan(outliers(nothing)).all()


def test_the_nearest_pairs_are_kept_if_there_are_many(monkeypatch):
    monkeypatch.setattr(_duplicates, "BLOCK_ROWS", 16)
    Z = np.random.default_rng(0).normal(size=(100, 2))
    pairs, distances = near_duplicates(Z, 0.9)
    with pytest.warns(UserWarning, match="more than max_pairs=7 pairs are nearer"):
        some, nearest = near_duplicates(Z, 0.9, max_pairs=7)
    np.testing.assert_array_equal(some, pairs[:7])
    np.testing.assert_array_equal(nearest, distances[:7])
    with pytest.warns(UserWarning, match="more than max_pairs=50 pairs"):
        pairs, _ = near_duplicates(np.zeros((10_000, 2)), max_pairs=50)
    assert pairs.shape == (50, 2)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("Z", "message"),
    [
        (np.zeros(5), r"Z has shape \(5,\); it must be features of shape"),
        (None, r"Z has shape \(\); it must be features"),
        (np.zeros((0, 3)), "0 sample"),
        (np.zeros((3, 0)), "0 feature"),
        ([["a", "b"], ["c", "d"]], "strings"),
        ([[1.0, np.inf], [2.0, 3.0], [0.0, 1.0]], "Input Z contains infinity"),
    ],
    ids=["1-d", "None", "no rows", "no columns", "strings", "infinity"],
)
def test_what_is_no_table_of_features_is_refused(call, Z, message):
    with pytest.raises(ValueError, match=message):
        call(Z)


@pytest.mark.parametrize(
    ("n", "labelled", "error", "message"),
    [
        (8, None, ValueError, "n=8 of 8 rows, of which 0 are labelled and 1 hold NaN; "
         "it must be at most 7"),
        (5, [0, 1, 2], ValueError, "of which 3 are labelled and 1 hold NaN; .* most 4"),
        (0, None, ValueError, "n=0; it must be at least 1"),
        (2.0, None, TypeError, "n=2.0 must be an integer"),
        (1, [8], ValueError, "labelled names row 8; the 8 rows of Z are 0 to 7"),
        (1, [-1], ValueError, "labelled names row -1"),
        (1, [1, 2, 1], ValueError, "labelled names row 1 2 times; name each row once"),
        (1, [True, False], ValueError, r"shape \(2,\) and type bool; .* shape \(8,\)"),
        (1, [[1], [2]], ValueError, r"labelled has shape \(2, 1\)"),
        (1, 3, ValueError, r"labelled has shape \(\)"),
        (1, [1.0], TypeError, "labelled holds float64; it must be row numbers"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_suggested_is_refused(n, labelled, error, message):
    Z = np.arange(16.0).reshape(8, 2)
    Z[6] = np.nan
    with pytest.raises(error, match=message):
        suggest_labels(Z, n, labelled)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda Z: near_duplicates(Z, -0.1), ValueError, "threshold=-0.1 is out of"),
        (lambda Z: near_duplicates(Z, 1), ValueError, "at least 0 and below 1"),
        (lambda Z: near_duplicates(Z, "all"), TypeError, "threshold='all'"),
        (lambda Z: near_duplicates(Z, max_pairs=0), ValueError, "max_pairs=0"),
        (lambda Z: outliers(Z, 0), ValueError, "n_neighbors=0"),
    ],
    ids=["negative", "1", "string", "no pairs", "no neighbours"],
)
def test_parameters_out_of_range_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(np.eye(3))
