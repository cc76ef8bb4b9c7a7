"""The simulated cohort as files: same frames as on demand, same bytes again, resumed where it stopped."""

import numpy as np
import pandas as pd
import pytest

from cag.data.manifest import verify
from cag.settings import ManifestError
from cag.simulator.cohort import open_cohort, simulated_cohort
from cag.simulator.phantom.cohort import CohortSettings
from cag.simulator.write import write_simulated

SETTINGS = CohortSettings.checked(
    {"patients": 1, "seed": 5, "size": 128, "runs_per_patient": 2, "min_frames": 40, "max_frames": 40}
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The manifest of a tiny cohort, above its files."""
    root = tmp_path_factory.mktemp("cohort")
    return write_simulated(SETTINGS, root / "data" / "sim", manifest_path=root / "m.csv", progress=False, workers=1)


def test_files_and_rendering_on_demand_agree(written):
    files, rendered = open_cohort(written), simulated_cohort(SETTINGS)
    assert verify(written, progress=False) == []
    same = ["run_id", "patient_id", "n_frames", "fps", "view", "contrast_begin", "contrast_end", "end_censored"]
    pd.testing.assert_frame_equal(files.manifest[same], rendered.manifest[same])
    for name in ("patients", "lesions", "boxes"):
        pd.testing.assert_frame_equal(getattr(files, name), getattr(rendered, name))
    for run_id in files.manifest.run_id:
        np.testing.assert_array_equal(files.frames(run_id, [3, 39]), rendered.frames(run_id, [3, 39]))
    assert files.simulated_or_real == rendered.simulated_or_real == "simulated patients"
    other = SETTINGS.model_copy(update={"seed": 6})
    assert rendered.digest() != simulated_cohort(other).digest()


def test_finished_runs_are_kept_and_others_made_again(written):
    folder = written.parent / "data" / "sim"
    manifest, files = written.read_bytes(), sorted(folder.glob("*/*.dcm"))
    before = [file.stat().st_mtime_ns for file in files]
    content = files[0].read_bytes()
    files[0].unlink()
    write_simulated(SETTINGS, folder, manifest_path=written, progress=False, workers=1)
    assert files[0].read_bytes() == content and written.read_bytes() == manifest
    assert [file.stat().st_mtime_ns for file in files][1:] == before[1:]
    assert not list(folder.rglob("*.part"))


def test_last_bits_leave_the_manifest_alone(written):
    table = pd.read_csv(written, dtype=str, keep_default_na=False)
    table["sha256"] = "0" * 64
    table.to_csv(written, index=False, lineterminator="\n")
    write_simulated(SETTINGS, written.parent / "data" / "sim", manifest_path=written, progress=False, workers=1)
    assert "0" * 64 in written.read_text()


def test_the_manifest_must_lie_above(tmp_path):
    with pytest.raises(ManifestError, match="would not lie above its runs"):
        write_simulated(SETTINGS, tmp_path / "a", manifest_path=tmp_path / "b" / "m.csv", progress=False)
