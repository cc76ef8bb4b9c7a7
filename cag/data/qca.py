"""A hospital's QCA sheet into the study's lesion table: identifiers become pseudonyms, mistakes become sentences."""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from cag.anatomy import ARTERIES, SEGMENTS, Artery, artery_of_segment
from cag.data.pseudonyms import pseudonym
from cag.data.tables import Row, read_rows
from cag.settings import ManifestError, quotable

#: Names of arteries that sheets use -> the injected artery. They may stand beside the segment, to check it.
_ARTERY_NAMES: dict[str, Artery] = dict.fromkeys(("LCA", "LM", "LMCA", "LAD", "RIVA", "LCX", "CX", "RCX"), "LCA")
_ARTERY_NAMES |= {"RCA": "RCA", "ACD": "RCA"}
_NEEDED, _MAX_ID = ("patient", "segment", "percent_stenosis"), 16


def read_qca(path: Path, patients: Collection[str], key: bytes) -> tuple[pd.DataFrame, list[str]]:
    """Read a sheet with one row a lesion: ``patient, segment, percent_stenosis``, and ``artery`` if it likes.

    ``patients`` are the pseudonyms of those who have runs. Returned are lesions, and what is missing but not wrong.
    """
    rows = read_rows(path, _NEEDED, ("artery",))
    if not rows:
        remedy = "Add a row for each lesion, and one with 0 for each artery without any"
        raise ManifestError("holds no lesion", file=path.name, remedy=remedy)
    found = [_lesion(row, patients, key) for row in rows]
    lesions = pd.DataFrame(found, columns=["patient_id", "artery", "segment", "percent_stenosis"])
    if (repeated := lesions.duplicated()).any():
        raise rows[repeated.argmax()].refusal("segment", "repeats a row above it", "Remove it, or correct its segment")
    silent = len(set(patients) - set(lesions.patient_id))
    half = int((lesions.groupby("patient_id").artery.nunique() < len(ARTERIES)).sum())
    return lesions, [
        *rows[0].notes(*_NEEDED, "artery"),
        *[f"{silent} patients with runs have no row; add one with 0 for each artery without stenosis"] * bool(silent),
        *[f"{half} patients have rows for one artery only; the other counts as without stenosis"] * bool(half),
    ]


def _lesion(row: Row, patients: Collection[str], key: bytes) -> tuple[str, Artery, int, float]:
    """Pseudonym, artery, segment and percent stenosis of one line, each checked."""
    patient = _patient(row, patients, key)
    number, percent = row.number("segment"), row.cells["percent_stenosis"]
    if number is None or number not in SEGMENTS:
        problem = f"{quotable(row.cells['segment'])} is no segment from {min(SEGMENTS)} to {max(SEGMENTS)}"
        raise row.refusal("segment", problem, "Use the numbers of the 29-segment model, which the glossary lists")
    artery, named = artery_of_segment(number), row.cells.get("artery", "").upper()
    if named and _ARTERY_NAMES.get(named) != artery:
        known = named if named in _ARTERY_NAMES else "an unknown artery"
        raise row.refusal("artery", f"segment {number} belongs to the {artery}, and the row says {known}")
    value = pd.to_numeric(percent.removesuffix("%").strip().replace(",", "."), errors="coerce")
    if not 0 <= value <= 100:
        problem = f"{quotable(percent)} is no percentage from 0 to 100"
        remedy = "Write one number, such as 70; for a range or a sign take the measured value"
        raise row.refusal("percent_stenosis", problem, remedy)
    if 0 < value <= 1 and "%" not in percent:
        problem = f"{quotable(percent)} is a fraction, no percentage"
        raise row.refusal("percent_stenosis", problem, "Write percent: 70, not 0.7")
    return patient, artery, number, float(value)


def _patient(row: Row, patients: Collection[str], key: bytes) -> str:
    if not (shown := row.cells["patient"]):
        raise row.refusal("patient", "is empty")
    for name in (shown, shown.removesuffix(".0")):
        if (found := pseudonym(name, "patient", key)) in patients:
            return found
    padded = (name.zfill(size) for size in range(len(name), _MAX_ID)) if name.isdecimal() else ()
    remedy = "Write it as in Patient ID (0010,0020) of the files, or remove the row"
    if any(pseudonym(text, "patient", key) in patients for text in padded):
        remedy = "Its leading zeros are lost: format the column as text before you save the sheet"
    raise row.refusal("patient", "no run in the folder is of this patient", remedy)
