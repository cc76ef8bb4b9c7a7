"""The tables of a cohort (manifest, patients, lesions, boxes): columns, types, limits, and whether they agree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import pandera.pandas as pa

from cag.anatomy import ARTERIES, NO_STANDARD_VIEW, SEGMENTS, VIEWS, artery_of_segment
from cag.settings import ManifestError, write_atomically

TableName = Literal["data_manifest", "patients", "lesions", "boxes"]

SOURCES = ("simulated", "arcade", "cadica", "danilov", "dicom")
CORNERS = ["x1", "y1", "x2", "y2"]
SIDECARS: tuple[TableName, ...] = ("patients", "lesions", "boxes")

_TRUTH = {"True": True, "False": False, "true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
_CORRECT = "Correct this row and run again"


class Column(NamedTuple):
    """One column: its kind, what values it may take, and whether each row must have one or the column may be absent.

    ``whole`` numbers are int64 where every row must have one, else float64 with NaN; a ``flag`` may be missing
    (nullable boolean), a ``known_flag`` is False where it is not given. Missing values are not checked.
    """

    kind: Literal["text", "number", "whole", "flag", "known_flag"]
    check: Any = None
    need: Literal["filled", "there", "optional"] = "optional"


_angle = pa.Check.in_range(-180, 180)
_percent = pa.Check.in_range(0, 100)
_artery = pa.Check.isin(ARTERIES)
_segment = pa.Check.isin(list(SEGMENTS))
_count = Column("whole", pa.Check.ge(1), "filled")
_name = Column("text", None, "filled")
_flags = ("hypertension", "diabetes", "dyslipidemia", "smoker", "family_history", "previous_cva")

COLUMNS: dict[TableName, dict[str, Column]] = {
    "data_manifest": {
        **dict.fromkeys(("run_id", "patient_id", "path"), _name),
        "sha256": Column("text", pa.Check.str_matches(r"^[0-9a-f]{64}$"), "filled"),
        "source": Column("text", pa.Check.isin(SOURCES), "filled"),
        **dict.fromkeys(("n_frames", "rows", "columns"), _count),
        "fps": Column("number", pa.Check.gt(0), "there"),
        **dict.fromkeys(("primary_angle", "secondary_angle"), Column("number", _angle, "there")),
        "artery": Column("text", _artery, "there"),
        "view": Column("text", pa.Check.isin([*VIEWS, NO_STANDARD_VIEW]), "there"),
        **dict.fromkeys(("contrast_begin", "contrast_end"), Column("whole", pa.Check.ge(0), "there")),
        "end_censored": Column("known_flag", None, "there"),
        "fingerprint": Column("text"),
    },
    "patients": {
        "patient_id": _name,
        "sex": Column("text", pa.Check.isin(["M", "F"])),
        "age": Column("number", pa.Check.in_range(0, 120)),
        "race": Column("text"),
        "bmi": Column("number", pa.Check.in_range(5, 100)),
        **dict.fromkeys(_flags, Column("flag")),
        "low_quality": Column("known_flag"),
        "dominance": Column("text"),
        "set": Column("text", pa.Check.isin(["frame_train", "frame_test", "-"])),
    },
    "lesions": {
        "patient_id": _name,
        "artery": Column("text", _artery, "filled"),
        "segment": Column("whole", _segment, "filled"),
        "percent_stenosis": Column("number", _percent, "filled"),
        "length_mm": Column("number", pa.Check.gt(0)),
    },
    "boxes": {
        "run_id": _name,
        "frame": Column("whole", pa.Check.ge(0), "filled"),
        **dict.fromkeys(CORNERS, Column("number", None, "filled")),
        "segment": Column("whole", _segment),
        "percent_stenosis": Column("number", _percent),
        "foreshortening": Column("number", pa.Check.in_range(0, 1)),
    },
}
_UNIQUE: dict[TableName, str] = {"data_manifest": "run_id", "patients": "patient_id"}


def read_text(path: Path, needed: Iterable[str]) -> pd.DataFrame:
    """Any table that a person wrote, all cells text: column names in lower case, comma or semicolon between them.

    Raises
    ------
    ManifestError
        If it is no such file, or lacks a column that is needed.
    """
    if path.suffix.lower() in _SPREADSHEETS:
        remedy = "Save it as CSV in your spreadsheet program and give that file"
        raise ManifestError("is a spreadsheet, not a CSV file", file=path.name, remedy=remedy)
    try:
        with path.open(encoding="utf-8-sig") as file:
            separator = ";" if ";" in file.readline() else ","
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise ManifestError("no such table", file=path.name, remedy="Check the path, or build it first") from None
    except (OSError, ValueError) as error:
        problem = f"is not a readable table ({type(error).__name__})"
        remedy = f"Save it as CSV (UTF-8) with the columns {', '.join(needed)}"
        raise ManifestError(problem, file=path.name, remedy=remedy) from None
    table.columns = table.columns.str.strip().str.lower()
    _require(table, needed, path.name)
    return table


def load_table(path: Path, name: TableName) -> pd.DataFrame:
    """Read and check a table; the first thing wrong is one `ManifestError` with line and value."""
    text = read_text(path, _needed(name))
    return checked_table(text.mask(text == ""), name, file=path.name)


def save_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV, whole or not at all; whole numbers without a decimal point."""
    shown = table.copy()
    for column in shown.select_dtypes("float"):
        values = shown[column]
        if values.notna().any() and (values.dropna() % 1 == 0).all():
            shown[column] = values.astype("Int64")
    return write_atomically(path, lambda temporary: shown.to_csv(temporary, index=False, lineterminator="\n"))


