"""The cine runs of a study's folder or archive, without its identifiers and without text burned into the pixels."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, UInt8
from scipy.ndimage import binary_dilation, distance_transform_edt, grey_opening
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from tqdm import tqdm

from cag.data.archives import FoundFile, opened, tree_entries
from cag.data.dicom import Cine, read_cine
from cag.data.dicom_header import MAX_PIXELS, STEADY
from cag.data.dicom_pixels import POOR, poor
from cag.data.fingerprint import joint_digest, known_digest
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
#: Degrees by which single frames of one view may differ, and by which an arm may turn from one frame to the next.
_ONE_VIEW, _TURN, _ANGLES = 1.0, 5.0, ["primary_angle", "secondary_angle"]
_SAME_BYTES = "the same bytes as a file before it, which is read. Nothing is lost: leave it, or remove the copy"
_NUMBERS = "Its series has frames without an instance number, or several of one: they were not put together."
_SAME_UID = "Another file has the same SOP Instance UID, but not the same bytes; both are read."
_STUDIES = "Several studies have its Patient ID: look whether they are of one patient."
_BY_NAME = "file names, since neither instance numbers nor times tell one: look whether it is right"
_ALONE = "A single frame that was not put together with others: it names no series, or they are too many."


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


_Single = tuple[StudyFile, Cine]  #: A file of one frame, and that frame.


def study_files(source: Path, key: bytes, *, progress: bool = True) -> Iterator[StudyFile]:
    """Every file of a study's folder or archive (else `InputError`): a run, its burned-in text filled, or a reason."""
    files = found_runs(tree_entries(source), key, progress=progress)
    return (file if file.cine is None else _cleaned(file, file.cine) for file in files)


def found_runs(
    entries: Sequence[FoundFile], key: bytes, frames: Sequence[int] | None = None, *, progress: bool = True
) -> Iterator[StudyFile]:
    """Runs of the files, or why one is none; the same bytes once; single frames put together as runs, at the end."""
    singles, pixels = dict[tuple[object, ...], list[_Single]](), 0
    for file in _each(entries, key, frames, not progress):
        if (cine := file.cine) is None or cine.n_frames > 1:
            yield file
        elif cine.series_id is None or (pixels := pixels + cine.rows * cine.columns) > MAX_PIXELS:
            yield replace(file, notes=(*file.notes, _ALONE))
        else:
            place = (cine.patient_id, cine.series_id, cine.rows, cine.columns, cine.plane)
            singles.setdefault(place, []).append((file, cine))
    runs, bits = list[tuple[list[_Single], pd.DataFrame, str]](), dict[str, int]()
    for files in singles.values():
        table, order = _ordered(files)
        for part in (part for view in _views(table) for part in _apart(view)):
            own = [files[place] for place in part.index]
            if len(own) == 1 or part.number.nunique() < len(own):
                yield from (replace(file, notes=(*file.notes, *[_NUMBERS] * (len(own) > 1))) for file, _ in own)
                continue
            runs.append((own, part, order))
            most = max(cine.grey_bits for _, cine in own)
            bits |= {file.name: most for file, cine in own if 0 < cine.grey_bits < most}
    narrow = (found for found in opened(entries if bits else []) if found.name in bits)
    wide = {own.sha256: own.cine for found in narrow for own in [_open(found, key, frames, bits[found.name])]}
    yield from (_joined(files, wide, part, order) for files, part, order in runs)


def _each(entries: Sequence[FoundFile], key: bytes, frames: Sequence[int] | None, quiet: bool) -> Iterator[StudyFile]:
    """The files one by one; all headers are read first, so that what concerns several files is said of each."""
    show = partial(tqdm, unit="file", disable=quiet)
    bytes_of, studies = defaultdict[str | None, set[str]](set), defaultdict[str | None, set[str | None]](set)
    for file in (_open(found, key, []) for found in opened(show(entries, desc="Reading headers"))):
        if file.cine is not None:
            bytes_of[file.cine.run_id].add(file.sha256)
            studies[file.cine.patient_id].add(file.cine.study_id)
    first, seen = dict[str | None, str](), set[str]()
    for file in (_open(found, key, frames) for found in opened(show(entries, desc="Reading runs"))):
        if (cine := file.cine) is None:
            yield file
        elif file.sha256 in seen:
            yield replace(file, cine=None, sha256="", reason=_SAME_BYTES)
        else:
            seen.add(file.sha256)
            more = [_SAME_UID] * (len(bytes_of[cine.run_id]) > 1) + [_STUDIES] * (len(studies[cine.patient_id]) > 1)
            if first.setdefault(cine.run_id, file.sha256) != file.sha256:
                cine = replace(cine, run_id=pseudonym(f"{cine.run_id}\0{file.sha256}", "run", key))
            yield replace(file, cine=cine, notes=(*file.notes, *more))


