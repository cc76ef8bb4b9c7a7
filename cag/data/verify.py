"""Whether the files on disk are those of the manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from cag.data.dicom import read_frames, read_header
from cag.data.fingerprint import fingerprint, fingerprint_frames, path_digest, same_picture
from cag.data.images import image_files, image_size
from cag.data.labels import inside, load_cohort_tables
from cag.settings import InputError

_DICOM = ("simulated", "dicom")
#: Angles are written with two decimals (degrees), rates with four (frames a second).
_ROUNDING = 0.01


@dataclass(frozen=True)
class VerifyFinding:
    """Something about one file that the manifest does not say.

    Attributes
    ----------
    path : str
    problem : str
    is_error : bool
        False for a note: a simulated run whose bytes differ in the last bits only, as between processors.
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
    manifest = load_cohort_tables(manifest_path).manifest
    findings: list[VerifyFinding] = []
    for _, run in tqdm(manifest.iterrows(), total=len(manifest), desc="Verifying", unit="run", disable=not progress):
        findings += _verify_run(inside(manifest_path, run.path), run)
    return findings


def _verify_run(file: Path, run: pd.Series) -> Iterator[VerifyFinding]:
    if not file.exists():
        yield VerifyFinding(run.path, "is missing")
        return
    is_dicom = run.source in _DICOM
    images = [] if is_dicom else image_files(file)
    same_bytes = path_digest(file, images) == run.sha256
    try:
        differences = list(_header_differences(file, run) if is_dicom else _image_differences(images, run))
    except InputError as error:
        yield VerifyFinding(run.path, error.problem)
        return
    for difference in differences:
        yield VerifyFinding(run.path, difference)
    if same_bytes or differences:
        return
    if run.source == "simulated" and isinstance(run.fingerprint, str):
        found = fingerprint(read_frames(file, fingerprint_frames(int(run.n_frames))))
        same = same_picture(found, run.fingerprint)
        problem = "bytes differ, the picture does not (another processor)" if same else "shows another picture"
        yield VerifyFinding(run.path, problem, is_error=not same)
    else:
        yield VerifyFinding(run.path, "bytes differ from those of the manifest (SHA-256)")


def _header_differences(file: Path, run: pd.Series) -> Iterator[str]:
    header = read_header(file, allow_non_xa=True)
    for name in ("n_frames", "rows", "columns"):
        if getattr(header, name) != run[name]:
            yield f"{name} is {getattr(header, name)} instead of {run[name]}"
    for name in ("fps", "primary_angle", "secondary_angle"):
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