def empty_table(name: TableName) -> pd.DataFrame:
    """A table of this kind without rows, its columns typed."""
    return checked_table(pd.DataFrame(columns=list(COLUMNS[name])), name)


def checked_table(table: pd.DataFrame, name: TableName, *, file: str | None = None) -> pd.DataFrame:
    """Give a table (typed, or all text) its columns and types, or refuse it by line and value (`ManifestError`).

    Optional columns that are missing come out empty; further columns are kept behind the known ones.
    """
    file, columns = file or f"{name}.csv", COLUMNS[name]
    _require(table, _needed(name), file)
    table = table.reset_index(drop=True)
    typed = {column: _typed(table.get(column), spec, len(table), file, column) for column, spec in columns.items()}
    result = pd.concat([pd.DataFrame(typed), table[[column for column in table if column not in columns]]], axis=1)
    limited = {name: pa.Column(checks=spec.check, nullable=True) for name, spec in columns.items() if spec.check}
    try:
        pa.DataFrameSchema(limited).validate(result, lazy=True)
    except pa.errors.SchemaErrors as error:
        first = error.failure_cases.iloc[0]
        wrong = pd.Series(result.index == first["index"])
        _refuse(wrong, result[first["column"]], f"breaks {first['check']}", file, first["column"])
    if unique := _UNIQUE.get(name):
        _refuse(result[unique].duplicated(), result[unique], "stands there twice", file, unique)
    return result


def _needed(name: TableName) -> list[str]:
    return [column for column, spec in COLUMNS[name].items() if spec.need != "optional"]


def _require(table: pd.DataFrame, needed: Iterable[str], file: str) -> None:
    for column in needed:
        if column not in table:
            remedy = f"Name the columns {', '.join(needed)} in the first line"
            raise ManifestError("this column is missing", file=file, field=column, remedy=remedy)


