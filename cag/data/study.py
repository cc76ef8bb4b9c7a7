"""The cine runs of a study's folder or archive, without its identifiers and without text burned into the pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from scipy.ndimage import binary_dilation, distance_transform_edt, grey_opening
from tqdm import tqdm

from cag.data.archives import FoundFile, opened, tree_entries
from cag.data.dicom import Cine, read_cine
from cag.data.dicom_header import MAX_PIXELS
from cag.data.fingerprint import file_digest, joint_digest
from cag.data.pseudonyms import pseudonym
from cag.settings import DicomError

MIN_FRAMES = 8  #: Frames from which standing still means something; shorter runs are not looked at.
_LOOKED_AT = 24  #: Frames, spread over the run, that are compared: what stands still in all of them stands still.
#: A graphic's grey level is at least this in every frame, and moves by no more than lossy compression would move it.
_BRIGHT, _STILL = 235, 12
#: Strokes are thinner than this share of the image's side, and stand out on both sides by so many grey levels: the
#: border of an over-exposed lung against a shutter or a wire does so on one side only.
_STROKE, _CONTRAST = 1 / 64, 50
_LEAST_PIXELS = 30
_PAUSE = 5.0  #: Seconds without a frame, between runs; a run's own frames follow each other within one or two.
_SAME_UID = "Another file has the same SOP Instance UID, but not the same bytes; both are read."
_STUDIES = "Several studies have its Patient ID: look whether they are of one patient."


@dataclass(frozen=True)
class StudyFile:
    """A file of a study, or the files of one run of single frames."""

    label: str  #: Pseudonym of its name: archives name files by UIDs, people by patients.
    name: str  #: The name itself; it belongs in no output that is shared.
    cine: Cine | None  #: The run, without text found burned into it; None where the file was refused.
    sha256: str  #: Digest of a run's bytes.
    reason: str  #: Why the file was refused; empty for a run.
    notes: tuple[str, ...] = ()  #: What a reader of the run must know besides.
    paths: tuple[Path, ...] = ()  #: Where it lies, or its frames one by one; in an archive only while it is read.


def study_files(source: Path, key: bytes, *, progress: bool = True) -> Iterator[StudyFile]:
    """Every file of a study's folder or archive, sorted by name: decoded as a run, or refused with the reason.

    No link is followed, so nothing outside the study is read; zip and tar archives are opened. One run is decoded at a
    time, and text burned into it is filled. Raises `InputError` if it is neither, or holds no file.
    """
    entries = opened(tqdm(tree_entries(source), desc="Reading the study", unit="file", disable=not progress))
    return (file if file.cine is None else _cleaned(file, file.cine) for file in found_runs(entries, key))


def found_runs(entries: Iterable[FoundFile], key: bytes, frames: Sequence[int] | None = None) -> Iterator[StudyFile]:
    """Runs of the files, with chosen frames (all by default), or the reasons why a file is none.

    Single frames of one acquisition and plane of a series come last, put together as a run in the order of their
    instance numbers. The same bytes in two files are one run; other bytes under its UID are a run of its own.
    """
    seen, studies = dict[str | None, set[str]](), dict[str | None, str | None]()
    singles: dict[tuple[object, ...], list[tuple[StudyFile, Cine]]] = {}
    pixels = 0
    for file in (_open(found, key, frames) for found in entries):
        if (cine := file.cine) is None:
            yield file
            continue
        known = seen.setdefault(cine.run_id, set())
        if file.sha256 in known:
            yield replace(file, cine=None, sha256="", reason="the same bytes as a file before it")
            continue
        other = studies.setdefault(cine.patient_id, cine.study_id) != cine.study_id
        run_id = pseudonym(f"{cine.run_id}\0{file.sha256}", "run", key) if known else cine.run_id
        cine = replace(cine, run_id=run_id)
        file = replace(file, cine=cine, notes=(*file.notes, *[_SAME_UID] * bool(known), *[_STUDIES] * other))
        known.add(file.sha256)
        single = cine.n_frames == 1 and cine.series_id is not None and cine.instance_number is not None
        pixels += cine.rows * cine.columns if single else 0
        if single and pixels <= MAX_PIXELS:
            place = (cine.rows, cine.columns, cine.primary_angle, cine.secondary_angle, cine.plane)
            singles.setdefault((cine.patient_id, cine.series_id, *place), []).append((file, cine))
        else:
            yield file
    for files in singles.values():
        for own in _apart(sorted(files, key=lambda pair: pair[1].instance_number or 0)):
            yield from _joined(own)


def _open(found: FoundFile, key: bytes, frames: Sequence[int] | None) -> StudyFile:
    label = "F" + pseudonym(found.name, "run", key)[1:]
    if found.path is None:
        return StudyFile(label, found.name, None, "", found.problem)
    try:
        cine = read_cine(found.path, key=key, frames=frames)
        return StudyFile(label, found.name, cine, file_digest(found.path), "", cine.notes, (found.path,))
    except DicomError as error:
        return StudyFile(label, found.name, None, "", error.reason)


def _apart(files: list[tuple[StudyFile, Cine]]) -> list[list[tuple[StudyFile, Cine]]]:
    """Single frames as the runs that their times surely tell apart: by a pause, else by time or numbers of its own."""
    if None in (cine.seconds for _, cine in files):
        return [files]
    numbers, times = np.array([(cine.instance_number, cine.seconds) for _, cine in files]).T
    times += 86_400 * (times.max() - times > 43_200)  # after midnight
    repeated, steady = (np.diff(numbers) == 0).any(), (np.diff(times) >= 0).all()
    order = np.lexsort((numbers, times))
    parts = np.split(order, np.flatnonzero((np.diff(numbers[order]) <= 0) | (np.diff(times[order]) > _PAUSE)) + 1)
    fewest = max if steady and not repeated else min
    sure = steady or repeated or not any(np.ptp(times[part]) for part in parts)
    return [[files[place] for place in part] for part in parts] if sure and fewest(map(len, parts)) > 1 else [files]


def _joined(files: list[tuple[StudyFile, Cine]]) -> Iterator[StudyFile]:
    """One run from single frames in their order; a frame that stands alone stays as it is, as do two of one number."""
    (first, cine), count = files[0], len(files)
    if count == 1 or len({single.instance_number for _, single in files}) < count:
        why = "Its series has several frames of one instance number, so they were not put together."
        yield from (replace(file, notes=file.notes + ((why,) if count > 1 else ())) for file, _ in files)
        return
    frames = np.concatenate([single.frames for _, single in files])
    note = f"Put together from {count} files of one frame each, in the order of their instance numbers."
    notes = dict.fromkeys([note, *(text for file, _ in files for text in file.notes)])
    name, paths = f"{first.name} and {count - 1} more of its series", tuple(file.paths[0] for file, _ in files)
    digest = joint_digest([file.sha256 for file, _ in files])
    whole = replace(cine, n_frames=count, frames=frames)
    yield replace(first, name=name, cine=whole, sha256=digest, notes=tuple(notes), paths=paths)


def _cleaned(file: StudyFile, cine: Cine) -> StudyFile:
    """The run without the text that was found in its pixels, and what is to be said about text."""
    graphics, notes = burned_in(cine.frames), file.notes
    if graphics.any():
        notes += (f"Text or lines burned into the picture were found and filled ({int(graphics.sum())} pixels).",)
        cine = replace(cine, frames=without_graphics(cine.frames, graphics))
    elif cine.says_burned_in:
        notes += ("The file says that text is burned into the picture, and none was found: look before you share it.",)
    return replace(file, cine=cine, notes=notes)


def burned_in(frames: UInt8[np.ndarray, "t h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels that look like burned-in text or graphics; all false in runs of fewer than `MIN_FRAMES` frames.

    X-ray pixels are noisy: what is thin and white in all frames is drawn. Dark text, and text on white, is not found.
    """
    if len(frames) < MIN_FRAMES:
        return np.zeros(frames.shape[1:], dtype=bool)
    frames = frames[np.unique(np.linspace(0, len(frames) - 1, _LOOKED_AT).round().astype(int))]
    lowest, highest = frames.min(axis=0), frames.max(axis=0)
    still = (lowest >= _BRIGHT) & (highest - lowest <= _STILL)
    width = max(round(_STROKE * min(still.shape)), 5)
    mean = frames.mean(axis=0, dtype=np.float32)
    thin = still & (mean - grey_opening(mean, size=width + 1) >= _CONTRAST)
    return thin if thin.sum() >= _LEAST_PIXELS else np.zeros_like(thin)


def without_graphics(
    frames: UInt8[np.ndarray, "t h w"], graphics: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "t h w"]:
    """Frames in which graphics, and a pixel around them, are filled with the nearest pixels beside them."""
    hidden = binary_dilation(graphics, structure=np.ones((3, 3), dtype=bool))
    if hidden.all():
        return np.zeros_like(frames)
    rows, columns = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    filled: UInt8[np.ndarray, "t h w"] = frames[:, rows, columns]
    return filled
