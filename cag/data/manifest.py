"""A manifest from any folder of DICOM files, and whether the files on disk are those of a manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from cag.anatomy import ARTERIES, view_from_angles
from cag.data.archives import is_archive, tree_entries
from cag.data.dicom import read_cine, read_frames, read_header
from cag.data.fingerprint import file_digest, fingerprint, fingerprint_frames, path_digest, same_picture
from cag.data.images import image_files, image_size
from cag.data.pseudonyms import study_key
from cag.data.qca import read_qca
from cag.data.tables import COLUMNS, CohortTables, check_intervals, checked_table, inside, read_text, save_table
from cag.settings import DicomError, InputError, ManifestError

#: File beside a manifest that holds the secret of its pseudonyms.
KEY_FILE = ".pseudonym_key"
#: Table of what a cohort's owner knows of each file.
LABEL_FILE = "runs.csv"
_LABELS = ("artery", "contrast_begin", "contrast_end")
_SIZE, _GEOMETRY = ("n_frames", "rows", "columns"), ("fps", "primary_angle", "secondary_angle")
#: Angles are written with two decimals (degrees), rates with four (frames a second).
_ROUNDING = 0.01


@dataclass(frozen=True)
class BuildReport:
    """What became of a folder: the runs that were taken, why other files were not, what the labels lack."""

    manifest: pd.DataFrame
    refused: dict[str, str]
    notes: list[str]


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
    out : Path
        The manifest; it must lie in ``folder`` or above it.
    key : bytes, optional
        Secret of the pseudonyms; by default that of ``.pseudonym_key`` beside the manifest, made at first use.
    labels : Path, optional
        Table with the columns ``file`` (below ``folder``) and ``artery``, and ``contrast_begin, contrast_end`` (frames
        from 0) where known; ``runs.csv`` in the folder by default. Without it these and the view stay empty.
    qca : Path, optional
        Sheet of measured stenoses (`cag.data.qca.read_qca`), written as ``lesions.csv`` beside the manifest.
    allow_non_xa : bool
        Also take objects of other classes, such as Secondary Capture.

    Raises
    ------
    ManifestError
        If the folder holds no run, the manifest would lie elsewhere, or a label is wrong or of an unknown file.
    """
    if not folder.is_dir():
        raise ManifestError("is not a folder", file=folder.name, remedy="Give the folder that holds the DICOM files")
    if not folder.resolve().is_relative_to(out.parent.resolve()):
        remedy = f"Write it in {folder.name} or a folder above"
        raise ManifestError("would not lie above its runs", file=out.name, remedy=remedy)
    known = _run_labels(folder, labels)
    key = study_key(out.parent / KEY_FILE) if key is None else key
    rows: dict[str, dict[str, object]] = {}
    refused: dict[str, str] = {}
    own = {out.name, KEY_FILE, LABEL_FILE, *(f"{name}.csv" for name in COLUMNS)}
    entries = [entry for entry in tree_entries(folder) if Path(entry.name).name not in own]
    for entry in tqdm(entries, desc="Reading headers", unit="file", disable=not progress):
        file = folder / entry.name
        try:
            if entry.path is None:
                raise DicomError(entry.problem, file=file.name)
            if is_archive(file):
                raise DicomError("is an archive", file=file.name, remedy="Unpack it, so that its files can be found")
            row = _row(file, key, known.get(entry.name, {}), allow_non_xa)
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
    table = pd.DataFrame(list(rows.values())).reindex(columns=list(COLUMNS["data_manifest"]))
    manifest = checked_table(table, "data_manifest").sort_values(["patient_id", "run_id"], ignore_index=True)
    check_intervals(manifest)
    notes: list[str] = []
    if qca:
        lesions, notes = read_qca(qca, set(manifest.patient_id), key)
        save_table(checked_table(lesions, "lesions"), out.parent / "lesions.csv")
    save_table(manifest, out)
    return BuildReport(manifest, refused, notes)


def _row(file: Path, key: bytes, label: Mapping[str, Any], allow_non_xa: bool) -> dict[str, object]:
    header = read_cine(file, key=key, frames=[0], allow_non_xa=allow_non_xa)
    if header.n_frames > 1:
        read_cine(file, key=key, frames=[header.n_frames - 1], allow_non_xa=allow_non_xa)
    taken = {name: getattr(header, name) for name in ("run_id", "patient_id", *_SIZE, *_GEOMETRY)}
    if artery := label.get("artery"):
        taken["view"] = view_from_angles(header.primary_angle, header.secondary_angle, artery)
    return {**taken, **label, "sha256": file_digest(file), "source": "dicom", "end_censored": False}


