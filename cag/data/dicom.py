"""Cine runs in DICOM: header and pixels in, patients' identifiers left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from cag.data.dicom_header import angles, frame_count, frame_rate, guarded, read_dataset, unusable
from cag.data.dicom_pixels import decode
from cag.data.pseudonyms import Kind, pseudonym


@dataclass(frozen=True)
class CineHeader:
    """What a run's file says, without its pixels.

    Attributes
    ----------
    n_frames, rows, columns : int
    fps : float or None
        Frames a second; None where the file does not tell (``cag.data.dicom_header.frame_rate``).
    primary_angle, secondary_angle : float or None
        Degrees, LAO+ and CRA+; None where the file gives none.
    patient_id, study_id, series_id, run_id : str or None
        Pseudonyms of Patient ID, Study, Series and SOP Instance UID; None without a key.
        Where a file has no Patient ID, its study stands for the patient; a file without a series has no series_id.
    instance_number : int or None
        Place within the series.
    plane : str
        ``A`` or ``B`` of a biplane run, else empty; the planes are files, and runs, of their own.
    says_burned_in : bool
        Whether the file itself says that text is burned into its pixels; many that have some do not.
    """

    n_frames: int
    rows: int
    columns: int
    fps: float | None
    primary_angle: float | None
    secondary_angle: float | None
    patient_id: str | None
    study_id: str | None
    run_id: str | None
    series_id: str | None
    instance_number: int | None
    plane: str
    says_burned_in: bool


@dataclass(frozen=True)
class Cine(CineHeader):
    """A run, or chosen ``frames`` of it, as grey levels 0-255: dark is radiopaque, VOI and MONOCHROME1 are applied."""

    frames: UInt8[np.ndarray, "t h w"] = field(repr=False)


def read_header(path: Path, *, key: bytes | None = None, allow_non_xa: bool = False) -> CineHeader:
    """Read and check a run's header; `read_cine`'s `DicomError`, except for what only decoding shows."""
    with guarded(path), path.open("rb") as file:
        return _header(path, read_dataset(path, file, allow_non_xa=allow_non_xa), key)


def read_cine(path: Path, *, key: bytes, frames: Sequence[int] | None = None, allow_non_xa: bool = False) -> Cine:
    """Read a run as grey levels with its timing, angles and pseudonyms.

    Parameters
    ----------
    key : bytes
        Secret of the pseudonyms, at least 16 bytes.
    frames : sequence of int, optional
        Frames to decode, 0-based and in this order; all by default. Others are not decoded.
    allow_non_xa : bool
        Also read objects of other classes, such as Secondary Capture; they have no angles.

    Raises
    ------
    DicomError
        If the file is unreadable, truncated, not DICOM, not XA, without pixels, in color, too large,
        or lacks a mandatory tag; if a frame's own size differs from the header's; if a frame asked
        for does not exist. The sentence names the file and never an identifier.
    """
    with guarded(path), path.open("rb") as file:
        dataset = read_dataset(path, file, allow_non_xa=allow_non_xa)
        header = _header(path, dataset, key)
        indices = _checked_indices(path, frames, header.n_frames)
        return Cine(**vars(header), frames=decode(path, file, dataset, indices))


def read_frames(path: Path, frames: Sequence[int] | None = None) -> UInt8[np.ndarray, "t h w"]:
    """Grey levels alone, of any class of object: for files a manifest has already admitted (else `DicomError`)."""
    with guarded(path), path.open("rb") as file:
        dataset = read_dataset(path, file, allow_non_xa=True)
        return decode(path, file, dataset, _checked_indices(path, frames, frame_count(dataset)))


def _checked_indices(path: Path, frames: Sequence[int] | None, n_frames: int) -> tuple[int, ...]:
    indices = tuple(range(n_frames)) if frames is None else tuple(int(index) for index in frames)
    for index in indices:
        if not 0 <= index < n_frames:
            raise unusable(path, "frames", f"frame {index} does not exist", f"It has frames 0 to {n_frames - 1}")
    return indices


def _header(path: Path, dataset: Dataset, key: bytes | None) -> CineHeader:
    def named(identifier: str, kind: Kind) -> str | None:
        return None if key is None else pseudonym(identifier, kind, key)

    primary, secondary = angles(path, dataset)
    study, series = str(dataset.StudyInstanceUID), str(dataset.get("SeriesInstanceUID") or "")
    return CineHeader(
        n_frames=frame_count(dataset),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        fps=frame_rate(dataset),
        primary_angle=primary,
        secondary_angle=secondary,
        patient_id=named(str(dataset.get("PatientID") or "").strip() or f"study\0{study}", "patient"),
        study_id=named(study, "study"),
        run_id=named(str(dataset.SOPInstanceUID), "run"),
        series_id=named(f"series\0{series}", "run") if series else None,
        instance_number=int(number) if (number := dataset.get("InstanceNumber")) not in (None, "") else None,
        plane=_plane(dataset),
        says_burned_in=dataset.get("BurnedInAnnotation") == "YES",
    )


def _plane(dataset: Dataset) -> str:
    """Plane of a biplane run, by the third value of Image Type (PS3.3 C.8.7.1.1.1)."""
    kind = dataset.get("ImageType")
    third = str(kind[2]) if isinstance(kind, MultiValue) and len(kind) > 2 else ""
    return third.removeprefix("BIPLANE ") if third in ("BIPLANE A", "BIPLANE B") else ""
