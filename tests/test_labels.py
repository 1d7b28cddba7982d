"""Labels of which some are missing: what marks them, and what type the others keep."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch

from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
from sk_dim._labels import (
    MARKS_AS_STRINGS,
    encode_labels,
    hold_out,
    select_labelled,
    weigh_classes,
)

MISSING = {
    "-1": -1,
    "-1.0": -1.0,
    "int8": np.int8(-1),
    "None": None,
    "nan": np.nan,
    "float32 nan": np.float32("nan"),
    "NA": pd.NA,
    "NaT": pd.NaT,
    "NaT of numpy": np.datetime64("NaT", "D"),
}
WORDS = np.array(["cat", "dog"], dtype=object)

# Three labels of two classes, a missing one, and the classes that are to come out.
CASES = {
    "int": (np.array([3, 7, -1, 3]), np.array([3, 7])),
    "int8": (np.array([3, 7, -1, 3], np.int8), np.array([3, 7], np.int8)),
    "float": (np.array([3.0, 7, np.nan, 3]), np.array([3.0, 7.0])),
    "float32": (np.array([3, 7, -1, 3], np.float32), np.array([3, 7], np.float32)),
    "list of int": ([3, 7, -1, 3], np.array([3, 7])),
    "list with None": ([3, 7, None, 3], np.array([3, 7])),
    "list with nan": ([3, 7, np.nan, 3], np.array([3, 7])),
    "list of float": ([3.0, 7.0, None, 3.0], np.array([3.0, 7.0])),
    "list of bool": ([False, True, None, False], np.array([False, True])),
    "list of str": (["cat", "dog", -1, "cat"], WORDS),
    "tuple": ((3, 7, None, 3), np.array([3, 7])),
    "objects": (np.array(["cat", "dog", None, "cat"], object), WORDS),
    "Decimal": ([Decimal(3), Decimal("7.0"), None, Decimal(3)], np.array([3, 7])),
    "Decimal of -1": ([Decimal(3), Decimal(7), Decimal(-1), 3], np.array([3, 7])),
    "Decimal NaN": ([Decimal(3), Decimal(7), Decimal("NaN"), 3], np.array([3, 7])),
    "objects bool": (
        np.array([np.False_, np.True_, None, np.False_], object),
        np.array([False, True]),
    ),
    "masked": (np.ma.array([3, 7, 9, 3], mask=[0, 0, 1, 0]), np.array([3, 7])),
    "dates": (
        np.array(["2020", "2021", "NaT", "2020"], "M8[Y]"),
        np.array(["2020", "2021"], "M8[Y]"),
    ),
    "tensor": (torch.tensor([3, 7, -1, 3]), np.array([3, 7])),
    "Series": (pd.Series([3, 7, None, 3]), np.array([3.0, 7.0])),
    "Series of -1": (pd.Series([3, 7, -1, 3]), np.array([3, 7])),
    "Series of objects": (pd.Series([3, 7, None, 3], dtype=object), np.array([3, 7])),
    "Int64": (pd.Series([3, 7, None, 3], dtype="Int64"), np.array([3, 7])),
    "Int64 of -1": (pd.Series([3, 7, -1, 3], dtype="Int64"), np.array([3, 7])),
    "Float64": (pd.Series([3, 7, None, 3], dtype="Float64"), np.array([3.0, 7.0])),
    "boolean": (
        pd.Series([False, True, None, False], dtype="boolean"),
        np.array([False, True]),
    ),
    "str": (pd.Series(["cat", "dog", None, "cat"]), WORDS),
    "string": (pd.Series(["cat", "dog", None, "cat"], dtype="string"), WORDS),
    "Categorical": (pd.Categorical(["cat", "dog", None, "cat"]), WORDS),
    "category": (pd.Series(["cat", "dog", None, "cat"], dtype="category"), WORDS),
    "category of int": (
        pd.Series(pd.Categorical([3, 7, None, 3], categories=[7, 3, 5])),
        np.array([3, 7]),
    ),
    "Index": (pd.Index([3, 7, None, 3], dtype="Int64"), np.array([3, 7])),
    "extension array": (pd.array([3, 7, None, 3], dtype="Int64"), np.array([3, 7])),
    "convert_dtypes": (pd.Series([3.0, 7, np.nan, 3]).convert_dtypes(), [3, 7]),
}


@pytest.mark.parametrize("name", CASES)
def test_the_missing_are_told_from_the_others_which_keep_their_type(name):
    y, expected = CASES[name]
    expected = np.asarray(expected)
    assert select_labelled(y)[0].tolist() == [True, True, False, True]
    has_label, labels = select_labelled(y)
    assert has_label.tolist() == [True, True, False, True]
    assert labels.tolist() == expected[[0, 1, 0]].tolist()
    classes, class_ids = encode_labels(y)
    assert classes.dtype == expected.dtype
    assert np.array_equal(classes, expected)
    assert class_ids.tolist() == [0, 1, -1, 0]


@pytest.mark.parametrize("mark", MISSING)
@pytest.mark.parametrize("kind", ["strings", "integers", "booleans"])
def test_whatever_marks_a_missing_label_does_among_labels_of_any_type(mark, kind):
    a, b = {"strings": "ab", "integers": (3, 7), "booleans": (False, True)}[kind]
    y = np.array([a, MISSING[mark], b, MISSING[mark], b], dtype=object)
    classes, class_ids = encode_labels(y)
    assert classes.tolist() == [a, b]
    assert {type(each) for each in classes.tolist()} == {type(a)}
    assert class_ids.tolist() == [0, -1, 1, -1, 1]
    assert encode_labels(y.tolist())[1].tolist() == class_ids.tolist()


@pytest.mark.parametrize("name", ["polars", "pyarrow"])
def test_null_of_other_libraries_is_no_label(name):
    library = pytest.importorskip(name)
    column = library.Series if name == "polars" else library.array
    for y in (
        [3, 7, None, 3],
        [False, True, None, False],
        ["cat", "dog", None, "cat"],
        [3.0, 7.0, None, 3.0],
    ):
        classes, class_ids = encode_labels(column(y))
        assert classes.tolist() == y[:2]
        assert {type(each) for each in classes.tolist()} == {type(y[0])}
        assert class_ids.tolist() == [0, 1, -1, 0]
    if name == "polars":
        frame = library.DataFrame({"label": [3, 7, None, 3]})
        assert encode_labels(frame)[0].tolist() == [3, 7]


def test_a_column_of_labels_is_flattened_with_scikit_learns_warning():
    for y in (
        np.array([[3], [7], [-1]]),
        pd.DataFrame({"label": pd.array([3, 7, None], dtype="Int64")}),
    ):
        with pytest.warns(match="column-vector y was passed"):
            classes, class_ids = encode_labels(y)
        assert classes.tolist() == [3, 7]
        assert classes.dtype.kind == "i"
        assert class_ids.tolist() == [0, 1, -1]


@pytest.mark.parametrize("mark", [-1, -1.0, np.nan, None, np.datetime64("NaT", "D")])
def test_marks_that_an_array_of_strings_made_strings_of_are_refused(mark):
    y = np.array(["a rabbit", "a hen"] * 3)
    y[3:] = mark
    match = "array of objects with the number -1, None or NaN"
    for each in (y, y.tolist(), y.astype(object), pd.Series(y), pd.Categorical(y)):
        with pytest.raises(ValueError, match=match):
            select_labelled(each)[0]
        with pytest.raises(ValueError, match=f"the string '{mark}'"):
            encode_labels(each)


def test_what_frames_make_strings_of_is_refused():
    y = pd.Series(["rabbit", "hen", None, pd.NA], dtype=object)
    for each in (y.fillna("-1"), y.map(str), y.astype("string").map(str)):
        with pytest.raises(ValueError, match="y holds the string"):
            select_labelled(each)
    assert {str(each) for each in (-1, -1.0, np.nan, None, pd.NaT, pd.NA)} == set(
        MARKS_AS_STRINGS
    )


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_empty_strings_are_refused(blank):
    y = np.array(["a rabbit", "a hen", blank, "a hen"])
    match = "y holds empty strings, which look like missing labels; put the number -1"
    for each in (y, y.tolist(), y.astype(object), pd.Series(y), pd.Categorical(y)):
        with pytest.raises(ValueError, match=match):
            select_labelled(each)


def test_other_strings_and_booleans_are_labels():
    y = np.array(["1", "0", "minus 1", "-", "."])
    classes, class_ids = encode_labels(y)
    assert classes.dtype == y.dtype
    assert (class_ids >= 0).all()
    assert select_labelled(np.array([True, False]))[0].all()
    assert select_labelled(np.array([255, 0], np.uint8))[0].all()


@pytest.mark.parametrize(
    ("y", "match"),
    [
        ([-1, None, np.nan], "all 3 rows as unlabelled"),
        (np.full(3, np.nan), "all 3 rows as unlabelled"),
        (pd.array([None] * 3, dtype="Int64"), "all 3 rows as unlabelled"),
        (["a", None, "a"], r"only one class, \['a'\]"),
        ([1, "a", None], "the types int, str"),
        (np.array([b"a", b"b"]), "the types bytes"),
        (np.array([1j, 2]), "Complex data not supported"),
        ([[1, 2], [3, 4]], "should be a 1d array"),
        (7, "should be a 1d array"),
        ([0, 1, np.inf], "contains infinity"),
        (np.array([0, 1, -np.inf]), "contains infinity"),
        ([0.5, 1.5, None], "continuous"),
    ],
    ids=[
        "none",
        "nan",
        "NA",
        "one",
        "mixed",
        "bytes",
        "complex",
        "axes",
        "scalar",
        "inf",
        "-inf",
        "numbers",
    ],
)
def test_labels_that_are_refused(y, match):
    with pytest.raises(ValueError, match=match):
        encode_labels(y)


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ({0: 0.0}, "gives a class no weight"),
        ({1: -1.0}, "gives a class no weight"),
        ({0: np.inf}, "must be finite"),
        ({0: np.nan}, "must be finite"),
        ({0: 1e-300}, "at most 1e37 times the smallest"),
        ({0: 1e39}, "at most 1e37 times the smallest"),
    ],
    ids=str,
)
def test_class_weights_that_are_refused(weights, match):
    with pytest.raises(ValueError, match=match):
        weigh_classes(weights, np.arange(2), np.array([0, 1, -1]))


def test_class_weights_count_labelled_rows():
    class_ids = np.array([0, 1, 1, 1, -1, -1])
    assert weigh_classes(None, np.arange(2), class_ids) is None
    assert weigh_classes({0: 3, 1: 3}, np.arange(2), class_ids) is None
    found = weigh_classes("balanced", np.arange(2), class_ids)
    assert np.allclose(found, [4 / 2 / 1, 4 / 2 / 3])


def test_labelled_rows_of_each_class_are_held_out():
    class_ids = np.array([0, 1, -1] * 20)
    held_out = hold_out(class_ids, 0.25, seed=0)
    assert np.bincount(class_ids[held_out]).tolist() == [5, 5]
    with pytest.raises(ValueError, match="leaves a class out of one of the parts"):
        hold_out(class_ids, 0.01, seed=0)


# The classifier


@pytest.fixture(scope="module")
def small(digits):
    """Return a transformer with few features, fitted for one epoch."""
    return DeepInfomaxTransformer(16, max_iter=1, random_state=0).fit(digits[0])


@pytest.mark.parametrize("fine_tune", ["all", "head"])
@pytest.mark.parametrize("kind", ["Int64", "float", "strings"])
def test_the_classifier_takes_labels_of_any_kind(digits, small, kind, fine_tune):
    images, y = digits
    y = y % 3
    is_given = np.arange(300) < 40
    given = np.where(is_given, y, -1)
    words = np.array(["cat", "dog", "emu"])
    other = {
        "Int64": pd.Series(y).astype("Int64").where(is_given),
        "float": np.where(is_given, y, np.nan),
        "strings": pd.Series(words[y]).where(is_given),
    }[kind]
    model = DeepInfomaxClassifier(
        small, fine_tune=fine_tune, n_steps=2, batch_size=8, random_state=0
    )
    plain = model.fit(images, given).predict(images)
    score = model.score(images, given)
    assert score == model.score(images[:40], y[:40])
    found = model.fit(images, other).predict(images)
    assert np.array_equal(found, words[plain] if kind == "strings" else plain)
    assert model.score(images, other) == score
    assert found.dtype.kind == {"Int64": "i", "float": "f", "strings": "O"}[kind]
    assert model.predict_proba(images).shape == (300, 3)


def test_the_classifier_refuses_the_string_of_minus_one(digits, small):
    images, y = digits
    names = np.array(["cat", "dog", "emu"])[y % 3]
    names[30:] = -1
    model = DeepInfomaxClassifier(small, n_steps=1)
    with pytest.raises(ValueError, match="the string '-1'"):
        model.fit(images, names)
    names = names.astype(object)
    names[30:] = -1
    assert model.fit(images, names).classes_.tolist() == ["cat", "dog", "emu"]
    with pytest.raises(ValueError, match="the string '-1'"):
        model.score(images, names.astype(str))