def _typed(values: pd.Series | None, spec: Column, length: int, file: str, column: str) -> pd.Series:
    """A column in its type; a value of another type is refused with its line."""
    if values is None:
        values = pd.Series([None] * length, dtype=object)
    missing = values.isna()

    def refuse(wrong: pd.Series, problem: str) -> None:
        _refuse(wrong, values, problem, file, column)

    if spec.need == "filled":
        refuse(missing, "is empty")
    if spec.kind == "text":
        return values.astype("str").where(~missing, np.nan).astype("str")
    if spec.kind in ("flag", "known_flag"):
        flags = values.astype("str").map(_TRUTH)
        refuse(flags.isna() & ~missing, "is neither True nor False")
        return flags.astype("boolean") if spec.kind == "flag" else flags.eq(True)
    numbers = pd.to_numeric(values.astype(object), errors="coerce").astype(float)
    refuse((numbers.isna() & ~missing) | np.isinf(numbers), "is not a number")
    if spec.kind == "whole":
        refuse((numbers % 1 != 0) & ~missing, "is not a whole number")
    return numbers.astype("int64") if spec.kind == "whole" and spec.need == "filled" else numbers


def _shown(value: Any) -> str:
    return "the cell" if pd.isna(value) else repr(value.item() if isinstance(value, np.generic) else value)


def _refuse(
    wrong: pd.Series, values: pd.Series, problem: str, file: str, field: str, show: Callable[[Any], str] = _shown
) -> None:
    """Refuse the first wrong row; lines count from the header, as an editor shows them."""
    if wrong.any():
        row = int(np.argmax(wrong))
        problem = f"line {row + 2}: {show(values.iloc[row])} {problem}"
        raise ManifestError(problem, file=file, field=field, remedy=_CORRECT)


@dataclass(frozen=True)
class CohortTables:
    """Manifest, patients, lesions and boxes of a cohort, each with its columns (`COLUMNS`).

    Every patient of the manifest has a row in ``patients``, empty where nothing is known.
    """

    manifest: pd.DataFrame
    patients: pd.DataFrame
    lesions: pd.DataFrame
    boxes: pd.DataFrame

    @classmethod
    def checked(
        cls,
        manifest: pd.DataFrame,
        patients: pd.DataFrame | None = None,
        lesions: pd.DataFrame | None = None,
        boxes: pd.DataFrame | None = None,
    ) -> CohortTables:
        """Give each table its types.

        Raises
        ------
        ManifestError
            If a value breaks a limit, a label is of an unknown run or patient, or an interval, lesion or box cannot be.
        """
        given = zip(SIDECARS, (patients, lesions, boxes), strict=True)
        side = [empty_table(name) if table is None else checked_table(table, name) for name, table in given]
        tables = cls(checked_table(manifest, "data_manifest"), *side)
        check_intervals(tables.manifest)
        for name, labels, known in (
            ("patients.csv", tables.patients.patient_id, tables.manifest.patient_id),
            ("lesions.csv", tables.lesions.patient_id, tables.manifest.patient_id),
            ("boxes.csv", tables.boxes.run_id, tables.manifest.run_id),
        ):
            _refuse(~labels.isin(set(known)), labels, "is not in the manifest", name, str(labels.name))
        wrong = tables.lesions.segment.map(artery_of_segment) != tables.lesions.artery
        problem = "has a lesion whose segment is not of its artery"
        _refuse(wrong, tables.lesions.patient_id, problem, "lesions.csv", "segment", str)
        _check_boxes(tables.boxes, tables.manifest)
        return replace(tables, patients=_every_patient(tables.patients, tables.manifest))

    @classmethod
    def load(cls, manifest_path: Path) -> CohortTables:
        """Load a manifest and its labels: beside it, or in the common folder of its runs, or between the two.

        Raises
        ------
        ManifestError
            As `checked`, and for a run outside the manifest's folder.
        """
        manifest = load_table(manifest_path, "data_manifest")
        for line, path in enumerate(manifest.path, start=2):
            inside(manifest_path, path, line)
        folders = _label_folders(manifest_path, manifest)
        places = {name: [folder / f"{name}.csv" for folder in folders] for name in SIDECARS}
        found = {name: next(filter(Path.is_file, files), None) for name, files in places.items()}
        return cls.checked(manifest, **{name: load_table(file, name) for name, file in found.items() if file})

    def save(self, manifest_path: Path, folder: Path | None = None) -> Path:
        """Write the manifest, and the other tables beside it or in ``folder``."""
        for name in SIDECARS:
            save_table(getattr(self, name), (folder or manifest_path.parent) / f"{name}.csv")
        return save_table(self.manifest, manifest_path)

    def subset(self, run_ids: set[str]) -> CohortTables:
        """These runs, their patients and their labels."""
        manifest = self.manifest[self.manifest.run_id.isin(run_ids)]
        people = [table[table.patient_id.isin(set(manifest.patient_id))] for table in (self.patients, self.lesions)]
        kept = (manifest, *people, self.boxes[self.boxes.run_id.isin(run_ids)])
        return CohortTables(*(table.reset_index(drop=True) for table in kept))


