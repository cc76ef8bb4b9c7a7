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
    label, name : str
        Pseudonym of its name in the study, and the name itself, which belongs in no output that is shared:
        archives name files by UIDs, people by patients.
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
    singles: dict[tuple[object, ...], list[tuple[StudyFile, Cine]]] = {}
    pixels = 0
    for found in opened(tqdm(tree_entries(source), desc="Reading the study", unit="file", disable=not progress)):
        file = _open(found, key)
        cine = file.cine
        if cine is None:
            yield file
        elif str(cine.run_id) in seen:
            yield replace(file, cine=None, sha256="", reason="the same object as a file before it")
        else:
            seen.add(str(cine.run_id))
            series = (
                cine.patient_id,
                cine.series_id,
                cine.rows,
                cine.columns,
                cine.primary_angle,
                cine.secondary_angle,
            )
            single = cine.n_frames == 1 and cine.series_id is not None and cine.instance_number is not None
            pixels += cine.frames.size if single else 0
            if single and pixels <= MAX_PIXELS:
                singles.setdefault(series, []).append((file, cine))
            else:
                yield _cleaned(file, cine)
    for files in singles.values():
        yield _joined(sorted(files, key=lambda pair: pair[1].instance_number or 0)[:MAX_FRAMES])


def _open(found: FoundFile, key: bytes) -> StudyFile:
    label = "F" + pseudonym(found.name, "run", key)[1:]
    if found.path is None:
        return StudyFile(label, found.name, None, "", found.problem)
    try:
        return StudyFile(label, found.name, read_cine(found.path, key=key), file_digest(found.path), "")
    except DicomError as error:
        return StudyFile(
            label, found.name, None, "", f"{error.field}: {error.problem}" if error.field else error.problem
        )


def _joined(files: list[tuple[StudyFile, Cine]]) -> StudyFile:
    """One run from single frames in their order; a frame that stands alone stays as it is."""
    (first, cine), count = files[0], len(files)
    if count == 1:
        return _cleaned(first, cine)
    frames = np.concatenate([single.frames for _, single in files])
    digest = hashlib.sha256("".join(file.sha256 for file, _ in files).encode()).hexdigest()
    note = f"Put together from {count} files of one frame each, in the order of their instance numbers."
    whole = replace(first, name=f"{first.name} and {count - 1} more of its series", sha256=digest, notes=(note,))
    return _cleaned(whole, replace(cine, n_frames=count, run_id=cine.series_id, frames=frames))


def _cleaned(file: StudyFile, cine: Cine) -> StudyFile:
    """The run without the text that was found in its pixels, and what is to be said about text."""
    graphics, notes = burned_in(cine.frames), file.notes
    if graphics.any():
        notes += (f"Text or lines burned into the picture were found and filled ({int(graphics.sum())} pixels).",)
        cine = replace(cine, frames=without_graphics(cine.frames, graphics))
    elif cine.says_burned_in:
        notes += ("The file says that text is burned into the picture, and none was found: look before you share it.",)
    return replace(file, cine=cine, notes=notes)
