"""Pipelines from paths to classes: cross-validation, searches, files, frames."""

import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sk_dim import (
    DeepInfomaxClassifier,
    DeepInfomaxTransformer,
    ImageArray,
    ImageLoader,
    list_images,
    save,
)
from sk_dim._images import _files
from sk_dim.evaluation import label_efficiency, linear_probe

FAST = {
    "n_components": 8,
    "max_iter": 1,
    "random_state": 0,
    "batch_size": 32,
    "encoder": "conv",
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Paths of 80 photos of two kinds in two folders, and their labels."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(80):
        kind = ("dark", "light")[i % 2]
        (folder / kind).mkdir(exist_ok=True)
        pixels = rng.integers(0, 90, (20, 20 + i % 9, 3), dtype=np.uint8) + 99 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{i:02}.jpg")
    paths = list_images(folder)
    return paths, np.array(["light" in path.rpartition("/")[0] for path in paths])


def pipeline(**options):
    return make_pipeline(
        ImageLoader(16, **options), DeepInfomaxTransformer(**FAST), LogisticRegression()
    )


def test_features_are_those_of_the_array_in_memory(photos):
    paths, _ = photos
    X = ImageLoader(16).transform(paths)
    dim = DeepInfomaxTransformer(**FAST)
    Z = dim.fit_transform(X)
    np.testing.assert_array_equal(dim.fit_transform(np.asarray(X)), Z)
    assert dim.model_.fmt.layout == (16, 16, 3)
    X = ImageLoader((16, 20), mode="L", n_threads=2).transform(paths)
    np.testing.assert_array_equal(dim.fit_transform(X), dim.transform(np.asarray(X)))


@pytest.mark.slow
def test_no_more_than_a_batch_is_read_at_once(photos, monkeypatch):
    paths, y = photos
    seen = []
    load = _files.Files.load
    monkeypatch.setattr(
        _files.Files,
        "load",
        lambda self, rows: seen.append(len(rows)) or load(self, rows),
    )
    X = ImageLoader(16).transform(paths * 20)
    y = np.tile(y, 20)
    # Blocks that scaling is learnt from are larger, but not of images of usual size.
    monkeypatch.setattr("sk_dim._inputs._rows.BLOCK_VALUES", 100 * X[0].size)
    monkeypatch.setattr("sk_dim._inputs._rows.SAMPLE_VALUES", 100 * X[0].size)
    dim = DeepInfomaxTransformer(**FAST).fit(X)
    assert max(seen) <= 100
    linear_probe(dim, X, y, cv=2, kind="knn")
    label_efficiency({"dim": dim}, X, y, [10], X_test=X, y_test=y, n_draws=1)
    model = DeepInfomaxClassifier(dim, n_steps=2, random_state=0)
    model.fit(X, np.where(np.arange(1600) < 100, y, -1)).predict(X)
    assert max(seen) <= 768  # batches are of 512, more or less


@pytest.mark.slow
def test_cross_validation_takes_paths_of_any_kind(photos):
    pd = pytest.importorskip("pandas")
    paths, y = photos
    expected = cross_val_score(pipeline(), paths, y, cv=2)
    assert expected.mean() > 0.9
    for X in (np.array(paths), pd.DataFrame({"path": paths})):
        np.testing.assert_array_equal(cross_val_score(pipeline(), X, y, cv=2), expected)
    X = ImageLoader(16).transform(paths)
    np.testing.assert_array_equal(cross_val_score(pipeline()[1:], X, y, cv=2), expected)


@pytest.mark.slow
def test_a_search_in_two_processes_gives_the_scores_of_one(photos, tmp_path):
    paths, y = photos
    grid = {
        "imageloader__size": [12, 16],
        "deepinfomaxtransformer__n_components": [4, 8],
    }
    options = {"cache": tmp_path / "cache"}
    search = GridSearchCV(pipeline(**options), grid, cv=2, n_jobs=2).fit(paths, y)
    alone = GridSearchCV(pipeline(), grid, cv=2).fit(paths, y)
    for name in ("split0_test_score", "split1_test_score"):
        found, expected = (each.cv_results_[name] for each in (search, alone))
        np.testing.assert_array_equal(found, expected)
    assert search.best_estimator_.predict(paths[:3]).shape == (3,)


@pytest.mark.slow
def test_a_saved_pipeline_works_in_a_fresh_process_elsewhere(photos, tmp_path):
    paths, y = photos
    model = pipeline().fit(paths, y)
    save(model, tmp_path / "model.joblib")
    code = (
        "import joblib, sys; model = joblib.load('model.joblib'); "
        "print(*model.predict(sys.argv[1:]).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *paths[:5]],
        cwd=tmp_path, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(each) for each in model.predict(paths[:5])]


def test_loaders_are_copied_and_stored_and_learn_nothing(photos, tmp_path):
    paths, _ = photos
    loader = ImageLoader((16, 20), mode="L", resize="pad")
    assert clone(loader).get_params() == loader.get_params()
    before = dict(vars(loader))
    X = loader.fit(paths).transform(paths)
    assert vars(loader) == before
    joblib.dump((loader, X[3:5]), tmp_path / "both.joblib")
    again, part = joblib.load(tmp_path / "both.joblib")
    assert repr(again) == repr(loader)
    np.testing.assert_array_equal(np.asarray(part), np.asarray(X[3:5]))
    assert isinstance(loader.fit_transform(paths), ImageArray)


def test_relative_paths_begin_where_the_program_is(photos, tmp_path, monkeypatch):
    paths, _ = photos
    folder = Path(paths[0]).parents[1]
    monkeypatch.chdir(folder)
    names = [Path(path).relative_to(folder) for path in paths]
    relative = ImageLoader(16).transform(names)
    absolute = ImageLoader(16).transform(paths)
    np.testing.assert_array_equal(np.asarray(relative), np.asarray(absolute))
    monkeypatch.chdir(tmp_path)
    for X in (absolute, pickle.loads(pickle.dumps(absolute))):
        assert X[7].shape == (16, 16, 3)
    for X in (relative, pickle.loads(pickle.dumps(relative))):
        with pytest.raises(ValueError, match=f"14.jpg: .* file in {tmp_path}; leave"):
            X[7]


@pytest.mark.slow
def test_all_that_judges_reads_files_as_it_does_arrays(photos):
    paths, y = photos
    X = ImageLoader(16).transform(paths)
    array = np.asarray(X)
    dim = DeepInfomaxTransformer(**FAST).fit(X)
    probes, expected = (linear_probe(dim, each, y, cv=2) for each in (X, array))
    assert probes.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(probes[name], expected[name])
    models = {"dim": make_pipeline(dim, LogisticRegression())}
    found, expected = (
        label_efficiency(models, each, y, [6], X_test=each, y_test=y, n_draws=2)
        for each in (X, array)
    )
    np.testing.assert_array_equal(found.scores, expected.scores)
    given = np.where(np.arange(80) % 7 == 0, y, -1)
    model = DeepInfomaxClassifier(dim, n_steps=4, random_state=0)
    expected = clone(model).set_params(encoder=dim).fit(array, given)
    expected = expected.predict_proba(array)
    np.testing.assert_array_equal(model.fit(X, given).predict_proba(X), expected)
    on_paths = make_pipeline(ImageLoader(16), model).fit(paths, given)
    np.testing.assert_array_equal(on_paths.predict_proba(paths), expected)
    with pytest.raises(ValueError, match="is a file; pass the path of a folder, or"):
        on_paths.predict(paths[0])


def test_frames_have_the_names_of_the_features(photos):
    pd = pytest.importorskip("pandas")
    paths, y = photos
    features = pipeline()[:-1].set_output(transform="pandas")
    frame = features.fit_transform(paths)
    assert list(frame.columns) == [f"deepinfomaxtransformer{i}" for i in range(8)]
    assert features.get_feature_names_out().tolist() == list(frame.columns)
    names = ImageLoader((2, 3)).get_feature_names_out()
    assert names.tolist()[:4] == ["y0_x0_c0", "y0_x0_c1", "y0_x0_c2", "y0_x1_c0"]
    assert len(names) == 18
    assert len(ImageLoader(4, mode="L").get_feature_names_out()) == 16
    with pytest.raises(ValueError, match="mode='raw' takes as many channels as"):
        ImageLoader(4, mode="raw").get_feature_names_out()
    table = pd.DataFrame({"path": paths, "weight": np.arange(80.0)})
    columns = make_column_transformer(
        (pipeline()[:-1], "path"), ("passthrough", ["weight"])
    ).set_output(transform="pandas")
    joined = columns.fit_transform(table)
    assert joined.shape == (80, 9)
    assert joined.columns[-1] == "remainder__weight" or "weight" in joined.columns[-1]
    assert LogisticRegression(max_iter=5000).fit(joined, y).score(joined, y) > 0.9


def test_paths_given_to_the_transformer_itself_are_sent_to_the_loader(photos):
    paths, _ = photos
    with pytest.raises(ValueError, match=r"sk_dim\.ImageLoader"):
        DeepInfomaxTransformer().fit(paths)
    with pytest.raises(TypeError, match=r"sk_dim\.ImageLoader"):
        DeepInfomaxTransformer().fit(paths[0])
