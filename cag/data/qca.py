"""A hospital's QCA sheet into the study's lesion table: identifiers become pseudonyms, mistakes become sentences."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from cag.anatomy import ARTERIES, SEGMENTS, Artery, artery_of_segment
from cag.data.pseudonyms import pseudonym
from cag.data.tables import read_text
from cag.settings import ManifestError

#: Names of arteries that sheets use -> the injected artery. They may stand beside the segment, to check it.
_ARTERY_NAMES: dict[str, Artery] = {"LCA": "LCA", "LM": "LCA", "LAD": "LCA", "LCX": "LCA", "CX": "LCA", "RCA": "RCA"}
#: What may be quoted from a cell: in a sheet whose columns slipped, anything else may be a name.
_HARMLESS = re.compile(r"[\d.,%<>+\- ]{0,8}")
_MAX_ID = 16


def read_qca(path: Path, patients: Collection[str], key: bytes) -> tuple[pd.DataFrame, list[str]]:
    """Read a sheet with one row a lesion: ``patient, segment, percent_stenosis``, and ``artery`` if it likes.

    ``patient`` is the Patient ID of the DICOM files (0010,0020), ``segment`` a number of the 29-segment model,
    ``percent_stenosis`` 0 to 100; an artery without stenosis has one row with 0. Semicolons between the columns
    with commas in the numbers, as European spreadsheets write, are understood.

    Parameters
    ----------
    patients : pseudonyms of the patients who have runs
    key : secret of the pseudonyms

    Returns
    -------
    lesions, notes
        ``patient_id`` (pseudonym), ``artery, segment, percent_stenosis``; what is missing although nothing is wrong.

    Raises
    ------
    ManifestError
        By line, without an identifier: another form, an unknown patient, a value out of range, a repeated row.
    """
    table = read_text(path, ("patient", "segment", "percent_stenosis"))
    if table.empty:
        remedy = "Add a row for each lesion, and one with 0 for each artery without any"
        raise ManifestError("holds no lesion", file=path.name, remedy=remedy)
    rows = [_Row(path, line, row).lesion(patients, key) for line, row in enumerate(table.to_dict("records"), start=2)]
    lesions = pd.DataFrame(rows, columns=["patient_id", "artery", "segment", "percent_stenosis"])
    twice, percent = lesions.duplicated(), lesions.percent_stenosis
    if twice.any():
        problem = f"line {int(twice.to_numpy().argmax()) + 2}: repeats a row above it"
        raise ManifestError(problem, file=path.name, field="segment", remedy="Remove it, or correct its segment")
    if 0 < percent.max() <= 1:
        problem = "no value is larger than 1, so these are fractions"
        raise ManifestError(problem, file=path.name, field=str(percent.name), remedy="Write percent: 70, not 0.7")
    return lesions, _notes(lesions, patients)


class _Row(NamedTuple):
    """One line of a sheet."""

    path: Path
    line: int
    cells: Mapping[Any, str]

    def lesion(self, patients: Collection[str], key: bytes) -> tuple[str, Artery, int, float]:
        """Pseudonym, artery, segment and percent stenosis, each checked."""
        patient, segment = self._patient(patients, key), self._segment()
        artery, named = artery_of_segment(segment), self.cells.get("artery", "").strip().upper()
        if named and _ARTERY_NAMES.get(named) != artery:
            known = named if named in _ARTERY_NAMES else "an unknown artery"
            raise self._refusal("artery", f"segment {segment} belongs to the {artery}, and the row says {known}")
        return patient, artery, segment, self._percent()

    def _patient(self, patients: Collection[str], key: bytes) -> str:
        name = self.cells["patient"].strip()
        padded = [name.zfill(size) for size in range(len(name), _MAX_ID)] if name.isdigit() else []
        found = [pseudonym(text, "patient", key) for text in (name, *padded)]
        if not name:
            raise self._refusal("patient", "is empty")
        if found[0] in patients:
            return found[0]
        remedy = "Write it as in Patient ID (0010,0020) of the files, or remove the row"
        if any(text in patients for text in found):
            remedy = "Its leading zeros are lost: format the column as text before you save the sheet"
        raise self._refusal("patient", "no run in the folder is of this patient", remedy)

    def _segment(self) -> int:
        number = self.cells["segment"].strip().removesuffix(".0")
        if not number.isdigit() or int(number) not in SEGMENTS:
            problem = f"{self._quoted('segment')} is no segment from {min(SEGMENTS)} to {max(SEGMENTS)}"
            raise self._refusal("segment", problem, "Use the numbers of the 29-segment model, which the glossary lists")
        return int(number)

    def _percent(self) -> float:
        try:
            value = float(self.cells["percent_stenosis"].strip().removesuffix("%").strip().replace(",", "."))
        except ValueError:
            value = float("nan")
        if not 0 <= value <= 100:
            problem = f"{self._quoted('percent_stenosis')} is no percentage from 0 to 100"
            remedy = "Write one number, such as 70; for a range or a sign take the measured value"
            raise self._refusal("percent_stenosis", problem, remedy)
        return value

    def _quoted(self, column: str) -> str:
        text = self.cells[column].strip()
        return repr(text) if _HARMLESS.fullmatch(text) else "this cell"

    def _refusal(self, column: str, problem: str, remedy: str = "Correct this row and run again") -> ManifestError:
        return ManifestError(f"line {self.line}: {problem}", file=self.path.name, field=column, remedy=remedy)


def _notes(lesions: pd.DataFrame, patients: Collection[str]) -> list[str]:
    silent = len(set(patients) - set(lesions.patient_id))
    halves = int((lesions.groupby("patient_id").artery.nunique() < len(ARTERIES)).sum())
    notes = {
        "patients with runs have no row, so nothing is known of them; "
        "add rows with 0 for arteries without stenosis": silent,
        "patients have rows for one artery only; the other counts as without stenosis": halves,
    }
    return [f"{count} {text}" for text, count in notes.items() if count]
