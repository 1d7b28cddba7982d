"""What users call a variable: kinds of columns, missing values, and what is refused."""

from collections import namedtuple
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch

from sk_dim._information._columns import Reader, check_discrete

N = 300
CODES = np.random.default_rng(0).integers(0, 10, N)
NOISE = np.random.default_rng(1).normal(size=N)
DATES = pd.Series(pd.date_range("2020", periods=N, freq="h"))


def read(V, discrete="auto"):
    return Reader("X", discrete).fit(V)


def kinds(V, discrete="auto"):
    """One of "name", "number" and "both" for each column."""
    variable = read(V, discrete)
    return [
        "both" if a and b else "name" if a else "number"
        for a, b in zip(variable.is_name, variable.is_number, strict=True)
    ]


SAME_CODES = {
    "int": CODES,
    "uint8": CODES.astype(np.uint8),
    "float": CODES.astype(float),
    "list": CODES.tolist(),
    "objects": CODES.astype(object),
    "digits": CODES.astype(str),
    "digit objects": CODES.astype(str).astype(object),
    "Decimal": np.array([Decimal(int(code)) for code in CODES]),
    "Series": pd.Series(CODES),
    "Int64": pd.Series(CODES).astype("Int64"),
    "Float64": pd.Series(CODES).astype("Float64"),
    "category": pd.Series(CODES).astype("category"),
    "category of floats": pd.Series(CODES.astype(float)).astype("category"),
    "category of digits": pd.Series(CODES.astype(str)).astype("category"),
    "Categorical": pd.Categorical(CODES),
    "str": pd.Series(CODES).astype(str),
    "tensor": torch.tensor(CODES),
    "bfloat16": torch.tensor(CODES).bfloat16(),
    "trained": torch.tensor(CODES.astype(float), requires_grad=True),
}


@pytest.mark.parametrize("name", SAME_CODES)
def test_codes_are_read_alike_however_they_are_written(name):
    expected = read(CODES)
    found = read(SAME_CODES[name])
    assert kinds(SAME_CODES[name]) == ["name"]
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize("name", SAME_CODES)
def test_codes_are_read_alike_beside_other_columns(name):
    codes = pd.Series(SAME_CODES[name]) if name not in TENSORS else pd.Series(CODES)
    frame = pd.DataFrame({"noise": NOISE, "codes": codes, "text": ["a", "b"] * 150})
    assert kinds(frame) == ["number", "name", "name"]
    np.testing.assert_array_equal(read(frame).values[:, 1], read(CODES).values[:, 0])


TENSORS = ("tensor", "bfloat16", "trained")


@pytest.mark.parametrize("as_type", [bool, int, float, str, object])
def test_two_values_are_names_of_whatever_type(as_type):
    labels = (CODES > 4).astype(int)
    written = labels.astype(as_type)
    assert kinds(written) == ["name"]
    reader = Reader("X", "auto")
    values = reader.fit(labels).values
    if as_type is not str:
        np.testing.assert_array_equal(reader.read(written).values, values)


def test_lists_and_records_keep_the_kinds_of_their_columns():
    rows = [[int(c), float(x), "ab"[c % 2]] for c, x in zip(CODES, NOISE, strict=True)]
    expected = ["name", "number", "name"]
    assert kinds(rows) == kinds(np.array(rows, dtype=object)) == expected
    dtype = [("c", "i8"), ("x", "f8"), ("t", "U1")]
    records = np.array([tuple(row) for row in rows], dtype=dtype)
    assert kinds(records) == expected
    np.testing.assert_array_equal(read(rows).values, read(records).values)


def test_frames_of_other_libraries_are_read_column_by_column():
    class Frame:
        """As polars has it."""

        shape = (N, 2)
        columns = ("codes", "noise")

        def get_columns(self):
            return [CODES, NOISE]

    class Table:
        """As pyarrow has it."""

        shape = (N, 2)
        column_names = ("codes", "noise")

        def itercolumns(self):
            return iter([CODES, NOISE])

    assert kinds(Frame()) == kinds(Table()) == ["name", "number"]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        pytest.param([0.5, 1.5], "number", id="two fractions"),
        pytest.param([1, 2, 2, 1], "name", id="two whole numbers"),
        pytest.param(np.arange(60), "number", id="all different"),
        pytest.param(np.arange(40), "number", id="few but all different"),
        pytest.param(np.arange(300) % 60, "both", id="60 that repeat"),
        pytest.param(np.arange(300) % 10 / 10, "both", id="fractions that repeat"),
        pytest.param(np.arange(900) % 300, "number", id="300 that repeat"),
        pytest.param(["a", "b"], "name", id="text"),
        pytest.param([b"a", b"b"], "name", id="bytes"),
        pytest.param([True, False], "name", id="bool"),
        pytest.param(np.array([1.5, 2.5], object), "number", id="numbers as objects"),
        pytest.param(np.array(["a", 2.5], object), "name", id="text and a number"),
        pytest.param([2**70, 1, 5], "number", id="beyond int64"),
        pytest.param([np.float32(1.5), Decimal("2.5")], "number", id="mixed numbers"),
    ],
)
def test_which_columns_are_names(column, expected):
    assert kinds(column) == [expected]


