"""Which rows are searched: conditions on table columns, as `duration_seconds < 30`, and globs of paths."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tristream.streams.errors import UsageError

_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|==|!=|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
    "==": pc.equal,
    "!=": pc.not_equal,
}
_ORDER = {"<", "<=", ">", ">="}
_TRUTH = {"true": True, "false": False}
HOW = "a filter is COLUMN OP VALUE with < <= > >= == != or ~ (a glob), or a glob of paths"


@dataclass(frozen=True)
class Filter:
    """One condition: a column of the table, an operator, and the value as it was written."""

    column: str
    operator: str
    value: str

    def allows(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Which rows (N,) it holds for; it holds for none without a value.

        Raises:
            UsageError: the rows have no such column, or the value or operator is not for its type.
        """
        if self.column not in rows.column_names:
            raise UsageError(f"no column {self.column!r} to filter on; the table has {', '.join(rows.column_names)}")
        column = rows[self.column]
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        found = self._globbed(column) if self.operator == "~" else self._compared(column, kind)
        allowed: NDArray[np.bool_] = pc.fill_null(found, False).to_numpy(zero_copy_only=False).astype(bool)
        return allowed

    def _compared(self, column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
        if self.operator in _ORDER and not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise UsageError(f"{self.column} is {kind}: it is compared with ==, != or ~, not with {self.operator}")
        if pa.types.is_dictionary(column.type):
            column = column.cast(kind)
        return _COMPARE[self.operator](column, pa.scalar(self._typed(kind)))

    def _typed(self, kind: pa.DataType) -> Any:
        if pa.types.is_string(kind):
            return self.value
        if pa.types.is_boolean(kind):
            if self.value.lower() not in _TRUTH:
                raise UsageError(f"{self.column} is true or false, got {self.value!r}")
            return _TRUTH[self.value.lower()]
        try:
            return float(self.value)
        except ValueError:
            raise UsageError(f"{self.column} is compared with a number, got {self.value!r}") from None

    def _globbed(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Which values match the glob; each is looked at once, as a video's windows have the same path."""
        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.string()).dictionary_encode()
        matches = re.compile(translate(self.value)).match
        chunks = []
        for chunk in column.chunks:
            texts = chunk.dictionary.to_pylist()
            fit = pa.array([text is not None and matches(text) is not None for text in texts], pa.bool_())
            chunks.append(fit.take(chunk.indices))
        return pa.chunked_array(chunks, pa.bool_())


def parse_filter(text: str) -> Filter:
    """A filter as it is written: `duration_seconds < 30`, `path ~ */cam1/*`, or `*/cam1/*`.

    Raises:
        UsageError: it is neither a condition nor a glob.
    """
    if (found := _CONDITION.fullmatch(text)) is not None:
        column, sign, value = found.groups()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        elif not value:
            raise UsageError(f"--filter {text!r} has no value; {HOW}")
        return Filter(column, "==" if sign == "=" else sign, value)
    if any(sign in text for sign in "*?["):
        return Filter("path", "~", text)
    raise UsageError(f"--filter {text!r} is no condition; {HOW}")


def allowed_by(filters: Sequence[Filter], rows: pa.Table) -> NDArray[np.bool_] | None:
    """Which rows (N,) all filters hold for; None where there are no filters.

    Raises:
        UsageError: as `Filter.allows`.
    """
    return np.logical_and.reduce([each.allows(rows) for each in filters]) if filters else None
