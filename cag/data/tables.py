"""The tables of a cohort: manifest, patients, lesions, boxes; their columns, types and limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pandera.pandas as pa

from cag.anatomy import ARTERIES, NO_STANDARD_VIEW, SEGMENTS, VIEWS
from cag.settings import ManifestError, write_atomically

Kind = Literal["text", "number", "whole", "flag", "known_flag"]
TableName = Literal["data_manifest", "patients", "lesions", "boxes"]

SOURCES = ("simulated", "arcade", "cadica", "danilov", "dicom")
CORNERS = ["x1", "y1", "x2", "y2"]

_TRUTH = {"True": True, "False": False, "true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    kind : {'text', 'number', 'whole', 'flag', 'known_flag'}
        ``whole`` numbers are int64 where every row has one, else float64 with NaN; a ``flag`` may be
        missing (nullable boolean), a ``known_flag`` is False where it is not given.
    required : bool
        Whether the column must be there and filled in every row.
    check : pandera.Check, optional
        The values it may take; missing ones are not checked.
    must_exist : bool
        Whether the column must be there, even if it may be empty.
    """

    kind: Kind
    required: bool = False
    check: Any = None
    must_exist: bool = False


def _filled(kind: Kind, check: Any = None) -> Column:
    return Column(kind, required=True, check=check)


_percent = pa.Check.in_range(0, 100)
_artery = pa.Check.isin(ARTERIES)
_segment = pa.Check.isin(list(SEGMENTS))
_flags = ("hypertension", "diabetes", "dyslipidemia", "smoker", "family_history", "previous_cva")

COLUMNS: dict[TableName, dict[str, Column]] = {
    "data_manifest": {
        "run_id": _filled("text"),
        "patient_id": _filled("text"),
        "path": _filled("text"),
        "sha256": _filled("text", pa.Check.str_matches(r"^[0-9a-f]{64}$")),
        "source": _filled("text", pa.Check.isin(SOURCES)),
        "n_frames": _filled("whole", pa.Check.ge(1)),
        "rows": _filled("whole", pa.Check.ge(1)),
        "columns": _filled("whole", pa.Check.ge(1)),
        "fps": Column("number", check=pa.Check.gt(0), must_exist=True),
        "primary_angle": Column("number", check=pa.Check.in_range(-180, 180), must_exist=True),
        "secondary_angle": Column("number", check=pa.Check.in_range(-180, 180), must_exist=True),
        "artery": Column("text", check=_artery, must_exist=True),
        "view": Column("text", check=pa.Check.isin([*VIEWS, NO_STANDARD_VIEW]), must_exist=True),
        "contrast_begin": Column("whole", check=pa.Check.ge(0), must_exist=True),
        "contrast_end": Column("whole", check=pa.Check.ge(0), must_exist=True),
        "end_censored": Column("known_flag", must_exist=True),
        "fingerprint": Column("text"),
    },
    "patients": {
        "patient_id": _filled("text"),
        "sex": Column("text", check=pa.Check.isin(["M", "F"])),
        "age": Column("number", check=pa.Check.in_range(0, 120)),
        "race": Column("text"),
        "bmi": Column("number", check=pa.Check.in_range(5, 100)),
        **{name: Column("flag") for name in _flags},
        "low_quality": Column("known_flag"),
        "dominance": Column("text"),
        "set": Column("text", check=pa.Check.isin(["frame_train", "frame_test", "-"])),
    },
    "lesions": {
        "patient_id": _filled("text"),
        "artery": _filled("text", _artery),
        "segment": _filled("whole", _segment),
        "percent_stenosis": _filled("number", _percent),
        "length_mm": Column("number", check=pa.Check.gt(0)),
    },
    "boxes": {
        "run_id": _filled("text"),
        "frame": _filled("whole", pa.Check.ge(0)),
        **{corner: _filled("number") for corner in CORNERS},
        "segment": Column("whole", check=_segment),
        "percent_stenosis": Column("number", check=_percent),
        "foreshortening": Column("number", check=pa.Check.in_range(0, 1)),
    },
}
_UNIQUE: dict[TableName, str] = {"data_manifest": "run_id", "patients": "patient_id"}


def empty_table(name: TableName) -> pd.DataFrame:
    """A table of this kind without rows, its columns typed."""
    return checked_table(pd.DataFrame(columns=list(COLUMNS[name])), name)


