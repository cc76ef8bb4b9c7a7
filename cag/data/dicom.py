"""Cine runs in DICOM: header and pixels in, patients' identifiers left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from cag.data.dicom_header import angles, frame_count, frame_rate, guarded, number, read_dataset, unusable
from cag.data.dicom_pixels import decode
from cag.data.pseudonyms import Kind, pseudonym


@dataclass(frozen=True)
class Cine:
    """A run, or chosen frames of it, without its identifiers.

    Attributes
    ----------
    n_frames, rows, columns : int
        Of the whole run.
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
    frames : array of uint8, shape (t, h, w)
        Grey levels 0-255: dark is radiopaque, VOI and MONOCHROME1 are applied.
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
    frames: UInt8[np.ndarray, "t h w"] = field(repr=False)


def read_cine(path: Path, *, key: bytes | None = None, frames: Sequence[int] | None = None) -> Cine:
    """Read a run as grey levels with its timing, angles and pseudonyms.

    Parameters
    ----------
    key : bytes, optional
        Secret of the pseudonyms, at least 16 bytes.
    frames : sequence of int, optional
        Frames to decode, 0-based and in this order; all by default. Others are not decoded.

    Raises
    ------
    DicomError
        If the file is unreadable, truncated, not DICOM, not XA, without pixels, in color, too large,
        or lacks a mandatory tag; if a frame's own size differs from the header's; if a frame asked
        for does not exist. The sentence names the file and never an identifier.
    """
    return _read(path, key, frames, allow_non_xa=False)


def read_frames(path: Path, frames: Sequence[int] | None = None) -> UInt8[np.ndarray, "t h w"]:
    """Grey levels alone, of any class of object: for files a manifest has already admitted (else `DicomError`)."""
    return _read(path, None, frames, allow_non_xa=True).frames


def _read(path: Path, key: bytes | None, frames: Sequence[int] | None, *, allow_non_xa: bool) -> Cine:
    with guarded(path), path.open("rb") as file:
        dataset = read_dataset(path, file, allow_non_xa=allow_non_xa)
        count = frame_count(dataset)
        indices = list(range(count)) if frames is None else [int(index) for index in frames]
        for index in indices:
            if not 0 <= index < count:
                raise unusable(path, "frames", f"frame {index} does not exist", f"It has frames 0 to {count - 1}")
        return Cine(**_header(dataset, key), frames=decode(path, file, dataset, indices))


def _header(dataset: Dataset, key: bytes | None) -> dict[str, Any]:
    def named(identifier: str, kind: Kind) -> str | None:
        return None if key is None else pseudonym(identifier, kind, key)

    primary, secondary = angles(dataset)
    study, series = str(dataset.StudyInstanceUID), str(dataset.get("SeriesInstanceUID") or "")
    instance = number(dataset, "InstanceNumber")
    return {
        "n_frames": frame_count(dataset),
        "rows": int(dataset.Rows),
        "columns": int(dataset.Columns),
        "fps": frame_rate(dataset),
        "primary_angle": primary,
        "secondary_angle": secondary,
        "patient_id": named(str(dataset.get("PatientID") or "").strip() or f"study\0{study}", "patient"),
        "study_id": named(study, "study"),
        "run_id": named(str(dataset.SOPInstanceUID), "run"),
        "series_id": named(f"series\0{series}", "run") if series else None,
        "instance_number": None if instance is None else int(instance),
        "plane": _plane(dataset),
        "says_burned_in": dataset.get("BurnedInAnnotation") == "YES",
    }


def _plane(dataset: Dataset) -> str:
    """Plane of a biplane run, by the third value of Image Type (PS3.3 C.8.7.1.1.1)."""
    kind = dataset.get("ImageType")
    third = str(kind[2]) if isinstance(kind, MultiValue) and len(kind) > 2 else ""
    return third.removeprefix("BIPLANE ") if third in ("BIPLANE A", "BIPLANE B") else ""
