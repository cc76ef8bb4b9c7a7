"""A manifest from any folder of DICOM files, and whether the files on disk are those of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm import tqdm

from cag.anatomy import ARTERIES, view_from_angles
from cag.data.archives import is_archive, tree_entries
from cag.data.dicom import read_cine, read_frames
from cag.data.fingerprint import file_digest, fingerprint, fingerprint_frames, path_digest, same_picture
from cag.data.pseudonyms import study_key
from cag.data.qca import read_qca
from cag.data.tables import COLUMNS, CohortTables, Row, check_intervals, checked_table, inside, read_rows, save_table
from cag.settings import DicomError, InputError, ManifestError

#: File beside a manifest that holds the secret of its pseudonyms.
KEY_FILE = ".pseudonym_key"
#: Table of what a cohort's owner knows of each file.
LABEL_FILE = "runs.csv"
_HEADER = ("run_id", "patient_id", "n_frames", "rows", "columns", "fps", "primary_angle", "secondary_angle")


class BuildReport(NamedTuple):
    """What became of a folder: the runs that were taken, why other files were not, what the labels lack."""

    manifest: pd.DataFrame
    refused: dict[str, str]
    notes: list[str]


def build_manifest(
    folder: Path, out: Path, *, key: bytes | None = None, qca: Path | None = None, progress: bool = True
) -> BuildReport:
    """Find the cine runs below a folder, write their manifest, and list what was refused.

    Of each run the header, its first and its last frame are read: a truncated file is found here. What the header does
    not know stands in ``runs.csv`` in the folder: ``file`` (below the folder), ``artery``, and ``contrast_begin,
    contrast_end`` (frames from 0) where known. Without it these and the view stay empty.

    ``out`` is the manifest; it must lie in ``folder`` or above it. The ``key`` of the pseudonyms is by default that of
    ``.pseudonym_key`` beside it, made at first use. ``qca`` is a sheet of measured stenoses (`cag.data.qca.read_qca`),
    written as ``lesions.csv`` beside the manifest. Raises `ManifestError` if the folder holds no run, the manifest
    would lie elsewhere, or a label is wrong or of an unknown file.
    """
    if not folder.is_dir():
        raise ManifestError("is not a folder", file=folder.name, remedy="Give the folder that holds the DICOM files")
    if not folder.resolve().is_relative_to(out.parent.resolve()):
        remedy = f"Write it in {folder.name} or a folder above"
        raise ManifestError("would not lie above its runs", file=out.name, remedy=remedy)
    known = _run_labels(folder)
    key = study_key(out.parent / KEY_FILE) if key is None else key
    rows: dict[str, dict[str, object]] = {}
    refused: dict[str, str] = {}
    own = {out.name, KEY_FILE, LABEL_FILE, *(f"{name}.csv" for name in COLUMNS)}
    entries = [entry for entry in tree_entries(folder) if Path(entry.name).name not in own]
    for entry in tqdm(entries, desc="Reading headers", unit="file", disable=not progress):
        file = folder / entry.name
        try:
            if entry.path is None or is_archive(file):
                raise DicomError(entry.problem or "is an archive: unpack it, so that its files can be found")
            row = _row(file, key, known.get(entry.name, {}))
        except DicomError as error:
            refused[entry.name] = f"{error.field}: {error.problem}" if error.field else error.problem
            continue
        row["path"] = file.resolve().relative_to(out.parent.resolve()).as_posix()
        first = rows.setdefault(str(row["run_id"]), row)
        if first is not row:
            refused[entry.name] = f"the same object as {first['path']}"
    if not rows:
        first_of = "".join(f"; {name}: {reason}" for name, reason in list(refused.items())[:1])
        problem = f"{len(refused)} files and no angiogram among them{first_of}"
        raise ManifestError(problem, file=folder.name, remedy="Give the folder that holds the XA cine runs")
    manifest = checked_table(pd.DataFrame(list(rows.values())), "data_manifest")
    manifest = manifest.sort_values(["patient_id", "run_id"], ignore_index=True)
    check_intervals(manifest)
    notes: list[str] = []
    if qca:
        lesions, notes = read_qca(qca, set(manifest.patient_id), key)
        save_table(checked_table(lesions, "lesions"), out.parent / "lesions.csv")
    save_table(manifest, out)
    return BuildReport(manifest, refused, notes)


def _row(file: Path, key: bytes, label: Mapping[str, Any]) -> dict[str, object]:
    run = read_cine(file, key=key, frames=[0, -1])
    taken = {name: getattr(run, name) for name in _HEADER}
    if artery := label.get("artery"):
        taken["view"] = view_from_angles(run.primary_angle, run.secondary_angle, artery)
    return {**taken, **label, "sha256": file_digest(file), "source": "dicom", "end_censored": False}


def _run_labels(folder: Path) -> dict[str, dict[str, str | int | None]]:
    """What is known of each file, by its path below the folder."""
    place = folder / LABEL_FILE
    rows = read_rows(place, ("file", "artery")) if place.is_file() else []
    return {Path(row.cells["file"]).as_posix(): _label(folder, row) for row in rows}


def _label(folder: Path, row: Row) -> dict[str, str | int | None]:
    if not (folder / row.cells["file"]).is_file():
        raise row.refusal("file", f"{row.cells['file']!r} is no file below {folder.name}")
    artery, frames = row.cells["artery"], {name: row.cells.get(name, "") for name in ("contrast_begin", "contrast_end")}
    if artery not in ARTERIES:
        raise row.refusal("artery", f"{artery!r} is neither {' nor '.join(ARTERIES)}")
    for name, text in frames.items():
        if text and not text.isdigit():
            remedy = "Count frames from 0, or leave the cell empty"
            raise row.refusal(name, f"{text!r} is no frame number", remedy)
    return {"artery": artery, **{name: int(text) if text else None for name, text in frames.items()}}


class VerifyFinding(NamedTuple):
    """Something about one file that the manifest does not say.

    ``is_error`` is False for a note: a simulated run whose bytes differ in the last bits only, as between processors.
    """

    path: str
    problem: str
    is_error: bool = True

    def __str__(self) -> str:
        return f"{'error' if self.is_error else 'note '}  {self.path}: {self.problem}"


def verify(manifest_path: Path, *, progress: bool = True) -> list[VerifyFinding]:
    """Compare every file with its row: there, and the same bytes; empty when all is well.

    Raises `ManifestError` if the manifest itself cannot be used.
    """
    manifest = CohortTables.load(manifest_path).manifest
    bar = tqdm(manifest.iterrows(), total=len(manifest), desc="Verifying", unit="run", disable=not progress)
    findings = (_verify_run(inside(manifest_path, run.path), run) for _, run in bar)
    return [finding for finding in findings if finding]


def _verify_run(file: Path, run: pd.Series) -> VerifyFinding | None:
    if not file.exists():
        return VerifyFinding(run.path, "is missing")
    try:
        if path_digest(file) == run.sha256:
            return None
        if run.source != "simulated" or pd.isna(run.fingerprint):
            return VerifyFinding(run.path, "bytes differ from those of the manifest (SHA-256)")
        if same_picture(fingerprint(read_frames(file, fingerprint_frames(int(run.n_frames)))), run.fingerprint):
            return VerifyFinding(run.path, "bytes differ, the picture does not (another processor)", is_error=False)
    except InputError as error:
        return VerifyFinding(run.path, error.problem)
    return VerifyFinding(run.path, "shows another picture")
