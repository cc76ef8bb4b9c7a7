"""A manifest from any folder of DICOM files, and whether the files on disk are those of a manifest."""

import os
from collections.abc import Collection
from pathlib import Path, PureWindowsPath
from typing import NamedTuple
from unicodedata import normalize

import pandas as pd
from tqdm import tqdm

from cag.anatomy import ARTERIES, view_from_angles
from cag.data.archives import is_archive, leads_out, tree_entries
from cag.data.dicom import Cine, read_frames
from cag.data.fingerprint import fingerprint, fingerprint_frames, joint_digest, path_digest, same_picture
from cag.data.pseudonyms import study_key
from cag.data.qca import read_qca
from cag.data.study import found_runs
from cag.data.tables import BETWEEN, COLUMNS, CohortTables, Row, checked_table, read_rows, run_files, save_table
from cag.settings import InputError, ManifestError, escaped, unescaped

KEY_FILE = ".pseudonym_key"  #: File beside a manifest that holds the secret of its pseudonyms.
#: Table of what a cohort's owner knows of each file, in any capitals; those of the last two kinds are refused.
LABEL_FILES = ("runs.csv", "runs.tsv", "runs.xlsx", "runs.xls", "runs.ods")
_LABELS, _INTERVAL = ("file", "artery"), ("contrast_begin", "contrast_end")
_HEADER = ("run_id", "patient_id", "n_frames", "rows", "columns", "fps", "primary_angle", "secondary_angle")


class BuildReport(NamedTuple):
    """What became of a folder: runs taken, why other files were not, what is odd about runs and what labels lack."""

    manifest: pd.DataFrame
    refused: dict[str, str]
    notes: list[str]


def build_manifest(
    folder: Path, out: Path, *, key: bytes | None = None, qca: Path | None = None, progress: bool = True
) -> BuildReport:
    """Find the cine runs below a folder, write their manifest, and list what was refused.

    What headers do not know stands in one of `LABEL_FILES` in the folder: ``file`` (below the folder; any one of a run
    of single frames), ``artery``, ``contrast_begin, contrast_end`` (frames from 0). ``out`` lies in ``folder`` or
    above; beside it is the ``key``, by default, and from ``qca`` (`read_qca`) ``lesions.csv``. Raises `ManifestError`.
    """
    if not folder.is_dir():
        remedy = f"{'Unpack it, and give' if is_archive(folder) else 'Give'} the folder that holds the DICOM files"
        raise ManifestError("is not a folder", file=folder.name, remedy=remedy)
    if not folder.resolve().is_relative_to(out.parent.resolve()):
        remedy = f"Write it in {folder.name} or a folder above"
        raise ManifestError("would not lie above its runs", file=out.name, remedy=remedy)
    tables = sorted(path for path in folder.iterdir() if path.name.lower() in LABEL_FILES)
    if len(tables) > 1:
        problem = f"{' and '.join(path.name for path in tables)} lie side by side"
        raise ManifestError(problem, file=folder.name, remedy="Keep the one that is right")
    used = {*(path.name for path in tables), *([escaped(os.path.relpath(qca, folder))] if qca else [])}
    own, packed = {out.name, KEY_FILE, *(f"{name}.csv" for name in COLUMNS)}, "is an archive, no file. Unpack it first"
    entries = [entry for entry in tree_entries(folder) if entry.name not in used and Path(entry.name).name not in own]
    entries = [one._replace(path=None, problem=packed) if one.path and is_archive(one.path) else one for one in entries]
    labels = _run_labels(tables[0], {entry.name for entry in entries}) if tables else {}
    notes = [f"{table.name}: holds no row below its first line." for table in tables if not labels]
    notes += next(iter(labels.values())).notes(*_LABELS, *_INTERVAL) if labels else []
    key = study_key(out.parent / KEY_FILE) if key is None else key
    rows, refused, said = list[dict[str, object]](), dict[str, str](), dict[str, list[str]]()
    for run in found_runs(entries, key, [0, -1], progress=progress):
        if run.cine is None:
            refused[run.name] = run.reason
            continue
        names = [escaped(path.relative_to(folder).as_posix()) for path in run.paths]
        label = _label([labels.pop(name) for name in names if name in labels], run.cine)
        above = escaped(folder.resolve().relative_to(out.parent.resolve()).as_posix())
        path = BETWEEN.join((Path(above) / name).as_posix() for name in names)
        told = {"note": " ".join(run.notes)} if run.notes else {}
        rows.append({**label, "path": path, "sha256": run.sha256, "source": "dicom", "end_censored": False, **told})
        for note in run.notes:
            said.setdefault(note, []).append(run.name)
    notes += [f"{', '.join(own[:3])}{' and more' * (len(own) > 3)}: {note}" for note, own in said.items()]
    notes += [f"{row.file}, line {row.line}: its file is no run, so this row is not used." for row in labels.values()]
    if not rows:
        first_of = "".join(f"; {name}: {reason}" for name, reason in list(refused.items())[:1])
        problem = f"{len(refused)} files and no angiogram among them{first_of}"
        raise ManifestError(problem, file=folder.name, remedy="Give the folder that holds the XA cine runs")
    manifest = checked_table(pd.DataFrame(rows), "data_manifest")
    manifest = manifest.sort_values(["patient_id", "run_id"], ignore_index=True)
    if qca:
        lesions, lacking = read_qca(qca, set(manifest.patient_id), key)
        notes += lacking
        save_table(checked_table(lesions, "lesions"), out.parent / "lesions.csv")
    save_table(manifest, out)
    return BuildReport(manifest, refused, notes)


