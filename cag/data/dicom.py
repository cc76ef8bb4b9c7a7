"""Cine runs in DICOM: header and pixels in, patients' identifiers left behind."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from cag.data.dicom_header import angles, frame_rate, guarded, number, open_dicom, unusable, words
from cag.data.dicom_pixels import decode
from cag.data.pseudonyms import Kind, pseudonym


@dataclass(frozen=True)
class Cine:
    """A run, or chosen frames of it; identifiers are pseudonyms, None without a key."""

    n_frames: int  #: Of the whole run, as are rows and columns.
    rows: int
    columns: int
    fps: float | None  #: Frames a second; None where the file does not tell (`cag.data.dicom_header.frame_rate`).
    primary_angle: float | None  #: Degrees, LAO+; None where the file gives none.
    secondary_angle: float | None  #: Degrees, CRA+.
    patient_id: str | None  #: Of Patient ID; where a file has none, its study stands for the patient.
    study_id: str | None
    run_id: str | None  #: Of SOP Instance UID.
    series_id: str | None  #: Of its series and acquisition number; None for a file without a series.
    instance_number: int | None  #: Place within the series.
    seconds: tuple[float | None, float | None]  #: Of the day, by Acquisition Time and by Content Time.
    plane: str  #: ``A`` or ``B`` of a biplane run, else empty; the planes are files, and runs, of their own.
    says_burned_in: bool  #: Whether the file says that text is burned in; many that have some do not.
    notes: tuple[str, ...]  #: What a reader of the run must know, such as values of the header that cannot be.
    frames: UInt8[np.ndarray, "t h w"] = field(repr=False)  #: Grey levels 0-255: dark is radiopaque.
    #: Pixels that have each grey level.
    counts: Int[np.ndarray, " 256"] = field(default_factory=partial(np.zeros, 256, int), repr=False)
    grey_bits: int = 0  #: Of the grey range where nothing but the values tells it.


def read_frames(path: Path, frames: Sequence[int] | None = None) -> UInt8[np.ndarray, "t h w"]:
    """Grey levels alone, of any class of object: for files a manifest has already admitted (else `DicomError`)."""
    return read_cine(path, frames=frames, allow_non_xa=True).frames


def read_cine(
    path: Path, *, key: bytes | None = None, frames: Sequence[int] | None = None, allow_non_xa: bool = False,
    grey_bits: int = 0,
) -> Cine:  # fmt: skip
    """Read a run, or ``frames`` of it (-1 is the last), and pseudonyms by ``key``, or refuse it (`DicomError`).

    One of several files of a run shares the highest of their ``grey_bits``.
    """

    def named(identifier: str, kind: Kind) -> str | None:
        return None if key is None else pseudonym(identifier, kind, key)

    with guarded(path), path.open("rb") as file:
        opened = open_dicom(path, file, allow_non_xa=allow_non_xa)
        dataset, count = opened.dataset, opened.dataset.NumberOfFrames
        instance, (primary, secondary) = number(dataset, "InstanceNumber"), angles(dataset)
        study, series = str(dataset.StudyInstanceUID), str(dataset.get("SeriesInstanceUID") or "")
        clocks = [number(dataset, f"{name}Time") for name in ("Acquisition", "Content")]  # hhmmss
        seconds = [None if own is None else own // 10000 * 3600 + own // 100 % 100 * 60 + own % 100 for own in clocks]
        indices = list(range(count)) if frames is None else [int(index) for index in frames]
        for index in indices:
            if not -count <= index < count:
                raise unusable(path, "frames", f"frame {index} does not exist", f"It has frames 0 to {count - 1}")
        planes = [kind[-1] for kind in words(dataset, "ImageType") if kind in ("BIPLANEA", "BIPLANEB")]
        pixels, counts, bits = decode(path, opened, [index % count for index in indices], grey_bits)
        values: dict[str, Any] = {
            **{"n_frames": count, "rows": dataset.Rows, "columns": dataset.Columns, "fps": frame_rate(dataset)},
            **{"primary_angle": primary, "secondary_angle": secondary, "plane": planes[0] if planes else ""},
            "patient_id": named(str(dataset.get("PatientID") or "").strip() or f"study\0{study}", "patient"),
            **{"study_id": named(study, "study"), "run_id": named(str(dataset.SOPInstanceUID), "run")},
            "series_id": named(f"series\0{series}\0{number(dataset, 'AcquisitionNumber')}", "run") if series else None,
            **{"instance_number": None if instance is None else int(instance), "seconds": tuple(seconds)},
            **{"says_burned_in": "YES" in words(dataset, "BurnedInAnnotation"), "frames": pixels},
            **{"counts": counts, "grey_bits": bits},
        }
        return Cine(**values, notes=tuple(dict.fromkeys(opened.notes)))