def checked_table(table: pd.DataFrame, name: TableName, *, file: str | None = None) -> pd.DataFrame:
    """Give a table its columns and types, or refuse it by row and value.

    Optional columns that are missing come out empty; further columns are kept behind the known ones.

    Parameters
    ----------
    table : DataFrame
        Typed, or all text as read from a file.
    name : {'data_manifest', 'patients', 'lesions', 'boxes'}
    file : str, optional
        Name for messages, ``<name>.csv`` by default.

    Raises
    ------
    ManifestError
    """
    file = file or f"{name}.csv"
    columns = COLUMNS[name]
    for column, spec in columns.items():
        if column not in table and (spec.required or spec.must_exist):
            remedy = f"The columns are {', '.join(columns)}"
            raise ManifestError("this column is missing", file=file, field=column, remedy=remedy)
    table = table.reset_index(drop=True)
    typed = {column: _typed(table.get(column), spec, len(table), file, column) for column, spec in columns.items()}
    extra = [column for column in table if column not in columns]
    result = pd.concat([pd.DataFrame(typed), table[extra]], axis=1)
    _check_values(result, name, file)
    return result


def load_table(path: Path, name: TableName) -> pd.DataFrame:
    """Read and check a table; the first thing wrong is one sentence with row and value.

    Raises
    ------
    ManifestError
    """
    try:
        text = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise ManifestError("no such table", file=path.name, remedy="Check the path, or build it first") from None
    except (OSError, ValueError, pd.errors.ParserError) as error:
        problem = f"is not a readable table ({type(error).__name__})"
        remedy = "Save it as comma-separated text (UTF-8) with a header row"
        raise ManifestError(problem, file=path.name, remedy=remedy) from None
    return checked_table(text, name, file=path.name)


def save_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV, whole or not at all; whole numbers without a decimal point."""
    shown = table.copy()
    for column in shown.select_dtypes("float"):
        values = shown[column]
        if values.notna().any() and (values.dropna() % 1 == 0).all():
            shown[column] = values.astype("Int64")
    return write_atomically(path, lambda temporary: shown.to_csv(temporary, index=False, lineterminator="\n"))


def _typed(values: pd.Series | None, spec: Column, length: int, file: str, column: str) -> pd.Series:
    """A column in its type; a value of another type is refused with its line."""
    if values is None:
        values = pd.Series([None] * length, dtype=object)
    missing = values.isna()
    if spec.required and missing.any():
        raise _refusal("is empty", values, int(np.argmax(missing)), file, column)
    if spec.kind == "text":
        return values.astype("str").where(~missing, np.nan).astype("str")
    if spec.kind in ("flag", "known_flag"):
        flags = values.astype("str").map(_TRUTH)
        _refuse_first(flags.isna() & ~missing, "is neither True nor False", values, file, column)
        return flags.astype("boolean") if spec.kind == "flag" else flags.eq(True)
    numbers = pd.to_numeric(values.astype(object), errors="coerce").astype(float)
    _refuse_first((numbers.isna() & ~missing) | np.isinf(numbers), "is not a number", values, file, column)
    if spec.kind == "whole":
        _refuse_first((numbers % 1 != 0) & ~missing, "is not a whole number", values, file, column)
        return numbers.astype("int64") if spec.required else numbers
    return numbers


def _check_values(table: pd.DataFrame, name: TableName, file: str) -> None:
    """Limits of the values, by pandera; the first that breaks one is refused."""
    columns = {
        column: pa.Column(checks=spec.check, nullable=True) for column, spec in COLUMNS[name].items() if spec.check
    }
    try:
        pa.DataFrameSchema(columns).validate(table, lazy=True)
    except pa.errors.SchemaErrors as error:
        first = error.failure_cases.iloc[0]
        problem = f"breaks {first['check']}"
        raise _refusal(problem, table[first["column"]], int(first["index"]), file, first["column"]) from None
    if unique := _UNIQUE.get(name):
        _refuse_first(table[unique].duplicated(), "stands there twice", table[unique], file, unique)


def _refuse_first(wrong: pd.Series, problem: str, values: pd.Series, file: str, column: str) -> None:
    if wrong.any():
        raise _refusal(problem, values, int(np.argmax(wrong)), file, column)


def _refusal(problem: str, values: pd.Series, row: int, file: str, column: str) -> ManifestError:
    """The refusal of one value; the line counts from the header, as an editor shows it."""
    value = values.iloc[row]
    shown = "the cell" if pd.isna(value) else repr(value.item() if isinstance(value, np.generic) else value)
    return ManifestError(
        f"line {row + 2}: {shown} {problem}", file=file, field=column, remedy="Correct this row and run again"
    )
