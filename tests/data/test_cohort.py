"""A cohort serves the same frames and labels, whatever its source: order, size, grey levels, pseudonyms."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cag.data.cohort import Cohort
from cag.data.frames import load_frames, shrink
from cag.data.images import read_image, read_images
from cag.data.manifest import build_manifest
from cag.data.pseudonyms import pseudonym, study_key
from cag.settings import DicomError, InputError, LabelError, ManifestError
from cag.simulator.cohort import simulated_cohort
from cag.simulator.phantom.cohort import CohortSettings


@pytest.fixture
def files(tmp_path, write_run, key):
    """A manifest of two patients' DICOM runs, and the frames of each path."""
    frames = {f"{name}.dcm": write_run(tmp_path / f"{name}.dcm", patient_id=name) for name in ("a", "b")}
    build_manifest(tmp_path, tmp_path / "data_manifest.csv", key=key, progress=False)
    return tmp_path / "data_manifest.csv", frames


def test_frames_are_those_of_the_files(files):
    cohort = Cohort.from_manifest(files[0])
    for _, run in cohort.manifest.iterrows():
        found = cohort.frames(run.run_id)
        assert found.dtype == torch.uint8
        np.testing.assert_array_equal(found.numpy(), files[1][run.path])
        np.testing.assert_array_equal(cohort.frames(run.run_id, [4, 1]).numpy(), files[1][run.path][[4, 1]])
        with pytest.raises(DicomError, match="frame 7 does not exist"):
            cohort.frames(run.run_id, [7])
    assert cohort.simulated_or_real == "real angiograms (DICOM files)"
    with pytest.raises(ManifestError, match="no run 'P9'"):
        cohort.frames("P9")


def test_labels_are_required_by_name_and_other_bytes_and_missing_files_are_refused(files, write_run):
    cohort = Cohort.from_manifest(files[0])
    cohort.require()
    with pytest.raises(ManifestError, match="tables only"):
        replace(cohort, source=None).frames(cohort.manifest.run_id[0])
    for label in ("contrast", "lesions", "boxes", "view", "artery"):
        with pytest.raises(LabelError, match=f"{label}: this cohort has no such labels"):
            cohort.require(label)
    run = cohort.manifest.iloc[0]
    with pytest.raises(ManifestError, match="holds 5 x 32 x 40 where the manifest says 6 x 32 x 40"):
        replace(cohort, manifest=cohort.manifest.assign(n_frames=6)).frames(run.run_id)
    write_run(files[0].parent / run.path, patient_id="other")
    with pytest.raises(ManifestError, match="bytes are not those of the manifest"):
        cohort.frames(run.run_id)
    (files[0].parent / run.path).unlink()
    with pytest.raises(ManifestError, match="this file is missing"):
        cohort.frames(run.run_id)


def test_the_digest_follows_labels_and_real_files(files):
    cohort, path = Cohort.from_manifest(files[0]), files[0]
    assert cohort.digest() == Cohort.from_manifest(path).digest()
    table = pd.read_csv(path, dtype=str, keep_default_na=False)

    def digest(**columns):
        table.assign(**columns).to_csv(path, index=False)
        return Cohort.from_manifest(path).digest()

    real = {digest(), digest(contrast_begin=1, contrast_end=2), digest(sha256="0" * 64), digest(sha256="1" * 64)}
    assert len(real) == 4
    assert digest(source="simulated", sha256="0" * 64) == digest(source="simulated", sha256="1" * 64)


def test_images_are_grey(tmp_path, rng):
    grey = rng.integers(0, 256, (4, 8, 6), dtype=np.uint8)
    Image.fromarray(grey[0]).save(tmp_path / "1.png")
    Image.fromarray(np.repeat(grey[1][..., None], 3, axis=2)).save(tmp_path / "2.bmp")
    np.testing.assert_array_equal(read_images(tmp_path), grey[:2])
    np.testing.assert_array_equal(read_images(tmp_path, [1]), grey[1:2])
    np.testing.assert_array_equal(read_images(tmp_path / "1.png"), grey[:1])
    with pytest.raises(ManifestError, match="frame 2 does not exist"):
        read_images(tmp_path, [2])
    color = tmp_path / "3.png"
    Image.fromarray(rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)).save(color)
    with pytest.raises(ManifestError, match=r"3.png: is a color image"):
        read_image(color)
    for content in (b"text", color.read_bytes()[:60]):
        color.write_bytes(content)
        with pytest.raises(ManifestError, match="not a readable image"):
            read_image(color)
    Image.fromarray(grey[2, :4]).save(color)
    with pytest.raises(ManifestError, match=r"holds images of different sizes \(.*4 x 6"):
        read_images(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match=r"empty: holds no image. Give a folder"):
        read_images(tmp_path / "empty")


def test_runs_rendered_on_demand_are_the_same_frames_one_by_one_and_together():
    cohort = simulated_cohort(CohortSettings(patients=2, seed=3, size=96, runs_per_patient=2))
    runs = cohort.manifest["run_id"].tolist()
    requests = [(runs[0], [5, 20]), (runs[1], [0]), (runs[3], [7, 7, 3])]
    for (run_id, frames), found in zip(requests, cohort.frames_of_runs(requests), strict=True):
        assert torch.equal(found, cohort.frames(run_id, frames))


def test_frames_are_rendered_on_the_card_of_the_machine_that_asks(monkeypatch):
    from cag.simulator.cohort import PhantomFrames
    from cag.simulator.tables import present

    assert [present(name) for name in ("cpu", "cuda")] == ["cpu", "cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert present("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    source = PhantomFrames.planned(CohortSettings(patients=1, size=96), "auto")
    run = pd.Series({"run_id": next(iter(source.runs))})
    assert source.frames(run, [3]).shape == (1, 96, 96)


def test_frames_come_in_the_order_of_the_samples_each_run_is_opened_once_and_shrinking_keeps_the_mean():
    opened = []

    def frames_of_runs(requests):
        """Frames tell their run and number by their grey level."""
        for run_id, indices in requests:
            opened.append(run_id)
            level = torch.tensor([10 * int(run_id[1:]) + index for index in indices], dtype=torch.uint8)
            yield level[:, None, None].expand(-1, 12, 16).contiguous()

    samples = pd.DataFrame({"run_id": ["R2", "R1", "R2", "R2"], "frame": [5, 0, 1, 5]}, index=[7, 3, 9, 1])
    images = load_frames(SimpleNamespace(frames_of_runs=frames_of_runs), samples, size=8, progress=False)
    assert images.shape == (4, 8, 8) and images.dtype == torch.uint8
    assert images[:, 0, 0].tolist() == [25, 10, 21, 25] and opened == ["R2", "R1"]
    board = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).mul(255).to(torch.uint8)[None]
    assert shrink(board, 16).float().mean() == pytest.approx(127.5, abs=1)


def test_pseudonyms_depend_on_the_key_and_the_kind(tmp_path, key):
    one = pseudonym("123", "patient", key)
    assert one == pseudonym(" 123 ", "patient", key) and one[0] == "P" and "123" not in one[:4]
    assert len({one, pseudonym("124", "patient", key), pseudonym("123", "patient", b"x" * 32)}) == 3
    assert one[1:] != pseudonym("123", "study", key)[1:]
    with pytest.raises(InputError, match="too few"):
        pseudonym("123", "patient", b"short")
    first = study_key(tmp_path / "key")
    assert first == study_key(tmp_path / "key") and len(first) == 32
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    (tmp_path / "key").write_text("no hex")
    with pytest.raises(InputError, match="holds no key"):
        study_key(tmp_path / "key")
