"""Runs in DICOM: what is written is read, bit for bit; real files of every syntax."""

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_voi_lut, pixel_array

from cag.data.dicom import read_cine, read_frames
from cag.data.dicom_write import write_cine
from cag.settings import DicomError


def test_what_is_written_is_read(run, key, write_run):
    path, frames = run
    cine = read_cine(path, key=key)
    np.testing.assert_array_equal(cine.frames, frames)
    assert (cine.fps, cine.primary_angle, cine.secondary_angle) == (15.0, -30.5, 2.25)
    assert (cine.n_frames, cine.rows, cine.columns) == (5, 32, 40)
    dataset = pydicom.dcmread(path)
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.12.1" and dataset.Modality == "XA"
    assert dataset.CineRate == dataset.RecommendedDisplayFrameRate == 15
    assert "Simulated" in dataset.ImageComments
    for fps in (7.5, 12.5, 29.97):
        write_run(path, fps=fps)
        assert read_cine(path).fps == pytest.approx(fps, abs=1e-4)


@pytest.mark.parametrize("n_frames, size", [(1, (3, 3)), (1, (5, 7)), (3, (5, 7))])
def test_odd_sizes_survive(tmp_path, write_run, n_frames, size):
    path = tmp_path / "run.dcm"
    frames = write_run(path, n_frames, size)
    np.testing.assert_array_equal(read_frames(path), frames)
    np.testing.assert_array_equal(read_frames(path, [-1, 0, -1]), frames[[-1, 0, -1]])
    assert read_frames(path, []).shape == (0, *size)
    with pytest.raises(DicomError, match=f"frame {n_frames} does not exist"):
        read_frames(path, [n_frames])


def test_the_same_run_gives_the_same_bytes_and_patients_without_id_are_their_studies(change, run, key, tmp_path):
    known = read_cine(run[0], key=key)
    assert read_cine(run[0]).patient_id is None
    anonymous = read_cine(change(run[0], lambda ds: setattr(ds, "PatientID", "")), key=key)
    assert anonymous.patient_id != known.patient_id and anonymous.study_id == known.study_id
    header = {"fps": 15, "primary_angle": 1 / 3, "secondary_angle": None, "patient_id": "P1", "run_id": "R1"}
    for name in ("a.dcm", "b.dcm"):
        write_cine(tmp_path / name, run[1], **header)
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    assert read_cine(tmp_path / "a.dcm").secondary_angle is None and not list(tmp_path.glob(".*.part"))


def test_real_runs_are_read(cag_data, key):
    folder = cag_data / "dicom_xa"
    rca = read_cine(folder / "rca_cine_jpeg_baseline.dcm", key=key)
    assert rca.frames.shape == (96, 512, 512) and (rca.primary_angle, rca.secondary_angle) == (-32, 2)
    assert rca.fps == pytest.approx(1000 / 33, abs=1e-3)
    alone = read_cine(folder / "rca_cine_jpeg_baseline.dcm", key=key, frames=[40, 2])
    np.testing.assert_array_equal(alone.frames, rca.frames[[40, 2]])
    phantom = read_cine(folder / "phantom_im6_jpeg_lossless.dcm", key=key)
    assert phantom.frames.shape == (9, 512, 512) and phantom.fps == 15
    assert (phantom.primary_angle, phantom.secondary_angle) == (24, -18.8)


def test_five_real_syntaxes_decode_alike_and_every_real_file_as_by_pydicom(cag_data):
    files = sorted((cag_data / "dicom_xa").glob("xa1_*.dcm"))
    with pytest.raises(DicomError, match="'Secondary Capture Image Storage' is not read"):
        read_cine(files[0])
    frames = [read_frames(file) for file in files]
    assert len(frames) == 5 and all(np.array_equal(one, frames[0]) for one in frames)
    for file in (cag_data / "dicom_xa").glob("*.dcm"):
        dataset = pydicom.dcmread(file)
        shown = apply_voi_lut(pixel_array(dataset, raw=True), dataset).astype(float)
        found = read_frames(file)
        shown = (shown * 255 / (2.0**dataset.BitsStored - 1)).reshape(found.shape)
        visible = found > 0  # a shutter makes the rest black
        assert visible.mean() > 0.5 and np.abs(found - shown)[visible].max() < 0.51, file.name