def _run_labels(table: Path, files: Collection[str]) -> dict[str, Row]:
    """What is known of each file, by its path below the table's folder."""
    labels, folder = dict[str, Row](), table.parent.name
    known = {normalize("NFC", unescaped(name)): name for name in files} | {name: name for name in files}
    for row in read_rows(table, _LABELS, _INTERVAL):
        told = row.cells["file"]
        name = told if told in known else PureWindowsPath(told).as_posix()
        if leads_out(name):
            raise row.refusal("file", f"{told!r} lies outside {folder}", "Name it below the folder")
        if name not in known:
            raise row.refusal("file", f"{told!r} is no file below {folder}")
        if labels.setdefault(known[name], row) is not row:
            raise row.refusal("file", f"{told!r} is listed twice", "Keep one of its rows")
    return labels


def _label(rows: list[Row], run: Cine) -> dict[str, object]:
    """The manifest's columns of a run: of its header, and of the rows that name its files, which must agree."""
    columns, found = {name: getattr(run, name) for name in _HEADER}, []
    for row in rows:
        artery = row.cells["artery"].upper()
        if artery not in ARTERIES:
            raise row.refusal("artery", f"{row.cells['artery']!r} is neither {' nor '.join(ARTERIES)}")
        begin, end = (_frame(row, name, run.n_frames) for name in _INTERVAL)
        if (begin is None) != (end is None):
            raise row.refusal("contrast_end", "only one end of the contrast interval is given")
        if begin is not None and end is not None and end < begin:
            raise row.refusal("contrast_end", f"frame {end} is before contrast_begin, frame {begin}")
        found.append({"artery": artery, "contrast_begin": begin, "contrast_end": end})
        if found[0] != found[-1]:
            raise row.refusal("file", "another row says something else of the same run", "Keep one of them")
        columns |= {**found[0], "view": view_from_angles(run.primary_angle, run.secondary_angle, artery)}
    return columns


def _frame(row: Row, column: str, count: int) -> int | None:
    """A frame's number, from 0; None for an empty cell."""
    number = row.number(column)
    if row.cells.get(column) and (number is None or number >= count):
        problem = f"{row.cells[column]!r} is no frame number from 0 to {count - 1}"
        raise row.refusal(column, problem, "Count frames from 0, or leave the cell empty")
    return number


def verify(manifest_path: Path, *, progress: bool = True) -> dict[str, str]:
    """What is wrong with files of a manifest (else `ManifestError`); of simulated runs the picture must be right."""
    manifest = CohortTables.load(manifest_path).manifest
    bar = tqdm(manifest.iterrows(), total=len(manifest), desc="Verifying", unit="run", disable=not progress)
    found = {run.path: _difference(run_files(manifest_path, run.path), run) for _, run in bar}
    return {path: problem for path, problem in found.items() if problem}


def _difference(files: list[Path], run: pd.Series) -> str:
    if not all(file.exists() for file in files):
        return "is missing"
    try:
        if joint_digest([path_digest(file) for file in files]) == run.sha256:
            return ""
        if run.source != "simulated" or pd.isna(run.fingerprint):
            return "bytes differ from those of the manifest (SHA-256)"
        same = same_picture(fingerprint(read_frames(files[0], fingerprint_frames(int(run.n_frames)))), run.fingerprint)
        return "" if same else "shows another picture"
    except InputError as error:
        return error.problem
