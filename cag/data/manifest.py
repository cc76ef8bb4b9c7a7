"""A manifest from any folder of DICOM files, and the door to the tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from cag.anatomy import view_from_angles
from cag.data.archives import is_archive
from cag.data.dicom import CineHeader, read_cine
from cag.data.fingerprint import file_digest
from cag.data.labels import CohortTables, check_intervals, load_cohort_tables
from cag.data.pseudonyms import study_key
from cag.data.qca import read_qca
from cag.data.run_labels import RunLabel, run_labels
from cag.data.study_tree import tree_entries
from cag.data.tables import COLUMNS, checked_table, load_table, save_table
from cag.data.verify import VerifyFinding, verify
from cag.settings import DicomError, InputError, ManifestError

__all__ = [
    "BuildReport",
    "CohortTables",
    "Refusal",
    "VerifyFinding",
    "build_manifest",
    "load_cohort_tables",
    "load_manifest",
    "verify",
]

#: File beside a manifest that holds the secret of its pseudonyms.
KEY_FILE = ".pseudonym_key"


@dataclass(frozen=True)
class Refusal:
    """A file that was not taken into a manifest, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class BuildReport:
    """What became of a folder: the runs that were taken, the files that were not, what the labels lack."""

    manifest: pd.DataFrame
    refused: list[Refusal]
    notes: list[str] = field(default_factory=list)


def load_manifest(path: Path) -> pd.DataFrame:
    """Load and check a manifest alone; `load_cohort_tables` adds its labels.

    Raises
    ------
    ManifestError
    """
    return load_table(path, "data_manifest")


def build_manifest(
    folder: Path,
    out: Path,
    *,
    key: bytes | None = None,
    labels: Path | None = None,
    qca: Path | None = None,
    allow_non_xa: bool = False,
    progress: bool = True,
) -> BuildReport:
    """Find the cine runs below a folder, write their manifest, and list what was refused.

    Of each run the header, its first and its last frame are read: a truncated file is found here.

    Parameters
    ----------
    folder : Path
    out : Path
        The manifest; it must lie in ``folder`` or above it.
    key : bytes, optional
        Secret of the pseudonyms; by default that of ``.pseudonym_key`` beside the manifest, made at first use.
    labels : Path, optional
        Table of each file's artery and contrast interval (`cag.data.run_labels.run_labels`), ``runs.csv`` in the
        folder by default where there is one. Without it these and the view stay empty.
    qca : Path, optional
        Sheet of measured stenoses (`cag.data.qca.read_qca`), written as ``lesions.csv`` beside the manifest.
    allow_non_xa : bool
        Also take objects of other classes, such as Secondary Capture.

    Raises
    ------
    ManifestError
        If the folder holds no run, the manifest would lie elsewhere, or a label names an unknown file.
    """
    if not folder.is_dir():
        raise ManifestError("is not a folder", file=folder.name, remedy="Give the folder that holds the DICOM files")
    if not folder.resolve().is_relative_to(out.parent.resolve()):
        remedy = f"Write it in {folder.name} or a folder above"
        raise ManifestError("would not lie above its runs", file=out.name, remedy=remedy)
    known = run_labels(folder, labels)
    key = study_key(out.parent / KEY_FILE) if key is None else key
    rows: dict[str, dict[str, object]] = {}
    refused: list[Refusal] = []
    own = {out.name, KEY_FILE, "runs.csv", *(f"{name}.csv" for name in COLUMNS)}
    entries = [entry for entry in tree_entries(folder) if Path(entry.name).name not in own]
    for entry in tqdm(entries, desc="Reading headers", unit="file", disable=not progress):
        name, file = entry.name, folder / entry.name
        try:
            if entry.path is None:
                raise DicomError(entry.problem, file=file.name)
            if is_archive(file):
                raise DicomError("is an archive", file=file.name, remedy="Unpack it, so that its files can be found")
            row = _row(file, key, known.get(name, RunLabel()), allow_non_xa)
        except DicomError as error:
            refused.append(Refusal(name, _reason(error)))
            continue
        first = rows.setdefault(str(row["run_id"]), row)
        if first is not row:
            refused.append(Refusal(name, f"the same object as {first['path']}"))
        row["path"] = file.resolve().relative_to(out.parent.resolve()).as_posix() if first is row else ""
    if not rows:
        problem = f"{len(refused)} files and no angiogram among them" + (f"; {refused[0]}" if refused else "")
        raise ManifestError(problem, file=folder.name, remedy="Give the folder that holds the XA cine runs")
    manifest = checked_table(pd.DataFrame(list(rows.values())), "data_manifest")
    manifest = manifest.sort_values(["patient_id", "run_id"], ignore_index=True)
    check_intervals(manifest)
    sheet = read_qca(qca, set(manifest.patient_id), key) if qca else None
    if sheet is not None:
        save_table(checked_table(sheet.lesions, "lesions"), out.parent / "lesions.csv")
    save_table(manifest, out)
    return BuildReport(manifest, refused, sheet.notes if sheet else [])


def _row(file: Path, key: bytes, label: RunLabel, allow_non_xa: bool) -> dict[str, object]:
    header: CineHeader = read_cine(file, key=key, frames=[0], allow_non_xa=allow_non_xa)
    if header.n_frames > 1:
        read_cine(file, key=key, frames=[header.n_frames - 1], allow_non_xa=allow_non_xa)
    artery = label.artery
    view = None if artery is None else view_from_angles(header.primary_angle, header.secondary_angle, artery)
    return {
        "run_id": header.run_id,
        "patient_id": header.patient_id,
        "path": file.name,
        "sha256": file_digest(file),
        "source": "dicom",
        **{name: getattr(header, name) for name in ("n_frames", "rows", "columns")},
        **{name: getattr(header, name) for name in ("fps", "primary_angle", "secondary_angle")},
        "artery": artery,
        "view": view,
        "contrast_begin": np.nan if label.contrast_begin is None else label.contrast_begin,
        "contrast_end": np.nan if label.contrast_end is None else label.contrast_end,
        "end_censored": False,
        "fingerprint": None,
    }


def _reason(error: InputError) -> str:
    return f"{error.field}: {error.problem}" if error.field else error.problem
