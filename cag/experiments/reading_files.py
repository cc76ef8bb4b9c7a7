"""The cine runs of a study folder, one after another, without its identifiers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from cag.dicom import Cine, read_cine
from cag.errors import DicomError, InputError
from cag.fingerprint import file_digest
from cag.pseudonyms import pseudonym


@dataclass(frozen=True)
class StudyFile:
    """A file of a study folder.

    Attributes
    ----------
    label : str
        Pseudonym of its name below the folder: archives name files by UIDs, people by patients.
    name : str
        The name itself; it belongs in no output that is shared.
    cine : Cine or None
        The run, or None where the file was refused.
    sha256 : str
        Digest of a run's bytes.
    reason : str
        Why the file was refused; empty for a run.
    """

    label: str
    name: str
    cine: Cine | None
    sha256: str
    reason: str


def study_files(folder: Path, key: bytes, *, progress: bool = True) -> Iterator[StudyFile]:
    """Every file below a folder, sorted by name: decoded as a run, or refused with the reason.

    Links are refused and no folder is entered through one, so nothing outside the folder is read.
    One run is decoded at a time.

    Raises
    ------
    InputError
        If the folder is none, or holds no file.
    """
    if not folder.is_dir():
        raise InputError("is not a folder", field="study", remedy="Give the folder that holds a patient's DICOM files")
    paths = [Path(place) / name for place, _, names in os.walk(folder, followlinks=False) for name in names]
    if not paths:
        raise InputError("holds no file", field="study", remedy="Give the folder that holds a patient's DICOM files")
    seen: set[str] = set()
    ordered = sorted(paths, key=lambda path: path.relative_to(folder).as_posix())
    for path in tqdm(ordered, desc="Reading the study", unit="file", disable=not progress):
        file = _open(path, path.relative_to(folder).as_posix(), key)
        if file.cine is not None and str(file.cine.run_id) in seen:
            file = _refused(file.label, file.name, "the same object as a file before it")
        elif file.cine is not None:
            seen.add(str(file.cine.run_id))
        yield file


def _open(path: Path, name: str, key: bytes) -> StudyFile:
    label = "F" + pseudonym(name, "run", key)[1:]
    if path.is_symlink():
        return _refused(label, name, "is a link, and links are not followed")
    try:
        cine = read_cine(path, key=key)
    except DicomError as error:
        reason = f"{error.field}: {error.problem}" if error.field else error.problem
        return _refused(label, name, reason)
    return StudyFile(label, name, cine, file_digest(path), "")


def _refused(label: str, name: str, reason: str) -> StudyFile:
    return StudyFile(label, name, None, "", reason)
