"""Displays: what they draw, and what they refuse."""

import copy
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim.evaluation import LabelEfficiency
from sk_dim.plotting import (
    FeaturesDisplay,
    LabelEfficiencyDisplay,
    LocalScoreDisplay,
    NeighborsDisplay,
    SelectionDisplay,
    TrainingDisplay,
)

rng = np.random.default_rng(0)
SAMPLES = {
    "grey": rng.normal(size=(40, 8, 8)),
    "colour": rng.integers(256, size=(40, 8, 8, 3)).astype(np.uint8),
    "series": rng.normal(size=(40, 2, 20)),
    "table": rng.normal(size=(40, 5)),
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fitted():
    return {
        kind: DeepInfomaxTransformer(
            4,
            max_iter=2,
            random_state=0,
            validation_fraction=0.2,
            input_type="series" if kind == "series" else "auto",
            data_format="channels_first" if kind == "series" else "auto",
        ).fit(X)
        for kind, X in SAMPLES.items()
    }


@pytest.fixture
def results():
    scores = np.array([[[0.4, 0.6], [0.7, 0.7]], [[0.6, 0.8], [0.9, 0.9]]])
    return LabelEfficiency(("scratch", "ours"), np.array([10, 20]), scores)


def test_training_has_a_line_for_each_term_and_its_held_out_rows(fitted):
    display = TrainingDisplay.from_estimator(fitted["grey"])
    lines = {line.get_label(): line for line in display.ax_.lines}
    assert lines.keys() == {
        "local", "local, held out", "global", "global, held out",
    }  # fmt: skip
    history = fitted["grey"].history_
    np.testing.assert_array_equal(
        lines["local, held out"].get_ydata(), [row["valid_local"] for row in history]
    )
    assert display.figure_ is display.ax_.figure


def test_label_efficiency_draws_means_and_utility(results):
    display = LabelEfficiencyDisplay.from_results(results)
    (ax,) = display.axes_
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [0.7, 0.9])
    display = LabelEfficiencyDisplay.from_results(results, scratch="scratch")
    utility = display.axes_[1].lines[0].get_ydata()
    # 0.6 is reached at 15 labels; what is above 0.7 never is.
    np.testing.assert_allclose(utility, [(0.5 + 1) / 2, 0])
    arrows = [line for line in display.axes_[1].lines if line.get_marker() == "^"]
    np.testing.assert_array_equal(arrows[0].get_xdata(), [10, 20])
    with pytest.raises(ValueError, match="ax holds 1 axes; 2 are needed"):
        LabelEfficiencyDisplay.from_results(results, scratch="scratch", ax=ax)


