"""What several test files share: tiny runs, the folder of real data, quiet and steady numerics."""

import os
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pydicom
import pytest
import torch
from hypothesis import settings

KEY = b"a secret for tests only, 32 bytes"
settings.register_profile("steady", max_examples=30, deadline=None)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _same_style_of_figures():
    """What a page's style changes in one test is undone before the next."""
    with matplotlib.rc_context():
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def rng():
    """A generator that starts alike in every test."""
    return np.random.default_rng(20230713)


@pytest.fixture(scope="session")
def cag_data():
    """Folder of real angiograms; tests of them are skipped where CAG_DATA is not set."""
    folder = os.environ.get("CAG_DATA")
    if not folder:
        pytest.skip("real data: CAG_DATA is not set")
    return Path(folder).resolve()


@pytest.fixture
def write_run(rng):
    """Write a tiny run as DICOM and return its frames: ``write_run(path, n_frames=5, fps=15, ...)``."""
    from cag.data.dicom_write import write_cine

    def write(path, n_frames=5, size=(32, 40), **options):
        frames = rng.integers(0, 256, (n_frames, *size), dtype=np.uint8)
        tags = {"fps": 15.0, "primary_angle": -30.5, "secondary_angle": 2.25, "patient_id": "P0001"}
        write_cine(path, frames, **{"run_id": path.stem, **tags, **options})
        return frames

    return write


@pytest.fixture
def key():
    """A secret of pseudonyms."""
    return KEY


@pytest.fixture
def run(tmp_path, write_run):
    """A tiny DICOM file and its frames."""
    path = tmp_path / "run.dcm"
    return path, write_run(path)


@pytest.fixture
def change():
    """Rewrite a DICOM file after an edit, as wrong as the edit makes it: ``change(path, edit, out=None)``."""

    def change(path, edit, out=None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            edit(dataset)
            dataset.save_as(out or path)
        return out or path

    return change