def _open(found: FoundFile, key: bytes, frames: Sequence[int] | None, grey_bits: int = 0) -> StudyFile:
    label = "F" + pseudonym(found.name, "run", key)[1:]
    if found.path is None:
        return StudyFile(label, found.name, None, "", found.problem)
    try:
        cine = read_cine(found.path, key=key, frames=frames, grey_bits=grey_bits)
        return StudyFile(label, found.name, cine, known_digest(found.path), "", cine.notes, (found.path,))
    except DicomError as error:
        return StudyFile(label, found.name, None, "", error.reason)


def _ordered(files: list[_Single]) -> tuple[pd.DataFrame, str]:
    """Number, seconds and angles of single frames, a row each in their order, and what the order is by."""
    rows = [(own.instance_number, *own.seconds, own.primary_angle, own.secondary_angle) for _, own in files]
    table = pd.DataFrame(rows, columns=["number", "acquisition", "content", *_ANGLES], dtype=float)
    times = table[["acquisition", "content"]]
    times = times + 86_400 * (times.max() - times > 43_200)  # after midnight
    order, table["time"] = "instance numbers", times.acquisition.fillna(times.content)
    if table.number.isna().any() or table.number.nunique() == 1:
        clocks = [name for name in times if times[name].is_unique and times[name].notna().all()]
        if clocks:
            order, table["number"] = f"{clocks[0]} times, since instance numbers tell none", times[clocks[0]].rank()
        elif table.number.isna().any():
            parts = [re.split("([0-9]+)", file.name) for file, _ in files]
            keys = [[int(part) if place % 2 else part for place, part in enumerate(own)] for own in parts]
            order, named = _BY_NAME, sorted(range(len(files)), key=keys.__getitem__)
            if table.number[named].dropna().is_monotonic_increasing:
                table["number"] = np.argsort(named)
    return table.sort_values("number", kind="stable"), order


def _views(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Single frames by their view; close angles are one view, and so are those through which an arm turns."""
    places, which = np.unique(table[_ANGLES].fillna(999), axis=0, return_inverse=True)
    close, near = (
        connected_components(KDTree(places).sparse_distance_matrix(KDTree(places), limit, p=np.inf))[1][which.ravel()]
        for limit in (_ONE_VIEW, _TURN)
    )
    sizes = table.groupby([near, close]).size().groupby(level=0).agg(["size", "min"])
    steady = sizes.index[(sizes["size"] == 2) & (sizes["min"] > 1)]  # an arm that turns has more, or one alone
    views = np.where(np.isin(near, steady), close, -1 - near)
    if len(set(views[table[_ANGLES].notna().all(axis=1)])) == 1:  # those without angles can be of no other
        views = np.zeros_like(views)
    return [own for _, own in table.groupby(views)]


def _apart(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Single frames as the runs that their times surely tell apart: by a pause, else by time or numbers of its own."""
    if table.time.isna().any():
        return [table]
    numbers, times = table.number.to_numpy(), table.time.to_numpy()
    repeated, steady = (np.diff(numbers) == 0).any(), (np.diff(times) >= 0).all()
    order = np.lexsort((numbers, times))
    parts = np.split(order, np.flatnonzero((np.diff(numbers[order]) <= 0) | (np.diff(times[order]) > _PAUSE)) + 1)
    fewest = max if steady and not repeated else min
    sure = steady or repeated or not any(np.ptp(times[part]) for part in parts)
    return [table.iloc[part] for part in parts] if sure and fewest(map(len, parts)) > 1 else [table]


def _joined(files: list[_Single], wide: Mapping[str, Cine | None], table: pd.DataFrame, order: str) -> StudyFile:
    """One run from single frames in their order, those of a narrower grey range as read again with the run's own."""
    (first, cine), count = files[0], len(files)
    notes = [f"Put together from {count} files of one frame each, in the order of their {order}."]
    spread = (table[_ANGLES].max() - table[_ANGLES].min()).max()
    middle = [None if np.isnan(angle) else angle for angle in table[_ANGLES].median()]
    if spread > STEADY:
        notes, middle = [*notes, f"The arm turns by {spread:.3g} degrees, so it has no view."], [None, None]
    elif spread > 0:
        notes.append(f"Angles of its frames differ by up to {spread:.2g} degrees; their median counts.")
    read = [wide.get(file.sha256) or single for file, single in files]
    for (file, single), own in zip(files, read, strict=True):
        notes += [text for text in (*own.notes, *file.notes[len(single.notes) :]) if POOR not in text]
    notes += poor(np.sum([own.counts for own in read], axis=0))
    name, paths = f"{first.name} and {count - 1} more of its series", tuple(file.paths[0] for file, _ in files)
    frames = np.concatenate([own.frames for own in read])
    whole = replace(cine, n_frames=count, frames=frames, primary_angle=middle[0], secondary_angle=middle[1])
    digest = joint_digest([file.sha256 for file, _ in files])
    return replace(first, name=name, cine=whole, sha256=digest, notes=tuple(dict.fromkeys(notes)), paths=paths)


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
    """Pixels of white, thin, still text or graphics; all false in runs of fewer than `MIN_FRAMES` frames."""
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
    return frames[:, rows, columns]