def test_features_are_coloured_by_classes_numbers_or_not(fitted):
    X, dim = SAMPLES["table"], fitted["table"]
    assert len(FeaturesDisplay.from_estimator(dim, X).ax_.collections) == 1
    by_class = FeaturesDisplay.from_estimator(dim, X, np.arange(40) % 3)
    assert len(by_class.ax_.collections) == 3
    assert [t.get_text() for t in by_class.ax_.get_legend().texts] == ["0", "1", "2"]
    numbers = FeaturesDisplay.from_estimator(dim, X, X[:, 0])
    np.testing.assert_array_equal(numbers.ax_.collections[0].get_array(), X[:, 0])
    own = FeaturesDisplay.from_estimator(dim, X, embedding=PCA(2, whiten=True))
    np.testing.assert_allclose(own.points.std(axis=0, ddof=1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="the embedding returned shape"):
        FeaturesDisplay.from_estimator(dim, X, embedding=PCA(3))
    with pytest.raises(ValueError, match="y has 40 classes"):
        FeaturesDisplay.from_estimator(dim, X, np.arange(40).astype(str))


CLASSES = np.arange(40) % 3
LETTERS = np.array(["a", "b", "c"], dtype=object)[CLASSES]
UNKNOWN = np.arange(40) < 15


@pytest.mark.parametrize(
    "y",
    [
        np.where(UNKNOWN, -1, CLASSES),
        np.where(UNKNOWN, np.nan, CLASSES),
        np.where(UNKNOWN, None, CLASSES.astype(object)),
        np.where(UNKNOWN, None, LETTERS),
        np.where(UNKNOWN, -1, LETTERS).tolist(),
        pd.Series(CLASSES).astype("Int64").where(~UNKNOWN),
        pd.Series(CLASSES).astype("category").where(~UNKNOWN),
        pd.Series(LETTERS).astype("str").where(~UNKNOWN),
        np.where(UNKNOWN, -1, CLASSES)[:, None],
    ],
    ids=[
        "-1", "NaN", "None", "None among names", "list", "nullable", "categories",
        "strings", "column",
    ],
)  # fmt: skip
def test_unlabelled_samples_are_grey_and_below(fitted, y):
    display = FeaturesDisplay.from_estimator(fitted["table"], SAMPLES["table"], y)
    grey, *coloured = display.ax_.collections
    assert grey.get_label() == "unlabelled"
    assert len(set(grey.get_facecolor()[0][:3])) == 1
    np.testing.assert_array_equal(grey.get_offsets(), display.points[UNKNOWN])
    assert len(coloured) == 3
    for label, each in enumerate(coloured):
        at = ~UNKNOWN & (label == CLASSES)
        np.testing.assert_array_equal(each.get_offsets(), display.points[at])
        assert grey.get_zorder() <= each.get_zorder()


@pytest.mark.parametrize("missing", [np.nan, None], ids=str)
def test_missing_numbers_are_grey_and_minus_one_is_a_number(missing):
    points = rng.normal(size=(40, 2))
    numbers = np.arange(-5, 35).astype(object)
    numbers[:3] = missing
    display = FeaturesDisplay(points, numbers).plot()
    grey, coloured = display.ax_.collections
    np.testing.assert_array_equal(grey.get_offsets(), points[:3])
    np.testing.assert_array_equal(coloured.get_array(), np.arange(-2, 35))
    signs = np.where(CLASSES == 0, -1, 1)
    assert len(FeaturesDisplay(points, signs).plot().ax_.collections) == 2
    (grey,) = FeaturesDisplay(points, np.full(40, np.nan)).plot().ax_.collections
    assert grey.get_label() == "unlabelled"


@pytest.mark.parametrize("frozen", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_classifier_is_drawn_by_its_encoder(fitted, frozen):
    X, dim = SAMPLES["grey"], fitted["grey"]
    classifier = DeepInfomaxClassifier(dim, fine_tune="head").fit(X, CLASSES)
    model = FrozenEstimator(classifier) if frozen else classifier
    dim = classifier.encoder_
    found, plain = (FeaturesDisplay.from_estimator(each, X) for each in (model, dim))
    np.testing.assert_array_equal(found.points, plain.points)
    found, plain = (NeighborsDisplay.from_estimator(each, X) for each in (model, dim))
    np.testing.assert_array_equal(found.nearest, plain.nearest)
    found, plain = (
        LocalScoreDisplay.from_estimator(each, X[:3]) for each in (model, dim)
    )
    np.testing.assert_array_equal(found.scores, plain.scores)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda: FeaturesDisplay.from_estimator(
                LogisticRegression(), SAMPLES["grey"]
            ),
            "LogisticRegression has no method transform; pass a fitted transformer",
        ),
        (
            lambda: NeighborsDisplay.from_estimator(
                DeepInfomaxClassifier(), SAMPLES["grey"]
            ),
            "this DeepInfomaxClassifier has no method transform",
        ),
        (
            lambda: LocalScoreDisplay.from_estimator(PCA(), SAMPLES["grey"][:3]),
            "this PCA has no method local_scores or features; pass a fitted DeepInf",
        ),
    ],
    ids=["features", "neighbours", "local scores"],
)
def test_estimators_without_features_are_refused(draw, message):
    with pytest.raises(TypeError, match=message):
        draw()