# Dates

HOURS = np.arange(N) * 3.6e9  # in microseconds


@pytest.mark.parametrize(
    "dates",
    [
        pytest.param(DATES, id="Series"),
        pytest.param(DATES.to_numpy(), id="array"),
        pytest.param(DATES.to_numpy().astype("datetime64[h]"), id="hours"),
        pytest.param(DATES.to_numpy().astype("datetime64[ns]"), id="nanoseconds"),
        pytest.param(DATES.dt.tz_localize("UTC"), id="UTC"),
        pytest.param(DATES.dt.tz_localize("Etc/GMT-3"), id="time zone"),
        pytest.param(pd.DatetimeIndex(DATES), id="index"),
        pytest.param(DATES.astype(object), id="Timestamps"),
        pytest.param(list(DATES.dt.to_pydatetime()), id="datetimes"),
        pytest.param(
            [d.replace(tzinfo=UTC) for d in DATES.dt.to_pydatetime()], id="aware"
        ),
        pytest.param(DATES - DATES[0], id="durations"),
        pytest.param(list(np.arange(N) * timedelta(hours=1)), id="timedeltas"),
        pytest.param(list((DATES - DATES[0]).to_numpy()), id="timedelta64s"),
    ],
)
def test_dates_and_durations_are_numbers(dates):
    found = read(dates)
    assert found.is_number.all()
    assert not found.is_name.any()
    np.testing.assert_array_equal(found.values[:, 0] - found.values[0, 0], HOURS)


def test_dates_beside_other_columns_are_numbers():
    frame = pd.DataFrame({"when": DATES, "zone": DATES.dt.tz_localize("UTC")})
    frame["text"] = ["a", "b"] * 150
    assert kinds(frame) == ["number", "number", "name"]
    assert kinds([[d, "ab"[i % 2]] for i, d in enumerate(DATES)]) == ["number", "name"]
    days = [date(2020, 1, 1) + timedelta(days=i) for i in range(60)]
    assert kinds(days) == ["number"]
    months = pd.period_range("2020-01", periods=60, freq="M")
    assert kinds(pd.DataFrame({"month": months})) == ["number"]
    assert np.diff(read(months).values[:, 0]).max() == 31 * 24 * 3.6e9


@pytest.mark.parametrize("step", [timedelta(days=1), timedelta(microseconds=1)])
def test_few_dates_that_repeat_keep_their_order(step):
    days = [date(2020, 1, 1) + i % 30 * step for i in range(N)]
    assert kinds(days) == ["both"]
    assert kinds([i % 30 * step for i in range(N)]) == ["both"]
    assert kinds(days[:90]) == ["number" if step.days else "both"]
    assert kinds(days, True) == ["name"]


def test_dates_of_another_unit_in_score_are_the_same():
    reader = Reader("X", "auto")
    values = reader.fit(DATES.to_numpy().astype("datetime64[s]")).values
    again = reader.read(DATES.dt.tz_localize("UTC")).values
    np.testing.assert_array_equal(values, again)


# Missing values

Odd = namedtuple("Odd", "value")


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(["a", None, "b"], id="None in text"),
        pytest.param(["a", np.nan, "b"], id="NaN in text"),
        pytest.param([1, None, 2], id="None in numbers"),
        pytest.param([1.0, np.nan, 2.0], id="NaN"),
        pytest.param(pd.Series([1, None, 2], dtype="Int64"), id="Int64"),
        pytest.param(pd.Series([True, None], dtype="boolean"), id="boolean"),
        pytest.param(pd.Series(["a", None], dtype="str"), id="str"),
        pytest.param(pd.Series(["a", None], dtype="category"), id="category"),
        pytest.param(pd.Series(["2020", None], dtype="datetime64[ns]"), id="NaT"),
        pytest.param(
            pd.Series(["2020", None], dtype="datetime64[ns, UTC]"), id="NaT in UTC"
        ),
        pytest.param(pd.to_timedelta(["1h", None]), id="no duration"),
        pytest.param(np.array(["2020", "NaT"], "datetime64[s]"), id="NaT in an array"),
        pytest.param([datetime(2020, 1, 1), pd.NaT], id="NaT among objects"),
        pytest.param([Decimal("nan"), Decimal(1)], id="Decimal"),
        pytest.param(np.ma.masked_equal([1, 2, 3], 2), id="mask"),
    ],
)
@pytest.mark.parametrize("discrete", ["auto", True])
def test_missing_values_are_refused_in_one_sentence(column, discrete):
    with pytest.raises(ValueError, match=r"^Input X contains NaN, None, .*missing val"):
        read(column, discrete)