def inside(manifest_path: Path, path: str, line: int | None = None) -> Path:
    """The file a manifest's row names; a `ManifestError` when it lies outside its folder, links included."""
    folder = manifest_path.parent.resolve()
    resolved = (folder / path).resolve()
    if Path(path).is_absolute() or not resolved.is_relative_to(folder):
        where = f"line {line}: " if line else ""
        remedy = "Keep the manifest in a folder above its runs, and the runs in that folder"
        problem = f"{where}{path!r} lies outside the manifest's folder"
        raise ManifestError(problem, file=manifest_path.name, field="path", remedy=remedy)
    return resolved


def check_intervals(manifest: pd.DataFrame) -> None:
    """Refuse contrast intervals that are half given, reversed or longer than their run, by `ManifestError`."""
    begin, end, place = manifest.contrast_begin, manifest.contrast_end, ("data_manifest.csv", "contrast_end")
    _refuse(begin.isna() != end.isna(), manifest.run_id, "has only one end of its contrast interval", *place, str)
    _refuse((end < begin) | (end >= manifest.n_frames), manifest.run_id, "has no such contrast interval", *place, str)


def _check_boxes(boxes: pd.DataFrame, manifest: pd.DataFrame) -> None:
    """Refuse boxes of frames that do not exist, without area, or reaching outside the image."""
    runs = manifest.set_index("run_id").reindex(boxes.run_id).reset_index(drop=True)
    names, corners = boxes.run_id.astype(str) + ", frame " + boxes.frame.astype(str), ", ".join(CORNERS)
    outside = (boxes.x1 < 0) | (boxes.y1 < 0) | (boxes.x2 > runs["columns"]) | (boxes.y2 > runs["rows"])
    _refuse(boxes.frame >= runs.n_frames, names, "does not exist but has a box", "boxes.csv", "frame", str)
    _refuse((boxes.x2 <= boxes.x1) | (boxes.y2 <= boxes.y1), names, "has a box without area", "boxes.csv", corners, str)
    _refuse(outside, names, "has a box that reaches outside the image", "boxes.csv", corners, str)


def _every_patient(patients: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    missing = sorted(set(manifest.patient_id) - set(patients.patient_id))
    rows = checked_table(pd.DataFrame({"patient_id": missing}), "patients")
    joined = pd.concat([patients, rows], ignore_index=True) if missing else patients
    return joined.sort_values("patient_id", ignore_index=True)


def _label_folders(manifest_path: Path, manifest: pd.DataFrame) -> list[Path]:
    """The manifest's folder, then from the runs' common folder upwards to it."""
    top = manifest_path.parent
    parents = [os.path.dirname(path) for path in manifest.path]  # noqa: PTH120 (relative text, no file)
    common = Path(os.path.commonpath(parents)) if parents and all(parents) else Path()
    between = [top / common, *(top / parent for parent in common.parents)]
    return [top, *(folder for folder in between if folder != top)]
