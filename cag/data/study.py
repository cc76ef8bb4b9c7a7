"""The cine runs of a study's folder or archive, one after another, without its identifiers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cag.data.archives import FoundFile, opened, tree_entries
from cag.data.dicom import Cine, read_cine
from cag.data.dicom_header import MAX_FRAMES, MAX_PIXELS
from cag.data.fingerprint import file_digest
from cag.data.graphics import burned_in, without_graphics
from cag.data.pseudonyms import pseudonym
from cag.settings import DicomError


@dataclass(frozen=True)
class StudyFile:
    """A file of a study, or the files of one series of single frames.

    Attributes
    ----------
    label : str
        Pseudonym of its name in the study: archives name files by UIDs, people by patients.
    name : str
        The name itself; it belongs in no output that is shared.
    cine : Cine or None
        The run, or None where the file was refused. Text found burned into its pixels is filled.
    sha256 : str
        Digest of a run's bytes.
    reason : str
        Why the file was refused; empty for a run.
    notes : tuple of str
        What a reader of the run must know besides.
    """

    label: str
    name: str
    cine: Cine | None
    sha256: str
    reason: str
    notes: tuple[str, ...] = ()


def study_files(source: Path, key: bytes, *, progress: bool = True) -> Iterator[StudyFile]:
    """Every file of a study's folder or archive, sorted by name: decoded as a run, or refused with the reason.

    Links are refused and no folder is entered through one, so nothing outside the study is read; zip and tar
    archives are opened, one file at a time. One run is decoded at a time. Single frames of one series come last,
    put together as a run in the order of their instance numbers.

    Raises
    ------
    InputError
        If it is neither, or holds no file.
    """
    seen: set[str] = set()
    singles: dict[tuple[object, ...], list[StudyFile]] = {}
    pixels = 0
    for entry in tqdm(tree_entries(source), desc="Reading the study", unit="file", disable=not progress):
        for found in opened([entry]):
            file = _open(found, key)
            if file.cine is None:
                yield file
            elif str(file.cine.run_id) in seen:
                yield StudyFile(file.label, file.name, None, "", "the same object as a file before it")
            else:
                seen.add(str(file.cine.run_id))
                series = _series(file.cine)
                pixels += file.cine.frames.size if series else 0
                if series and pixels <= MAX_PIXELS:
                    singles.setdefault(series, []).append(file)
                else:
                    yield _cleaned(file)
    for files in singles.values():
        yield _cleaned(_joined(files))


def _open(found: FoundFile, key: bytes) -> StudyFile:
    label = "F" + pseudonym(found.name, "run", key)[1:]
    if found.path is None:
        return StudyFile(label, found.name, None, "", found.problem)
    try:
        cine = read_cine(found.path, key=key)
    except DicomError as error:
        reason = f"{error.field}: {error.problem}" if error.field else error.problem
        return StudyFile(label, found.name, None, "", reason)
    return StudyFile(label, found.name, cine, file_digest(found.path), "")


def _series(cine: Cine) -> tuple[object, ...]:
    """What single frames share that belong to one run; empty for a run, and for a frame without a place."""
    if cine.n_frames > 1 or cine.series_id is None or cine.instance_number is None:
        return ()
    return (cine.patient_id, cine.series_id, cine.rows, cine.columns, cine.primary_angle, cine.secondary_angle)


def _joined(files: list[StudyFile]) -> StudyFile:
    """One run from single frames; a frame that stands alone stays as it is."""
    if len(files) == 1:
        return files[0]
    ordered = sorted(files, key=lambda file: (file.cine.instance_number or 0) if file.cine else 0)[:MAX_FRAMES]
    cines = [file.cine for file in ordered if file.cine is not None]
    digest = hashlib.sha256("".join(file.sha256 for file in ordered).encode()).hexdigest()
    frames, count = np.concatenate([cine.frames for cine in cines]), len(cines)
    whole = replace(cines[0], n_frames=count, run_id=cines[0].series_id, frames=frames)
    name = f"{ordered[0].name} and {count - 1} more of its series"
    note = f"Put together from {count} files of one frame each, in the order of their instance numbers."
    return StudyFile(ordered[0].label, name, whole, digest, "", (note,))


def _cleaned(file: StudyFile) -> StudyFile:
    """The run without the text that was found in its pixels, and what is to be said about text."""
    cine, notes = file.cine, file.notes
    if cine is None:
        return file
    graphics = burned_in(cine.frames)
    if graphics.any():
        notes += (f"Text or lines burned into the picture were found and filled ({int(graphics.sum())} pixels).",)
        file = replace(file, cine=replace(cine, frames=without_graphics(cine.frames, graphics)))
    elif cine.says_burned_in:
        notes += ("The file says that text is burned into the picture, and none was found: look before you share it.",)
    return replace(file, notes=notes)
