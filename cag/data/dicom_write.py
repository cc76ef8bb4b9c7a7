"""Writing cine runs as DICOM X-ray angiography; the same run gives the same bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from cag.settings import DicomError, write_atomically

XA_IMAGE_STORAGE = UID("1.2.840.10008.5.1.4.1.1.12.1")
SIMULATED = "Simulated angiogram. No patient was imaged."

_EMPTY = (
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientBirthDate", "PatientSex"),
    *("KVP", "XRayTubeCurrent", "ExposureTime", "PatientOrientation"),
)
_FIXED = {
    "ImageType": ["ORIGINAL", "PRIMARY", "SINGLE PLANE"],
    "Modality": "XA",
    "Manufacturer": "cag",
    "BodyPartExamined": "HEART",
    "BurnedInAnnotation": "NO",
    "LossyImageCompression": "00",
    "RadiationSetting": "GR",
    "PositionerMotion": "STATIC",
    "PixelIntensityRelationship": "DISP",
    "SeriesNumber": 1,
    "InstanceNumber": 1,
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelRepresentation": 0,
    "WindowCenter": 128,  # grey levels as they are
    "WindowWidth": 256,
}


def derived_uid(*names: str) -> UID:
    """A UID that depends on names alone: ``2.25.`` and 128 bits of their SHA-256 (form of PS3.5 B.2)."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def write_cine(
    path: Path,
    frames: UInt8[np.ndarray, "t h w"],
    *,
    fps: float,
    primary_angle: float | None,
    secondary_angle: float | None,
    patient_id: str,
    run_id: str,
    study_id: str | None = None,
    comment: str = SIMULATED,
) -> None:
    """Write a run as X-Ray Angiographic Image Storage: 8 bit, MONOCHROME2, explicit VR little endian.

    No date, no institution; UIDs follow from the names, so that equal arguments give equal bytes.
    The file appears under its name only when it is complete.

    Parameters
    ----------
    frames : array of uint8, shape (t, h, w)
    fps : float
        Frames a second. Cine Rate holds whole numbers only; other rates are in Frame Time alone.
    primary_angle, secondary_angle : float or None
        Degrees, LAO+ and CRA+; None leaves the tag out.
    patient_id, run_id, study_id : str
        Pseudonyms; the study is the patient's only one by default.
    comment : str
        Image Comments (says by default that the run is simulated).

    Raises
    ------
    DicomError
        If the frames have no uint8 pixels, or the rate is not positive.
    """
    if frames.dtype != np.uint8 or frames.ndim != 3 or not frames.size:
        problem = f"frames of {frames.dtype} with shape {frames.shape} are not written"
        raise DicomError(problem, file=path.name, field="frames", remedy="Give uint8 [frames, rows, columns]")
    if not fps > 0:
        raise DicomError(f"{fps} frames a second", file=path.name, field="fps", remedy="Give a positive rate")
    dataset = _dataset(patient_id, study_id or patient_id, run_id, comment)
    dataset.FrameTime = format_number_as_ds(1000 / fps)
    dataset.FrameIncrementPointer = 0x00181063  # Frame Time
    dataset.RecommendedDisplayFrameRate = max(round(fps), 1)
    if float(fps).is_integer():
        dataset.CineRate = int(fps)
    for name, angle in (("Primary", primary_angle), ("Secondary", secondary_angle)):
        if angle is not None:
            setattr(dataset, f"Positioner{name}Angle", format_number_as_ds(float(angle)))
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    pixels = frames.tobytes()
    dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
    dataset["PixelData"].VR = "OB"
    write_atomically(path, lambda temporary: dcmwrite(temporary, dataset, enforce_file_format=True))


def _dataset(patient_id: str, study_id: str, run_id: str, comment: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    for keyword, value in {**dict.fromkeys(_EMPTY), **_FIXED}.items():
        setattr(dataset, keyword, value)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = XA_IMAGE_STORAGE
    dataset.SOPInstanceUID = derived_uid("run", patient_id, study_id, run_id)
    dataset.StudyInstanceUID = derived_uid("study", patient_id, study_id)
    dataset.SeriesInstanceUID = derived_uid("series", patient_id, study_id, run_id)
    dataset.PatientID = dataset.PatientName = patient_id
    dataset.StudyID = study_id[:16]
    dataset.SeriesDescription = run_id
    dataset.ImageComments = comment
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = derived_uid("implementation", "cag")
    dataset.file_meta.ImplementationVersionName = "CAG"
    return dataset
