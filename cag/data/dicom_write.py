"""Writing cine runs as DICOM X-ray angiography; the same run gives the same bytes."""

import csv
import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from cag.settings import write_atomically

SIMULATED = "Simulated angiogram. No patient was imaged."

#: Tags that every run has, some of them empty.
with Path(__file__).with_name("dicom_written.csv").open(encoding="utf-8") as _file:
    _FIXED = {row["keyword"]: int(row["value"]) if row["whole"] else row["value"] for row in csv.DictReader(_file)}


def derived_uid(*names: str) -> UID:
    """A UID that depends on names alone: ``2.25.`` and 128 bits of their SHA-256 (form of PS3.5 B.2)."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def write_cine(
    path: Path, frames: UInt8[np.ndarray, "t h w"], *, fps: float,
    primary_angle: float | None, secondary_angle: float | None, patient_id: str, run_id: str,
) -> None:  # fmt: skip
    """Write a run as an uncompressed XA object; equal arguments give equal bytes. Angles are LAO+ and CRA+, or None."""
    dataset, dataset.file_meta = Dataset(), FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = derived_uid("implementation", "cag")
    dataset.file_meta.ImplementationVersionName = "CAG"
    pixels = frames.tobytes()
    values = {
        **_FIXED,
        "SOPInstanceUID": derived_uid("run", patient_id, patient_id, run_id),
        "StudyInstanceUID": derived_uid("study", patient_id, patient_id),
        "SeriesInstanceUID": derived_uid("series", patient_id, patient_id, run_id),
        **{"PatientID": patient_id, "PatientName": patient_id, "StudyID": patient_id[:16]},
        **{"SeriesDescription": run_id, "ImageComments": SIMULATED},
        "FrameTime": format_number_as_ds(1000 / fps),
        "RecommendedDisplayFrameRate": max(round(fps), 1),
        **({"CineRate": int(fps)} if float(fps).is_integer() else {}),
        **dict(zip(("NumberOfFrames", "Rows", "Columns"), frames.shape, strict=True)),
        "PixelData": pixels + b"\0" * (len(pixels) % 2),
    }
    angles = {"PositionerPrimaryAngle": primary_angle, "PositionerSecondaryAngle": secondary_angle}
    values |= {name: format_number_as_ds(float(angle)) for name, angle in angles.items() if angle is not None}
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OB"
    write_atomically(path, lambda temporary: dcmwrite(temporary, dataset, enforce_file_format=True))