def test_the_column_of_a_missing_value_is_named():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None]})
    with pytest.raises(ValueError, match=r"NaT \(column 'b'\), which"):
        read(frame)
    with pytest.raises(ValueError, match=r"infinity \(column 1\), or"):
        read(np.array([[1.0, np.inf], [2.0, 1.0]]))


# What a user says of columns


def test_users_can_say_which_columns_are_discrete():
    table = np.stack([CODES, NOISE], axis=1)
    assert kinds(table) == ["name", "number"]
    assert kinds(table, False) == ["number", "number"]
    assert kinds(table, [False, False]) == ["number", "number"]
    assert kinds(np.stack([CODES, CODES % 3], axis=1), [True, False]) == [
        "name",
        "number",
    ]
    assert kinds(np.arange(600) % 200, True) == ["name"]
    assert kinds(CODES.astype(str), False) == ["number"]
    np.testing.assert_array_equal(read(CODES.astype(str), False).values[:, 0], CODES)


@pytest.mark.parametrize(
    ("discrete", "expected"),
    [
        ("auto", ("auto", "auto")),
        (True, (True, True)),
        ((True, "auto"), (True, "auto")),
        ([[True, False], False], ([True, False], False)),
    ],
    ids=str,
)
def test_a_pair_is_for_x_and_for_y(discrete, expected):
    assert check_discrete(discrete) == expected


@pytest.mark.parametrize(
    "discrete",
    ["yes", 1, None, (True,), (True, False, True), ([1, 0], True), ([], True)],
    ids=str,
)
def test_what_is_no_choice_is_refused(discrete):
    with pytest.raises(ValueError, match="it must be 'auto', True, False, or a pair"):
        check_discrete(discrete)


def test_choices_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="discrete has 3 entries for X, which has 1"):
        read(CODES, [True, False, True])
    with pytest.raises(ValueError, match="X holds text that is no number"):
        read(["a", "b", "a"], False)
    with pytest.raises(ValueError, match="only columns can be discrete"):
        read(np.zeros((5, 8, 8)), True)


# What is said and refused


@pytest.mark.parametrize(
    "column",
    [
        pytest.param([f"id{i}" for i in range(N)], id="text"),
        pytest.param(pd.Categorical(np.arange(N)), id="category"),
        pytest.param(NOISE.astype(str), id="numbers as text"),
    ],
)
def test_names_that_hardly_repeat_draw_a_warning(column):
    with pytest.warns(UserWarning, match="X has 300 different names in 300 rows"):
        read(column)


def test_names_that_hardly_repeat_are_found_in_their_column():
    frame = pd.DataFrame({"noise": NOISE, "id": [f"id{i}" for i in range(N)]})
    with pytest.warns(UserWarning, match=r"X \(column 'id'\) has 300 different names"):
        read(frame)
    with pytest.warns(UserWarning, match="X has 300 different names"):
        read(NOISE, True)


IMAGES = (
    r"X has rows of shape .*, which cannot be read as images or series; pass images"
)


@pytest.mark.parametrize(
    ("V", "error", "message"),
    [
        pytest.param(3.0, ValueError, "X is a single value", id="scalar"),
        pytest.param("a.csv", TypeError, "X is 'a.csv', a string or path", id="path"),
        pytest.param(None, TypeError, "X is None, which is no array", id="None"),
        pytest.param({"a": [1]}, TypeError, r"X is dict, .* X\['a'\]", id="a dict"),
        pytest.param(iter([1, 2]), TypeError, "X is list_iterator, which", id="iter"),
        pytest.param(np.zeros((5, 3, 8, 3)), ValueError, IMAGES, id="which axis"),
        pytest.param(np.zeros((5, 7, 8, 9)), ValueError, IMAGES, id="no channels"),
        pytest.param(np.zeros((5, 3, 2)), ValueError, IMAGES, id="small"),
        pytest.param(np.zeros((5, 3, 8, 8, 8)), ValueError, IMAGES, id="5 axes"),
        pytest.param([[1, 2], [3]], ValueError, "rows have different len", id="ragged"),
        pytest.param([{"a": 1}, {"a": 2}], TypeError, "values of type dict", id="dict"),
        pytest.param([1j, 2j], ValueError, "Complex data not supported", id="complex"),
        pytest.param(np.zeros((5, 0)), ValueError, r"0 feature\(s\)", id="no column"),
        pytest.param(
            pd.DataFrame(index=range(3)), ValueError, r"0 feature\(s\)", id="no frame"
        ),
        pytest.param(
            np.full((5, 8, 8), np.nan), ValueError, "X contains NaN", id="images"
        ),
    ],
)
def test_bad_variables(V, error, message):
    with pytest.raises(error, match=message):
        read(V)


def test_unseen_names_are_none_of_those_of_fit():
    reader = Reader("X", "auto")
    assert reader.fit(["b", "a", "b", "a"]).values[:, 0].tolist() == [1, 0, 1, 0]
    assert reader.read(["c", "a", "", "z"]).values[:, 0].tolist() == [-1, 0, -1, -1]
