"""The tables of a cohort (manifest, patients, lesions, boxes): columns, types, limits, and whether they agree."""

import csv
import difflib
import io
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
import pandera.pandas as pa
from openpyxl import load_workbook

from cag.anatomy import ARTERIES, NO_STANDARD_VIEW, SEGMENTS, VIEWS, artery_of_segment
from cag.metrics.boxes import CORNERS as CORNERS
from cag.settings import ManifestError, unescaped, write_atomically

TableName = Literal["data_manifest", "patients", "lesions", "boxes"]
_Labels = pd.DataFrame | None

#: Where runs come from, and what they show, as a piece of a sentence.
_REAL = {"arcade": "ARCADE", "cadica": "CADICA", "danilov": "Danilov et al.", "dicom": "DICOM files"}
SOURCES = {name: f"real angiograms ({of})" for name, of in _REAL.items()} | {"simulated": "simulated patients"}
SIDECARS: tuple[TableName, ...] = ("patients", "lesions", "boxes")

_TRUTH = {"True": True, "False": False, "true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
_MAX_CELLS = 2**18  #: Of a sheet of Excel; one blank cell at its very end would take a minute and a gigabyte.
_CORRECT = "Correct this row and run again"
BETWEEN = "|"  #: What stands between the files of a run of single frames in a manifest's column ``path``.

_whole = pa.Check(lambda values: values % 1 == 0, error="is not a whole number")
_KINDS = {"text": "str", "whole": "float64", "number": "float64", "flag": "boolean"}
_WORDS: dict[str, pa.Check] = {
    **{"sha256": pa.Check.str_matches(r"^[0-9a-f]{64}$"), "segments": pa.Check.isin(list(SEGMENTS))},
    **{"sources": pa.Check.isin(list(SOURCES)), "arteries": pa.Check.isin(ARTERIES)},
    "views": pa.Check.isin([*VIEWS, NO_STANDARD_VIEW]),
}


def _column(kind: str, use: str, low: str, high: str, words: str) -> pa.Column:
    """A column's values: their kind, whether each row must fill it, once only, or empty means false, and limits."""
    checks = [_whole] * (kind == "whole")
    if words:
        checks.append(_WORDS.get(words) or pa.Check.isin(words.split("|")))
    if low:
        checks.append(pa.Check.in_range(float(low), float(high)) if high else pa.Check.ge(float(low)))
    more: dict[str, Any] = {
        "unique": use == "key",
        "report_duplicates": "exclude_first",
        "default": False if use == "false" else None,
    }
    return pa.Column(_KINDS[kind], checks, nullable=use not in ("key", "filled"), coerce=True, **more)


#: Columns of each table; whole numbers that may be missing become float, and a flag with a default is never missing.
COLUMNS: dict[TableName, dict[str, pa.Column]] = {"data_manifest": {}, "patients": {}, "lesions": {}, "boxes": {}}
with Path(__file__).with_name("columns.csv").open(encoding="utf-8") as _file:
    for _table, _name, *_told in list(csv.reader(_file))[1:]:
        COLUMNS[_table][_name] = _column(*_told)  # type: ignore[index]
#: What a failed check of pandera is called.
_PROBLEMS = {
    **{"not_nullable": "is empty", "field_uniqueness": "stands there twice", str(_whole.error): str(_whole.error)},
    **{"coerce_dtype('float64')": "is not a number", "coerce_dtype('boolean')": "is neither True nor False"},
    **{"isin": "is none of", "greater_than_or_equal_to": "is below", "in_range": "is not within"},
}


def read_text(path: Path, needed: Iterable[str], optional: Iterable[str] = ()) -> pd.DataFrame:
    """Any table that a person wrote, CSV or Excel, as text without blanks; its index counts lines from the second."""
    try:
        raw = path.read_bytes()
        found = _workbook_lines(path, raw) if raw.startswith(b"PK") else {"": _text_lines(raw)}
    except FileNotFoundError:
        raise ManifestError("no such table", file=path.name, remedy="Check the path, or build it first") from None
    except ManifestError:
        raise
    except Exception as error:  # the libraries raise nearly every built-in exception on broken files
        problem, columns = f"is not a readable table ({type(error).__name__})", ", ".join(needed or optional)
        remedy = f"Save it as Excel workbook (.xlsx), or as CSV (UTF-8), with the columns {columns}"
        raise ManifestError(problem, file=path.name, remedy=remedy) from None
    sheets = {title: own for title, lines in found.items() if (own := _columns_and_rows(lines))[0]} or {"": ([], {})}
    fitting = {title: own for title, own in sheets.items() if needed and set(needed) <= set(own[0])}
    chosen, shown = sheets if len(sheets) == 1 else fitting, ", ".join(map(repr, sheets))
    if len(chosen) != 1:
        remedy = f"Keep one, or the columns {', '.join(needed)} in one" if needed else "Keep one"
        raise ManifestError(f"holds {len(sheets)} sheets, {shown}", file=path.name, remedy=remedy)
    ((sheet, (names, rows)),) = chosen.items()
    _check_names(names, needed, optional, path.name)
    for line, cells in rows.items():
        if any(cells[len(names) :]):
            remedy = "Put a number with a decimal comma in quotes, or save with semicolons or as Excel workbook"
            raise Row(path.name, line, {}).refusal(None, f"has {len(cells)} cells for {len(names)} columns", remedy)
    padded = [[*cells[: len(names)], *[""] * (len(names) - len(cells))] for cells in rows.values()]
    table = pd.DataFrame(padded, columns=names, index=[line - 2 for line in rows], dtype=str)
    table.attrs["note"] = f"{path.name}: of its sheets {shown}, {sheet!r} is read." * (len(sheets) > 1)
    return table


def _columns_and_rows(lines: list[tuple[int, list[str]]]) -> tuple[list[str], dict[int, list[str]]]:
    """Column names, from the first line that is not blank, and the cells of the others by the line's number."""
    cleaned = ((line, [unicodedata.normalize("NFC", cell.strip()) for cell in cells]) for line, cells in lines)
    rows = {line: cells for line, cells in cleaned if any(cells)}
    names = [re.sub(r"[\s-]+", "_", name.lower()) for name in rows.pop(min(rows, default=0), [])]
    width = max((place for place, name in enumerate(names, start=1) if name), default=0)
    return [name or f"column_{place}" for place, name in enumerate(names[:width], start=1)], rows


def _text_lines(raw: bytes) -> list[tuple[int, list[str]]]:
    """Line number and cells of a text file; ``sep=;`` in the first line says the separator, else its most frequent."""
    try:
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252")  # what Excel writes in western Europe
    if "\0" in text:
        raise ValueError("a binary file")
    said = re.match(r'"?sep=(.)"?\r?\n', text, re.IGNORECASE)
    separator = said[1] if said else max(",;\t|", key=text.lstrip().partition("\n")[0].count)
    csv.field_size_limit(2**24)  # a run of single frames names each
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    return [(reader.line_num, cells) for cells in reader][1 if said else 0 :]


def _workbook_lines(path: Path, raw: bytes) -> dict[str, list[tuple[int, list[str]]]]:
    """Line number and cells of each sheet of an Excel workbook; merged cells each have the value."""
    book, formulas = (load_workbook(io.BytesIO(raw), data_only=only) for only in (True, False))
    found = {}
    for sheet in book.worksheets:
        if sheet.max_row * sheet.max_column > _MAX_CELLS:
            problem = f"sheet {sheet.title!r} has {sheet.max_row} rows and {sheet.max_column} columns"
            raise ManifestError(problem, file=path.name, remedy="Delete the empty ones around its table")
        cells, meanings = (chain.from_iterable(own.iter_rows()) for own in (sheet, formulas[sheet.title]))
        for cell, meant in zip(cells, meanings, strict=True):
            if meant.data_type == "f" and cell.value is None and cell.data_type == "n":  # an empty text is "str"
                problem, remedy = "holds a formula without its value", "Open the workbook in Excel and save it"
                raise Row(path.name, cell.row or 0, {}).refusal(None, f"{meant.coordinate} {problem}", remedy)
        texts = [[_cell_text(cell) for cell in row] for row in sheet.iter_rows()]
        for area in sheet.merged_cells.ranges:
            for row, column in area.cells:
                texts[row - 1][column - 1] = texts[area.min_row - 1][area.min_col - 1]
        found[sheet.title] = list(enumerate(texts, start=1))
    return found


def _cell_text(cell: Any) -> str:
    """What a cell of Excel shows, with all its digits."""
    if isinstance(cell.value, float) or ("%" in str(cell.number_format) and isinstance(cell.value, int)):
        percent = "%" in cell.number_format
        return f"{cell.value * (100 if percent else 1):.12g}" + "%" * percent
    return "" if cell.value is None else str(cell.value)


def _check_names(names: list[str], needed: Iterable[str], optional: Iterable[str], file: str) -> None:
    """Refuse columns that are there twice, misspelled, or missing."""
    absent = [name for name in (*needed, *optional) if name not in names]
    for name in names:
        if names.count(name) > 1:
            raise ManifestError("two columns have this name", file=file, field=name, remedy="Rename or remove one")
        close = difflib.get_close_matches(name, absent, n=1) if name not in (*needed, *optional) else []
        if close:
            remedy = f"Write {close[0]!r}, or rename it if it is something else"
            raise ManifestError("no such column", file=file, field=name, remedy=remedy)
    for name in needed:
        if name not in names:
            remedy = f"Name the columns {', '.join(needed)} in the first line"
            raise ManifestError("this column is missing", file=file, field=name, remedy=remedy)


class Row(NamedTuple):
    """One line of a table that a person wrote: its cells by column, and what is to be known of the table."""

    file: str
    line: int
    cells: dict[str, str]
    note: str = ""

    def refusal(self, column: str | None, problem: str, remedy: str = _CORRECT) -> ManifestError:
        """The error that names this line."""
        return ManifestError(f"line {self.line}: {problem}", file=self.file, field=column, remedy=remedy)

    def number(self, column: str) -> int | None:
        """The whole number that a cell holds, as spreadsheets may write it (3.0); None where it is none."""
        found = re.fullmatch(r"([0-9]{1,9})([.,]0+)?", self.cells.get(column, ""))
        return int(found[1]) if found else None

    def notes(self, *used: str) -> list[str]:
        """What is to be known of its table: which sheet is read, and which columns nothing reads."""
        names = ", ".join(name for name in self.cells if name not in used)
        return [
            *[self.note] * bool(self.note),
            *[f"{self.file}: of its columns, these are not used: {names}."] * bool(names),
        ]


def read_rows(path: Path, needed: Iterable[str], optional: Iterable[str] = ()) -> list[Row]:
    """The lines of a table that a person wrote; see `read_text`."""
    table = read_text(path, needed, optional)
    names, note = [str(name) for name in table], table.attrs["note"]
    rows = table.itertuples(name=None)
    return [Row(path.name, line + 2, dict(zip(names, row, strict=True)), note) for line, *row in rows]


def load_table(path: Path, name: TableName) -> pd.DataFrame:
    """Read and check a table; the first thing wrong is one `ManifestError` with line and value."""
    text = read_text(path, (), COLUMNS[name])
    for column, spec in COLUMNS[name].items():
        if column in text and "float" in str(spec.dtype):
            text[column] = text[column].str.replace(",", ".")
    return checked_table(text.mask(text == ""), name, file=path.name)


def save_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV, whole or not at all; whole numbers without a decimal point."""
    floats = table.select_dtypes("float").dropna(axis="columns", how="all").fillna(0)
    whole = dict.fromkeys(floats.columns[(floats % 1 == 0).all()], "Int64")
    return write_atomically(path, partial(table.astype(whole).to_csv, index=False, lineterminator="\n"))


def checked_table(table: pd.DataFrame, name: TableName, *, file: str | None = None) -> pd.DataFrame:
    """Give a table, typed or all text, its columns and types, or refuse it by line and value (`ManifestError`)."""
    columns, table = COLUMNS[name], table if file else table.reset_index(drop=True)
    file = file or f"{name}.csv"
    _check_names(list(map(str, table)), [column for column, spec in columns.items() if not spec.nullable], (), file)
    table = table.reindex(columns=list(dict.fromkeys([*columns, *table])))
    for flag in (column for column, spec in columns.items() if str(spec.dtype) == "boolean"):
        table[flag] = table[flag].map(lambda value: _TRUTH.get(str(value), value)).astype(object)
    try:
        typed = pa.DataFrameSchema(columns).validate(table, lazy=True)
    except pa.errors.SchemaErrors as error:
        first = error.failure_cases.dropna(subset=["index"]).iloc[0]
        check, _, limits = str(first["check"]).partition("(")
        problem = _PROBLEMS.get(first["check"]) or f"{_PROBLEMS.get(check, 'breaks')} {limits.strip('[])')}"
        _refuse(pd.Series(table.index == first["index"]), table[first["column"]], problem, file, first["column"])
    whole = {column: "int64" for column, spec in columns.items() if not spec.nullable and _whole in spec.checks}
    typed = typed.reset_index(drop=True)
    return typed.astype(whole | {column: "bool" for column, spec in columns.items() if spec.default is not None})


def _refuse(wrong: pd.Series, values: pd.Series, problem: str, file: str, field: str) -> None:
    """Refuse the first wrong row; lines count from the header, as an editor shows them."""
    if wrong.any():
        row = int(np.argmax(wrong))
        shown = "the cell" if pd.isna(value := values.iloc[row]) else repr(getattr(value, "item", lambda: value)())
        raise Row(file, int(values.index[row]) + 2, {}).refusal(field, f"{shown} {problem}")


@dataclass(frozen=True)
class CohortTables:
    """Manifest, patients, lesions and boxes of a cohort, each with its columns (`COLUMNS`)."""

    manifest: pd.DataFrame
    patients: pd.DataFrame  #: A row for every patient of the manifest, empty where nothing is known.
    lesions: pd.DataFrame
    boxes: pd.DataFrame

    @classmethod
    def checked(
        cls, manifest: pd.DataFrame, patients: _Labels = None, lesions: _Labels = None, boxes: _Labels = None
    ) -> Self:
        """Give each table its types, or refuse by `ManifestError` what breaks a limit or fits no run."""
        manifest = checked_table(manifest, "data_manifest")
        begin, end, place = manifest.contrast_begin, manifest.contrast_end, ("data_manifest.csv", "contrast_end")
        half, wrong = begin.isna() != end.isna(), (end < begin) | (end >= manifest.n_frames)
        _refuse(half, manifest.run_id, "has only one end of its contrast interval", *place)
        _refuse(wrong, manifest.run_id, "has no such contrast interval", *place)
        patients, lesions, boxes = (
            checked_table(pd.DataFrame(columns=list(COLUMNS[name])) if table is None else table, name)
            for name, table in zip(SIDECARS, (patients, lesions, boxes), strict=True)
        )
        for name, labels in zip(SIDECARS, (patients.patient_id, lesions.patient_id, boxes.run_id), strict=True):
            unknown = ~labels.isin(manifest[labels.name])
            _refuse(unknown, labels, "is not in the manifest", f"{name}.csv", str(labels.name))
        wrong = lesions.segment.map(artery_of_segment) != lesions.artery
        problem = "has a lesion whose segment is not of its artery"
        _refuse(wrong, lesions.patient_id, problem, "lesions.csv", "segment")
        runs, corners = manifest.set_index("run_id").reindex(boxes.run_id).reset_index(drop=True), ", ".join(CORNERS)
        outside = (boxes[["x1", "y1"]] < 0).any(axis=1) | (boxes.x2 > runs["columns"]) | (boxes.y2 > runs["rows"])
        for wrong, problem, column in (
            (boxes.frame >= runs.n_frames, "does not exist but has a box", "frame"),
            ((boxes.x2 <= boxes.x1) | (boxes.y2 <= boxes.y1), "has a box without area", corners),
            (outside, "has a box that reaches outside the image", corners),
        ):
            _refuse(wrong, boxes.run_id + ", frame " + boxes.frame.astype("str"), problem, "boxes.csv", column)
        if missing := sorted(set(manifest.patient_id) - set(patients.patient_id)):
            more = checked_table(pd.DataFrame({"patient_id": missing}), "patients")
            patients = pd.concat([patients, more], ignore_index=True)
        return cls(manifest, patients.sort_values("patient_id", ignore_index=True), lesions, boxes)

    @classmethod
    def load(cls, manifest_path: Path) -> Self:
        """Load a manifest and its labels, beside it or in a folder between it and its first run (see `checked`)."""
        manifest, top = load_table(manifest_path, "data_manifest"), manifest_path.parent
        for path in manifest.path:
            run_files(manifest_path, path)
        folders = [top, *(top / folder for path in manifest.path[:1] for folder in Path(path).parents)]
        places = {name: [folder / f"{name}.csv" for folder in folders] for name in SIDECARS}
        found = {name: next(filter(Path.is_file, files), None) for name, files in places.items()}
        return cls.checked(manifest, **{name: load_table(file, name) for name, file in found.items() if file})

    def save(self, manifest_path: Path, folder: Path | None = None) -> Path:
        """Write the manifest, and the other tables beside it or in ``folder``."""
        for name in SIDECARS:
            save_table(getattr(self, name), (folder or manifest_path.parent) / f"{name}.csv")
        return save_table(self.manifest, manifest_path)


def run_files(manifest_path: Path, path: str) -> list[Path]:
    """The files of a manifest's row, most often one; see `inside`."""
    return [inside(manifest_path, one) for one in path.split(BETWEEN)]


def inside(manifest_path: Path, path: str) -> Path:
    """The file a manifest's row names; a `ManifestError` when it lies outside its folder, links included."""
    folder = manifest_path.parent.resolve()
    resolved = (folder / (path := unescaped(path))).resolve()
    long = any(len(os.fsencode(part)) > 255 for part in resolved.parts)
    if long or Path(path).is_absolute() or not resolved.is_relative_to(folder):
        remedy = "Keep the manifest in a folder above its runs, and the runs in that folder"
        why = "is too long" if long else "lies outside the manifest's folder"
        problem = f"{path[:80]!r} {why}"
        raise ManifestError(problem, file=manifest_path.name, field="path", remedy=remedy)
    return resolved
