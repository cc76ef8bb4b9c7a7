"""A hospital's QCA sheet into the study's lesion table: identifiers become pseudonyms, mistakes become sentences."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cag.anatomy import ARTERIES, SEGMENTS, Artery, artery_of_segment
from cag.data.pseudonyms import pseudonym
from cag.settings import ManifestError

COLUMNS = ("patient", "segment", "percent_stenosis")
#: Names of arteries that sheets use -> the injected artery. They may stand beside the segment, to check it.
_ARTERY_NAMES: dict[str, Artery] = {"LCA": "LCA", "LM": "LCA", "LAD": "LCA", "LCX": "LCA", "CX": "LCA", "RCA": "RCA"}
_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
#: What may be quoted from a cell: in a sheet whose columns slipped, anything else may be a name.
_HARMLESS = re.compile(r"[\d.,%<>+\- ]{0,8}")
_CORRECT = "Correct this row and run again"
_MAX_ID = 16


@dataclass(frozen=True)
class QcaSheet:
    """What became of a sheet.

    Attributes
    ----------
    lesions : DataFrame
        ``patient_id, artery, segment, percent_stenosis``; patients by pseudonym.
    notes : list of str
        What is missing although nothing is wrong.
    """

    lesions: pd.DataFrame
    notes: list[str]


def read_qca(path: Path, patients: Collection[str], key: bytes) -> QcaSheet:
    """Read a sheet with one row a lesion: ``patient, segment, percent_stenosis``, and ``artery`` if it likes.

    ``patient`` is the Patient ID of the DICOM files (0010,0020), ``segment`` a number of the 29-segment model,
    ``percent_stenosis`` 0 to 100; an artery without stenosis has one row with 0. Semicolons between the columns
    with commas in the numbers, as European spreadsheets write, are understood.

    Parameters
    ----------
    patients : pseudonyms of the patients who have runs
    key : secret of the pseudonyms

    Raises
    ------
    ManifestError
        By line, without an identifier: another form, an unknown patient, a value out of range, a repeated row.
    """
    table = _table(path)
    lines = range(2, len(table) + 2)
    rows = [_row(path, line, row, patients, key) for line, row in zip(lines, table.to_dict("records"), strict=True)]
    lesions = pd.DataFrame(rows, columns=["patient_id", "artery", "segment", "percent_stenosis"])
    _check_whole(path, lesions)
    return QcaSheet(lesions, _notes(lesions, patients))


def _table(path: Path) -> pd.DataFrame:
    """The sheet as text, its column names in lower case."""

    def refuse(problem: str, remedy: str, field: str | None = None) -> ManifestError:
        return ManifestError(problem, file=path.name, field=field, remedy=remedy)

    if path.suffix.lower() in _SPREADSHEETS:
        raise refuse(
            "is a spreadsheet, not a CSV file", "Save it as CSV in your spreadsheet program and give that file"
        )
    try:
        with path.open(encoding="utf-8-sig") as file:
            separator = ";" if ";" in file.readline() else ","
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        problem = f"is not a readable table ({type(error).__name__})"
        raise refuse(problem, f"Save it as CSV (UTF-8) with the columns {', '.join(COLUMNS)}") from None
    table.columns = table.columns.str.strip().str.lower()
    for column in COLUMNS:
        if column not in table:
            remedy = f"Name the columns {', '.join(COLUMNS)} in the first line"
            raise refuse("this column is missing", remedy, column)
    if table.empty:
        raise refuse("holds no lesion", "Add a row for each lesion, and one with 0 for each artery without any")
    return table


def _row(
    path: Path, line: int, row: Mapping[Hashable, str], patients: Collection[str], key: bytes
) -> tuple[str, Artery, int, float]:
    patient = _patient(path, line, row["patient"].strip(), patients, key)
    segment = _segment(path, line, row["segment"])
    artery, named = artery_of_segment(segment), row.get("artery", "").strip().upper()
    if named and _ARTERY_NAMES.get(named) != artery:
        known = named if named in _ARTERY_NAMES else "an unknown artery"
        problem = f"line {line}: segment {segment} belongs to the {artery}, and the row says {known}"
        raise ManifestError(problem, file=path.name, field="artery", remedy=_CORRECT)
    return patient, artery, segment, _percent(path, line, row["percent_stenosis"])


def _patient(path: Path, line: int, name: str, patients: Collection[str], key: bytes) -> str:
    found = pseudonym(name, "patient", key)
    if not name:
        raise ManifestError(f"line {line}: is empty", file=path.name, field="patient", remedy=_CORRECT)
    if found in patients:
        return found
    remedy = "Write it as in Patient ID (0010,0020) of the files, or remove the row"
    if name.isdigit() and any(
        pseudonym(name.zfill(size), "patient", key) in patients for size in range(len(name), _MAX_ID)
    ):
        remedy = "Its leading zeros are lost: format the column as text before you save the sheet"
    problem = f"line {line}: no run in the folder is of this patient"
    raise ManifestError(problem, file=path.name, field="patient", remedy=remedy)


def _segment(path: Path, line: int, text: str) -> int:
    number = text.strip().removesuffix(".0")
    if not number.isdigit() or int(number) not in SEGMENTS:
        problem = f"line {line}: {_quoted(text)} is no segment from {min(SEGMENTS)} to {max(SEGMENTS)}"
        remedy = "Use the numbers of the 29-segment model, which the glossary lists"
        raise ManifestError(problem, file=path.name, field="segment", remedy=remedy)
    return int(number)


def _percent(path: Path, line: int, text: str) -> float:
    try:
        value = float(text.strip().removesuffix("%").strip().replace(",", "."))
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 100:
        problem = f"line {line}: {_quoted(text)} is no percentage from 0 to 100"
        remedy = "Write one number, such as 70; for a range or a sign take the measured value"
        raise ManifestError(problem, file=path.name, field="percent_stenosis", remedy=remedy)
    return value


def _quoted(text: str) -> str:
    return repr(text.strip()) if _HARMLESS.fullmatch(text.strip()) else "this cell"


def _check_whole(path: Path, lesions: pd.DataFrame) -> None:
    """Refuse repeated rows, and a sheet that writes fractions."""
    twice = lesions.duplicated()
    if twice.any():
        line = int(twice.to_numpy().argmax()) + 2
        problem = f"line {line}: repeats a row above it"
        raise ManifestError(problem, file=path.name, field="segment", remedy="Remove it, or correct its segment")
    percent = lesions.percent_stenosis
    if percent.max() > 0 and percent.max() <= 1:
        problem = "no value is larger than 1, so these are fractions"
        remedy = "Write percent: 70, not 0.7"
        raise ManifestError(problem, file=path.name, field="percent_stenosis", remedy=remedy)


def _notes(lesions: pd.DataFrame, patients: Collection[str]) -> list[str]:
    silent = set(patients) - set(lesions.patient_id)
    pairs = set(zip(lesions.patient_id, lesions.artery, strict=True))
    halves = [patient for patient in lesions.patient_id.unique() if any((patient, a) not in pairs for a in ARTERIES)]
    notes = []
    if silent:
        text = (
            "patients with runs have no row, so nothing is known of them; add rows with 0 for arteries without stenosis"
        )
        notes.append(f"{len(silent)} {text}")
    if halves:
        notes.append(f"{len(halves)} patients have rows for one artery only; the other counts as without stenosis")
    return notes
