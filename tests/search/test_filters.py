"""Filters on table columns."""

import numpy as np
import pyarrow as pa
import pytest

from tristream.search.filters import Filter, allowed_by, parse_filter
from tristream.streams.errors import UsageError

ROWS = pa.table(
    {
        "path": ["/a/cam1/x.avi", "/a/cam2/y.avi", "/b/cam1/[z].mp4"],
        "duration_seconds": [3.0, 30.0, None],
        "width": pa.array([320, 640, None], pa.int32()),
        "has_audio": [True, False, True],
        "warning": [None, "truncated: …", None],
        "error": pa.array([None, None, None], pa.string()),
    }
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("duration_seconds < 30", [True, False, False]),
        ("duration_seconds<=30", [True, True, False]),
        ("duration_seconds > 3", [False, True, False]),
        ("duration_seconds >= 3e0", [True, True, False]),
        ("width == 320", [True, False, False]),
        ("width = 320", [True, False, False]),
        ("width != 320", [False, True, False]),
        ("has_audio == true", [True, False, True]),
        ("has_audio != True", [False, True, False]),
        ("path == /a/cam2/y.avi", [False, True, False]),
        ("path == '/a/cam2/y.avi'", [False, True, False]),
        ("path ~ */cam1/*", [True, False, True]),
        ("*/cam1/*", [True, False, True]),
        ("*.av?", [True, True, False]),
        ("*/[[]z].mp4", [False, False, True]),
        ("warning ~ truncated*", [False, True, False]),
        ("width ~ 6*", [False, True, False]),
        ("error ~ *", [False, False, False]),
    ],
)
def test_a_filter_holds_for_some_rows(text: str, expected: list[bool]) -> None:
    np.testing.assert_array_equal(parse_filter(text).allows(ROWS), expected)


def test_dictionary_columns_are_filtered_alike() -> None:
    coded = ROWS.set_column(0, "path", ROWS["path"].dictionary_encode())
    for text in ("path == /a/cam2/y.avi", "*/cam1/*"):
        np.testing.assert_array_equal(parse_filter(text).allows(coded), parse_filter(text).allows(ROWS))


def test_all_filters_have_to_hold() -> None:
    filters = [parse_filter("*/cam1/*"), parse_filter("duration_seconds < 10")]
    np.testing.assert_array_equal(allowed_by(filters, ROWS), [True, False, False])
    assert allowed_by([], ROWS) is None


def test_an_empty_segment_is_filtered_too() -> None:
    assert parse_filter("*/cam1/*").allows(ROWS.slice(0, 0)).tolist() == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colour == red", "no column 'colour' to filter on; the table has path, duration_seconds"),
        ("duration_seconds < long", "duration_seconds is compared with a number, got 'long'"),
        ("path < 3", "path is string: it is compared with ==, != or ~, not with <"),
        ("has_audio == maybe", "has_audio is true or false, got 'maybe'"),
    ],
)
def test_a_filter_that_fits_no_column_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_filter(text).allows(ROWS)


@pytest.mark.parametrize("text", ["", "cam1", "duration_seconds <", "duration_seconds"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="COLUMN OP VALUE"):
        parse_filter(text)


def test_a_filter_is_plain_data() -> None:
    assert parse_filter(" fps  >= 25 ") == Filter("fps", ">=", "25")
