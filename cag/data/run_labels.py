"""What a cohort's owner knows of each file: the injected artery, and when contrast is there."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cag.anatomy import ARTERIES, Artery
from cag.settings import ManifestError

FILE = "runs.csv"
_CORRECT = "Correct this row and run again"


@dataclass(frozen=True)
class RunLabel:
    """Labels of one run; None where not given.

    Attributes
    ----------
    artery : {'LCA', 'RCA'} or None
    contrast_begin, contrast_end : int or None
        First and last frame with contrast, counted from 0.
    """

    artery: Artery | None = None
    contrast_begin: int | None = None
    contrast_end: int | None = None


def run_labels(folder: Path, labels: Path | None) -> dict[str, RunLabel]:
    """Labels of each file, by its path below the folder.

    Parameters
    ----------
    labels : Path or None
        Table with the columns ``file`` (below ``folder``) and ``artery``, and ``contrast_begin, contrast_end``
        where known; ``runs.csv`` in the folder by default where there is one.

    Raises
    ------
    ManifestError
        By line: an unknown file, artery or frame number.
    """
    place = labels or folder / FILE
    if labels is None and not place.is_file():
        return {}
    try:
        table = pd.read_csv(place, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        problem = f"is not a readable table ({type(error).__name__})"
        raise ManifestError(problem, file=place.name, remedy="Save it as CSV with the columns file, artery") from None
    for column in ("file", "artery"):
        if column not in table:
            raise ManifestError("this column is missing", file=place.name, field=column, remedy="Add file and artery")
    rows = table.reindex(columns=["file", "artery", "contrast_begin", "contrast_end"], fill_value="").to_dict("records")
    return {Path(row["file"]).as_posix(): _label(folder, place, line, row) for line, row in enumerate(rows, start=2)}


def _label(folder: Path, place: Path, line: int, row: Mapping[Hashable, str]) -> RunLabel:
    known: dict[str, Artery] = {artery: artery for artery in ARTERIES}
    if not (folder / row["file"]).is_file():
        problem = f"line {line}: {row['file']!r} is no file below {folder.name}"
        raise ManifestError(problem, file=place.name, field="file", remedy=_CORRECT)
    if row["artery"] not in known:
        problem = f"line {line}: {row['artery']!r} is neither {' nor '.join(ARTERIES)}"
        raise ManifestError(problem, file=place.name, field="artery", remedy=_CORRECT)
    begin, end = (_frame(place, line, name, row[name]) for name in ("contrast_begin", "contrast_end"))
    return RunLabel(known[row["artery"]], begin, end)


def _frame(place: Path, line: int, name: str, text: str) -> int | None:
    if not text.strip():
        return None
    if not text.strip().isdigit():
        problem = f"line {line}: {text!r} is no frame number"
        raise ManifestError(problem, file=place.name, field=name, remedy="Count frames from 0, or leave the cell empty")
    return int(text)
