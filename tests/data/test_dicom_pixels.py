"""Pixels: compressed and deep values into grey levels, damaged streams refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_variants import write_variant
from mutations import mutated
from pydicom.dataset import Dataset
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless

from cag.data.dicom import read_cine, read_frames
from cag.data.dicom_pixels import declared
from cag.settings import DicomError

Change = Callable[..., Path]


def store(change: Change, path: Path, values: np.ndarray, bits: int, signed: bool = False, **tags: object) -> Path:
    """Put other stored values into a one-frame file."""

    def edit(ds: Dataset) -> None:
        for tag in ("WindowCenter", "WindowWidth"):
            ds.pop(tag, None)
        ds.set_pixel_data(values.astype(np.int16 if signed else np.uint16)[None], "MONOCHROME2", bits)
        for tag, value in tags.items():
            setattr(ds, tag, value)

    return change(path, edit)


def test_grey_levels_of_more_bits(change: Change, run: tuple[Path, np.ndarray]) -> None:
    path, _ = run
    values = np.array([[0, 1023], [512, 256]])
    assert read_frames(store(change, path, values, 10)).ravel().tolist() == [0, 255, 128, 64]
    # linear window of PS3.3 C.11.2.1.2: (x - 99.5) / 100 + .5
    windowed = np.array([[0, 49, 50, 99], [100, 149, 150, 1023]])
    store(change, path, windowed, 10, WindowCenter=100, WindowWidth=101)
    assert read_frames(path).ravel().tolist() == [0, 0, 1, 126, 129, 254, 255, 255]


def test_signed_values_and_inversion(change: Change, run: tuple[Path, np.ndarray]) -> None:
    path, _ = run
    store(change, path, np.array([[-2048, 2047], [0, -1024]]), 12, signed=True)
    assert read_frames(path).ravel().tolist() == [0, 255, 128, 64]
    change(path, lambda ds: setattr(ds, "PhotometricInterpretation", "MONOCHROME1"))
    assert read_frames(path).ravel().tolist() == [255, 0, 127, 191]


def test_a_voi_table_goes_before_a_window(change: Change, run: tuple[Path, np.ndarray]) -> None:
    path, _ = run

    def edit(ds: Dataset) -> None:
        item = Dataset()
        item.add_new("LUTDescriptor", "US", [4, 10, 8])
        item.add_new("LUTData", "OW", np.array([200, 100, 50, 7], np.uint16).tobytes())
        ds.VOILUTSequence = [item]

    change(store(change, path, np.array([[0, 10], [11, 12], [13, 14]]), 12, WindowCenter=1, WindowWidth=2), edit)
    assert read_frames(path).ravel().tolist() == [200, 200, 100, 50, 7, 7]


@pytest.mark.parametrize("name", ["plain", "rle", "jpeg_ls", "jpeg_2000", "bits_12_voi_lut", "enhanced"])
def test_damaged_files_are_read_or_refused_by_name(tmp_path: Path, key: bytes, name: str) -> None:
    whole = write_variant(name, tmp_path).read_bytes()
    outcomes = set()
    for seed in range(60):
        (tmp_path / "damaged.dcm").write_bytes(mutated(whole, seed))
        try:
            assert read_cine(tmp_path / "damaged.dcm", key=key).frames.dtype == np.uint8
            outcomes.add("read")
        except DicomError as error:
            assert str(error).startswith("damaged.dcm") and "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}, "the damage is neither always fatal nor never felt"


def test_a_codestream_of_another_size_is_refused(change: Change, run: tuple[Path, np.ndarray], key: bytes) -> None:
    path = change(run[0], lambda ds: ds.compress(JPEG2000Lossless))
    change(path, lambda ds: setattr(ds, "Rows", 31))
    with pytest.raises(DicomError, match="holds 32 x 40 of 8 bits where the header declares 31 x 40 of 8 bits"):
        read_cine(path, key=key)


def test_size_of_a_jpeg_frame() -> None:
    start = b"\xff\xd8\xff\xfe\x00\x04ab\xff\xff\xc3\x00\x0b\x08\x01\x00\x02\x00\x01\x01\x11\x00"
    assert declared(start, "1.2.840.10008.1.2.4.70") == (256, 512, 1, 8)
    assert declared(b"\xff\xd8\xff", "1.2.840.10008.1.2.4.70") is None


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_a_cut_codestream_is_refused(change: Change, run: tuple[Path, np.ndarray], syntax: UID) -> None:
    path = change(run[0], lambda ds: ds.compress(syntax))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 300])
    with pytest.raises(DicomError, match="frame 4 is cut off"):
        read_frames(path)