def test_a_training_that_ended_at_once_is_refused(fitted):
    dim = copy.deepcopy(fitted["grey"])
    dim.model_.history = []
    with pytest.raises(ValueError, match="empty history_, as its training ended"):
        TrainingDisplay.from_estimator(dim)


@pytest.mark.slow
@pytest.mark.parametrize(
    "output", ["pandas", pytest.param("default", marks=pytest.mark.slow)]
)
def test_displays_take_features_in_frames(fitted, output):
    with config_context(transform_output=output):
        dim = clone(fitted["grey"]).fit(SAMPLES["grey"])
        display = NeighborsDisplay.from_estimator(dim, SAMPLES["grey"])
        points = FeaturesDisplay.from_estimator(dim, SAMPLES["grey"]).points
    plain = NeighborsDisplay.from_estimator(dim, SAMPLES["grey"])
    np.testing.assert_array_equal(display.nearest, plain.nearest)
    assert points.shape == (40, 2)


@pytest.mark.parametrize(
    ("shape", "input_type", "axis"),
    [
        ((8, 6), "image", None),
        pytest.param((4, 5, 3), "image", 2, marks=pytest.mark.slow),
        pytest.param((4, 4, 1), "image", 2, marks=pytest.mark.slow),
        ((3, 4, 5), "image", 0),
        pytest.param((2, 20), "series", 0, marks=pytest.mark.slow),
        ((20, 2), "series", 1),
        pytest.param((20,), "series", None, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_flattened_samples_are_the_same_pictures(shape, input_type, axis):
    """Wherever the channels are: the layout is that of fit."""
    X = np.arange(10 * np.prod(shape)).reshape(10, *shape)
    dim = DeepInfomaxTransformer(
        4, max_iter=1, input_type=input_type, random_state=0,
        data_format="channels_last" if axis else "channels_first",
    ).fit(X)  # fmt: skip
    whole = NeighborsDisplay.from_estimator(dim, X, n_neighbors=1)
    flat = NeighborsDisplay.from_estimator(dim, X.reshape(10, -1), n_neighbors=1)
    np.testing.assert_array_equal(whole.samples, flat.samples)
    if input_type == "image":
        expected = X if axis is None else np.moveaxis(X, axis + 1, 3).squeeze()
        expected = expected / X.max()
    else:
        expected = X[:, None] if axis is None else np.moveaxis(X, axis + 1, 1)
    np.testing.assert_allclose(whole.samples, expected)


@pytest.mark.parametrize("kind", ["grey", "colour", "series"])
def test_neighbours_are_the_nearest_and_the_farthest(kind, fitted):
    X = SAMPLES[kind]
    display = NeighborsDisplay.from_estimator(fitted[kind], X, rows=[3, 7])
    assert display.axes_.shape == (2, 9)
    Z = fitted[kind].transform(X)
    Z = (Z - Z.mean(0)) / Z.std(0)
    for row, nearest, farthest in zip(
        [3, 7], display.nearest, display.farthest, strict=True
    ):
        order = np.argsort(np.linalg.norm(Z - Z[row], axis=1))
        order = order[order != row]
        np.testing.assert_array_equal(nearest, order[:4])
        np.testing.assert_array_equal(farthest, order[::-1][:4])


@pytest.mark.slow
def test_pictures_are_what_was_given(fitted):
    X = SAMPLES["colour"]
    display = NeighborsDisplay.from_estimator(fitted["colour"], X, rows=[3])
    shown = display.axes_[0, 0].images[0].get_array()
    low, high = int(X.min()), int(X.max())
    np.testing.assert_allclose(shown, (X[3] - low) / (high - low))
    flat = NeighborsDisplay.from_estimator(
        fitted["grey"], SAMPLES["grey"].reshape(40, 64), rows=[3]
    )
    shown = flat.axes_[0, 0].images[0].get_array()
    assert np.corrcoef(shown.ravel(), SAMPLES["grey"][3].ravel())[0, 1] > 0.999
    rows = SAMPLES["colour"].reshape(40, -1)
    dim = DeepInfomaxTransformer(4, max_iter=1, input_shape=(8, 8, 3)).fit(rows)
    flat = NeighborsDisplay.from_estimator(dim, rows, rows=[3])
    np.testing.assert_array_equal(flat.samples, display.samples)
    # Any transformer will do.
    pca = make_pipeline(FunctionTransformer(lambda X: X.reshape(len(X), -1)), PCA(3))
    pca.fit(SAMPLES["grey"])
    assert NeighborsDisplay.from_estimator(pca, SAMPLES["grey"]).kind == "image"


@pytest.mark.parametrize("kind", ["grey", "colour", "series"])
def test_local_scores_lie_where_their_locations_are(kind, fitted):
    X = SAMPLES[kind][:3]
    display = LocalScoreDisplay.from_estimator(fitted[kind], X)
    expected = fitted[kind].local_scores(X)
    np.testing.assert_array_equal(display.scores.reshape(3, -1), expected)
    below = display.axes_[-1, 1].images[0].get_array()
    np.testing.assert_array_equal(np.squeeze(below), display.scores[1])


def test_series_of_unequal_length_are_drawn_to_their_ends():
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(1, length)) for length in (20, 30, 25) * 4]
    dim = DeepInfomaxTransformer(4, input_type="series", max_iter=1, random_state=0)
    dim.fit(series)
    display = LocalScoreDisplay.from_estimator(dim, series[:3])
    for ax, each in zip(display.axes_[0], series, strict=False):
        left, right, *_ = ax.images[0].get_extent()
        assert (left, right) == (-0.5, each.shape[1] - 0.5)
        assert ax.get_xlim() == (-0.5, 29.5)
        drawn = ax.lines[0].get_ydata()
        np.testing.assert_allclose(drawn[: each.shape[1]], each[0], rtol=1e-6)
        assert np.isnan(drawn[each.shape[1] :]).all()
    neighbours = NeighborsDisplay.from_estimator(dim, series, n_neighbors=1)
    assert neighbours.samples.shape == (12, 1, 30)


def test_displays_draw_into_axes_that_they_are_given(fitted):
    _, ax = plt.subplots()
    assert TrainingDisplay.from_estimator(fitted["table"], ax=ax).ax_ is ax
    assert FeaturesDisplay(np.zeros((3, 2))).plot(ax=ax).ax_ is ax


def test_a_fine_tuning_has_its_terms_over_the_steps():
    names = ("supervised", "unlabelled", "infomax")
    history = [{"step": 5 * i} | dict.fromkeys(names, 1.0 / i) for i in (1, 2, 3)]
    display = TrainingDisplay.from_estimator(SimpleNamespace(history_=history))
    assert display.ax_.get_xlabel() == "step"
    lines = display.ax_.get_lines()
    assert [line.get_label() for line in lines] == list(names)
    assert lines[0].get_xdata().tolist() == [5, 10, 15]
    assert lines[0].get_ydata().tolist() == [1, 1 / 2, 1 / 3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda fitted: TrainingDisplay.from_estimator(PCA()),
            "this PCA has no terms of an objective",
        ),
        (
            lambda fitted: NeighborsDisplay.from_estimator(
                fitted["table"], SAMPLES["table"]
            ),
            "rows of a table have no picture",
        ),
        (
            lambda fitted: LocalScoreDisplay.from_estimator(
                fitted["table"], SAMPLES["table"]
            ),
            "rows of a table have no picture",
        ),
        (
            lambda fitted: LocalScoreDisplay.from_estimator(
                fitted["grey"], SAMPLES["grey"]
            ),
            r"40 samples; pass at most 16, such as X\[:16\]",
        ),
        (
            lambda fitted: NeighborsDisplay.from_estimator(
                fitted["grey"], SAMPLES["grey"], n_neighbors=40
            ),
            "n_neighbors=40 of 40 samples",
        ),
        (
            lambda fitted: NeighborsDisplay.from_estimator(
                PCA(), rng.normal(size=(5, 8, 8, 4))
            ),
            "images of 4 channels have no colours",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(fitted, call, message):
    with pytest.raises(ValueError, match=message):
        call(fitted)


@pytest.mark.parametrize("kind", SAMPLES)
def test_selected_rows_and_pairs_are_drawn_with_their_values(kind, fitted):
    X = SAMPLES[kind]
    rows, pairs = np.array([7, 3, 39]), np.array([[3, 7], [1, 12]])
    display = SelectionDisplay.from_rows(X, rows, estimator=fitted[kind])
    assert display.kind == fitted[kind].model_.fmt.kind
    titles = [ax.get_title() for ax in display.axes_]
    assert titles == ["row 7", "row 3", "row 39"]
    display = SelectionDisplay.from_rows(X, pairs, [0.5, 1], estimator=fitted[kind])
    titles = [ax.get_title() for ax in display.axes_.ravel()]
    assert titles == ["row 3: 0.5", "row 7: 0.5", "row 1: 1", "row 12: 1"]
    drawn = X[pairs.ravel()].astype(float)
    if kind in ("grey", "colour"):
        drawn = (drawn - drawn.min()) / (drawn.max() - drawn.min())
    for ax, sample in zip(display.axes_.ravel(), drawn, strict=True):
        if kind == "table":
            shown = [bar.get_height() for bar in ax.patches]
        elif kind == "series":
            shown = [line.get_ydata() for line in ax.lines]
        else:
            shown = ax.images[0].get_array()
        np.testing.assert_allclose(shown, sample, rtol=1e-5, atol=1e-6)


def test_selected_rows_are_all_that_is_read():
    class Files:
        shape, dtype, ndim = (10_000, 8, 8), np.dtype("uint8"), 3

        def __len__(self):
            return 10_000

        def __getitem__(self, rows):
            assert rows.tolist() == [5, 9999]
            return np.zeros((2, 8, 8), dtype=np.uint8)

    display = SelectionDisplay.from_rows(Files(), [5, 9999, 5])
    assert display.samples.shape == (3, 8, 8)
    table = pd.DataFrame(SAMPLES["table"], index=np.arange(40) + 100)
    display = SelectionDisplay.from_rows(table, [2])
    np.testing.assert_allclose(display.samples[0], SAMPLES["table"][2], rtol=1e-6)
    _, axes = plt.subplots(2, 2)
    display = SelectionDisplay.from_rows(SAMPLES["grey"], [1, 2, 3], ax=axes)
    assert display.axes_.tolist() == axes.ravel()[:3].tolist()
    assert not axes[1, 1].axison


@pytest.mark.parametrize(
    ("rows", "values", "message"),
    [
        ([], None, "rows have shape"),
        ([0.5], None, "type float64; pass row numbers"),
        ([[1, 2, 3]], None, r"rows have shape \(1, 3\)"),
        (np.zeros((40, 2), dtype=int), None, r"80 samples; .* such as rows\[:32\]"),
        (np.zeros(0, dtype=int), None, "rows of 0 samples; pass 1 to 64"),
        ([40], None, "rows are from 40 to 40; the 40 rows of X are 0 to 39"),
        ([1, 2], [1.0], r"values have shape \(1,\); give one for each of the 2"),
    ],
    ids=["none", "floats", "threes", "many", "no rows", "out of range", "values"],
)
def test_rows_that_cannot_be_drawn_are_refused(rows, values, message):
    with pytest.raises(ValueError, match=message):
        SelectionDisplay.from_rows(SAMPLES["grey"], rows, values)


@pytest.mark.parametrize("kind", [list, np.array, pd.Series])
def test_paths_in_place_of_images_are_sent_to_the_loader(kind):
    paths = kind([f"{i}.jpg" for i in range(9)])
    with pytest.raises(ValueError, match=r"such as '5\.jpg', .* sk_dim\.ImageLoader"):
        SelectionDisplay.from_rows(paths, [5, 2])
