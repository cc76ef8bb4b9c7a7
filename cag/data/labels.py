"""The four tables of a cohort together, and whether they agree with one another."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cag.anatomy import artery_of_segment
from cag.data.tables import CORNERS, TableName, checked_table, empty_table, load_table, save_table
from cag.settings import ManifestError

_CORRECT = "Correct or remove these rows"
SIDECARS: tuple[TableName, ...] = ("patients", "lesions", "boxes")


@dataclass(frozen=True)
class CohortTables:
    """Manifest, patients, lesions and boxes of a cohort, each with its columns (``cag.data.tables.COLUMNS``).

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
        """Give each table its types and refuse what breaks a limit or names what the manifest does not know.

        Raises
        ------
        ManifestError
        """
        given: dict[TableName, pd.DataFrame | None] = {"patients": patients, "lesions": lesions, "boxes": boxes}
        side = {name: empty_table(name) if t is None else checked_table(t, name) for name, t in given.items()}
        tables = cls(checked_table(manifest, "data_manifest"), side["patients"], side["lesions"], side["boxes"])
        tables.check()
        return replace(tables, patients=_every_patient(tables.patients, tables.manifest))

    def check(self) -> None:
        """Refuse labels of unknown runs or patients, impossible intervals, lesions and boxes.

        Raises
        ------
        ManifestError
        """
        check_intervals(self.manifest)
        _check_known(self.patients.patient_id, self.manifest.patient_id, "patients.csv")
        _check_known(self.lesions.patient_id, self.manifest.patient_id, "lesions.csv")
        _check_known(self.boxes.run_id, self.manifest.run_id, "boxes.csv")
        check_lesions(self.lesions)
        check_boxes(self.boxes, self.manifest)

    def save(self, manifest_path: Path, folder: Path | None = None) -> Path:
        """Write the manifest, and the other tables beside it or in ``folder``."""
        folder = folder or manifest_path.parent
        for name in SIDECARS:
            save_table(getattr(self, name), folder / f"{name}.csv")
        return save_table(self.manifest, manifest_path)


def load_cohort_tables(manifest_path: Path) -> CohortTables:
    """Load a manifest and its labels: beside it, or in the common folder of its runs, or between the two.

    Raises
    ------
    ManifestError
    """
    manifest = load_table(manifest_path, "data_manifest")
    for line, path in enumerate(manifest.path, start=2):
        inside(manifest_path, path, line)
    found: dict[TableName, pd.DataFrame | None] = dict.fromkeys(SIDECARS)
    folders = _label_folders(manifest_path, manifest)
    for name in SIDECARS:
        place = next((folder / f"{name}.csv" for folder in folders if (folder / f"{name}.csv").is_file()), None)
        found[name] = None if place is None else load_table(place, name)
    return CohortTables.checked(manifest, found["patients"], found["lesions"], found["boxes"])


def inside(manifest_path: Path, path: str, line: int | None = None) -> Path:
    """The file a manifest's row names; refused when it lies outside the manifest's folder, links included.

    Raises
    ------
    ManifestError
    """
    folder = manifest_path.parent.resolve()
    resolved = (folder / path).resolve()
    if Path(path).is_absolute() or not resolved.is_relative_to(folder):
        where = f"line {line}: " if line else ""
        remedy = "Keep the manifest in a folder above its runs, and the runs in that folder"
        problem = f"{where}{path!r} lies outside the manifest's folder"
        raise ManifestError(problem, file=manifest_path.name, field="path", remedy=remedy)
    return resolved


def check_intervals(manifest: pd.DataFrame) -> None:
    """Refuse contrast intervals that are half given, reversed or longer than their run."""
    begin, end = manifest.contrast_begin, manifest.contrast_end
    half = begin.isna() != end.isna()
    wrong = (end < begin) | (end >= manifest.n_frames)
    _refuse(half, manifest.run_id, "has only one end of its contrast interval", "data_manifest.csv", "contrast_end")
    _refuse(wrong, manifest.run_id, "has no such contrast interval", "data_manifest.csv", "contrast_end")


def check_lesions(lesions: pd.DataFrame) -> None:
    """Refuse lesions whose segment belongs to the other artery (29-segment model)."""
    wrong = lesions.segment.map(artery_of_segment) != lesions.artery
    _refuse(wrong, lesions.patient_id, "has a lesion whose segment is not of its artery", "lesions.csv", "segment")


def check_boxes(boxes: pd.DataFrame, manifest: pd.DataFrame) -> None:
    """Refuse boxes of frames that do not exist, without area, or reaching outside the image."""
    runs = manifest.set_index("run_id").reindex(boxes.run_id).reset_index(drop=True)
    x1, y1, x2, y2 = (boxes[corner].reset_index(drop=True) for corner in CORNERS)
    names = (boxes.run_id.astype(str) + ", frame " + boxes.frame.astype(str)).reset_index(drop=True)
    frame = boxes.frame.reset_index(drop=True)
    outside = (x1 < 0) | (y1 < 0) | (x2 > runs["columns"]) | (y2 > runs["rows"])
    _refuse(frame >= runs.n_frames, names, "does not exist but has a box", "boxes.csv", "frame")
    _refuse((x2 <= x1) | (y2 <= y1), names, "has a box without area", "boxes.csv", ", ".join(CORNERS))
    _refuse(outside, names, "has a box that reaches outside the image", "boxes.csv", ", ".join(CORNERS))


def _refuse(wrong: pd.Series, names: pd.Series, problem: str, file: str, field: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ManifestError(f"line {row + 2}: {names.iloc[row]} {problem}", file=file, field=field, remedy=_CORRECT)


def _check_known(labels: pd.Series, known: pd.Series, file: str) -> None:
    unknown = ~labels.isin(set(known))
    _refuse(unknown, labels.map(repr), "is not in the manifest", file, str(labels.name))


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


def subset_tables(tables: CohortTables, run_ids: set[str]) -> CohortTables:
    """Keep these runs, their patients and their labels."""
    manifest = tables.manifest[tables.manifest.run_id.isin(run_ids)]
    people = set(manifest.patient_id)
    kept = (
        manifest,
        tables.patients[tables.patients.patient_id.isin(people)],
        tables.lesions[tables.lesions.patient_id.isin(people)],
        tables.boxes[tables.boxes.run_id.isin(run_ids)],
    )
    return CohortTables(*(table.reset_index(drop=True) for table in kept))