def _run_labels(folder: Path, labels: Path | None) -> dict[str, dict[str, str | int | None]]:
    """What is known of each file, by its path below the folder."""
    place = labels or folder / LABEL_FILE
    if labels is None and not place.is_file():
        return {}
    table = read_text(place, ("file", "artery"))
    rows = table.reindex(columns=["file", *_LABELS], fill_value="").to_dict("records")
    return {Path(row["file"]).as_posix(): _label(folder, place, line, row) for line, row in enumerate(rows, start=2)}


def _label(folder: Path, place: Path, line: int, row: Mapping[Any, str]) -> dict[str, str | int | None]:
    def refuse(name: str, problem: str, remedy: str = "Correct this row and run again") -> ManifestError:
        return ManifestError(f"line {line}: {row[name]!r} {problem}", file=place.name, field=name, remedy=remedy)

    if not (folder / row["file"]).is_file():
        raise refuse("file", f"is no file below {folder.name}")
    if row["artery"] not in ARTERIES:
        raise refuse("artery", f"is neither {' nor '.join(ARTERIES)}")
    frames = {name: row[name].strip() for name in _LABELS[1:]}
    for name, text in frames.items():
        if text and not text.isdigit():
            raise refuse(name, "is no frame number", "Count frames from 0, or leave the cell empty")
    return {"artery": row["artery"], **{name: int(text) if text else None for name, text in frames.items()}}


@dataclass(frozen=True)
class VerifyFinding:
    """Something about one file that the manifest does not say.

    ``is_error`` is False for a note: a simulated run whose bytes differ in the last bits only, as between processors.
    """

    path: str
    problem: str
    is_error: bool = True

    def __str__(self) -> str:
        return f"{'error' if self.is_error else 'note '}  {self.path}: {self.problem}"


def verify(manifest_path: Path, *, progress: bool = True) -> list[VerifyFinding]:
    """Compare every file with its row: there, same bytes, same header; empty when all is well.

    Raises
    ------
    ManifestError
        If the manifest itself cannot be used.
    """
    manifest = CohortTables.load(manifest_path).manifest
    findings: list[VerifyFinding] = []
    for _, run in tqdm(manifest.iterrows(), total=len(manifest), desc="Verifying", unit="run", disable=not progress):
        findings += _verify_run(inside(manifest_path, run.path), run)
    return findings


def _verify_run(file: Path, run: pd.Series) -> list[VerifyFinding]:
    if not file.exists():
        return [VerifyFinding(run.path, "is missing")]
    is_dicom = run.source in ("simulated", "dicom")
    try:
        differences = list(_header_differences(file, run) if is_dicom else _image_differences(image_files(file), run))
    except InputError as error:
        return [VerifyFinding(run.path, error.problem)]
    if differences or path_digest(file, () if is_dicom else image_files(file)) == run.sha256:
        return [VerifyFinding(run.path, difference) for difference in differences]
    if run.source != "simulated" or not isinstance(run.fingerprint, str):
        return [VerifyFinding(run.path, "bytes differ from those of the manifest (SHA-256)")]
    if same_picture(fingerprint(read_frames(file, fingerprint_frames(int(run.n_frames)))), run.fingerprint):
        problem = "bytes differ, the picture does not (another processor)"
        return [VerifyFinding(run.path, problem, is_error=False)]
    return [VerifyFinding(run.path, "shows another picture")]


def _header_differences(file: Path, run: pd.Series) -> Iterator[str]:
    header = read_header(file, allow_non_xa=True)
    for name in _SIZE:
        if getattr(header, name) != run[name]:
            yield f"{name} is {getattr(header, name)} instead of {run[name]}"
    for name in _GEOMETRY:
        found, expected = getattr(header, name), run[name]
        if pd.isna(expected) and found is None:
            continue
        if found is None or pd.isna(expected) or abs(found - expected) > _ROUNDING:
            shown = ["not given" if pd.isna(value) else f"{value:g}" for value in (found, expected)]
            yield f"{name} is {shown[0]} instead of {shown[1]}"


def _image_differences(images: list[Path], run: pd.Series) -> Iterator[str]:
    if len(images) != run.n_frames:
        yield f"n_frames is {len(images)} instead of {run.n_frames}"
    for image in images[:1]:
        size = image_size(image)
        if size != (run["rows"], run["columns"]):
            yield f"size is {size[0]} x {size[1]} instead of {run['rows']} x {run['columns']}"
