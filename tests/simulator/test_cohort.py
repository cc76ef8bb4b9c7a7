"""A simulated cohort: planned in any number of processes, kept, and as files the same frames and bytes."""

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from cag.data import fingerprint
from cag.data.fingerprint import code_digest
from cag.data.manifest import verify
from cag.data.tables import CohortTables
from cag.settings import ManifestError
from cag.simulator import cohort as simulated
from cag.simulator.cohort import open_cohort, simulated_cohort
from cag.simulator.phantom.cohort import CohortSettings
from cag.simulator.tables import plan_tables, simulator_digest
from cag.simulator.write import write_simulated

SETTINGS = CohortSettings(patients=2, size=96, runs_per_patient=2, min_frames=40, max_frames=41)


@pytest.fixture(scope="module")
def planned():
    return plan_tables(SETTINGS, workers=1)


def assert_same_tables(found: CohortTables, expected: CohortTables) -> None:
    for field in fields(CohortTables):
        pd.testing.assert_frame_equal(getattr(found, field.name), getattr(expected, field.name), check_exact=True)


def test_tables_are_the_same_whatever_the_number_of_processes(planned):
    tables, origin = plan_tables(SETTINGS, workers=2)
    assert origin == planned[1]
    assert_same_tables(tables, planned[0])


def test_a_cohort_is_planned_once_until_something_else_is_asked(planned, tmp_path, monkeypatch):
    asked = []

    def plan(settings, device):
        asked.append(settings.seed)
        return planned

    def ask(*seeds):
        for seed in seeds:
            cohort = simulated_cohort(SETTINGS.model_copy(update={"seed": seed}), cache=tmp_path)
            assert_same_tables(cohort, planned[0])

    monkeypatch.setattr(simulated, "plan_tables", plan)
    first, again = (simulated_cohort(SETTINGS, cache=tmp_path) for _ in range(2))
    assert first.digest() == again.digest() and first.origin == again.origin
    run_id = str(first.manifest.run_id[0])
    assert again.frames(run_id, [5]).equal(first.frames(run_id, [5]))
    ask(1, 0, 1)
    assert asked == [0, 1]
    next(tmp_path.rglob("boxes.parquet")).unlink()
    ask(0, 1)
    assert len(asked) == 3, "a table is missing"
    monkeypatch.setattr(simulated, "simulator_digest", lambda: "another")
    ask(0)
    assert len(asked) == 4, "another simulator"


@pytest.mark.parametrize(
    ("module", "old", "new", "counts"),
    [
        ("cag.simulator.phantom.truth", '"""What is true', '"""Another comment. What is true', False),
        ("cag.simulator.phantom.truth", "#: Room around the vessel", "#: Margin around the vessel", False),
        ("cag.simulator.phantom.bones", "PITCH_MM, BODY_HALF = 28.0", "PITCH_MM, BODY_HALF = 29.0", True),
        ("cag.simulator.tables", ".round(2)", ".round(3)", True),
        ("cag.simulator.write", "_RECORDS =", "_OTHER =", False),
    ],
)
def test_code_makes_another_simulator_and_comments_do_not(module, old, new, counts, monkeypatch):
    before, read = simulator_digest(), fingerprint._source
    assert old in read(module)
    edited = {module: read(module).replace(old, new)}
    monkeypatch.setattr(fingerprint, "_source", lambda name: edited.get(name) or read(name))
    try:
        _forget_digests()
        assert (simulator_digest() != before) == counts
    finally:
        _forget_digests()


def _forget_digests() -> None:
    for cached in (code_digest, simulator_digest):
        cached.cache_clear()


WRITTEN = CohortSettings(patients=1, seed=5, size=128, runs_per_patient=2, min_frames=40, max_frames=40)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The manifest of a tiny cohort, above its files."""
    root = tmp_path_factory.mktemp("cohort")
    return write_simulated(WRITTEN, root / "data" / "sim", manifest_path=root / "m.csv", progress=False, workers=1)


def test_files_and_rendering_on_demand_agree(written):
    files, rendered = open_cohort(written), simulated_cohort(WRITTEN)
    assert verify(written, progress=False) == {}
    same = ["run_id", "patient_id", "n_frames", "fps", "view", "contrast_begin", "contrast_end", "end_censored"]
    pd.testing.assert_frame_equal(files.manifest[same], rendered.manifest[same])
    for name in ("patients", "lesions", "boxes"):
        pd.testing.assert_frame_equal(getattr(files, name), getattr(rendered, name))
    for run_id in files.manifest.run_id:
        np.testing.assert_array_equal(files.frames(run_id, [3, 39]), rendered.frames(run_id, [3, 39]))
    assert files.simulated_or_real == rendered.simulated_or_real == "simulated patients"
    assert rendered.digest() != simulated_cohort(WRITTEN.model_copy(update={"seed": 6})).digest()


def test_finished_runs_are_kept_and_last_bits_leave_the_manifest_alone_which_must_lie_above(written, tmp_path):
    folder = written.parent / "data" / "sim"
    manifest, files = written.read_bytes(), sorted(folder.glob("*/*.dcm"))
    before = [file.stat().st_mtime_ns for file in files]
    content = files[0].read_bytes()
    files[0].unlink()
    write_simulated(WRITTEN, folder, manifest_path=written, progress=False, workers=1)
    assert files[0].read_bytes() == content and written.read_bytes() == manifest
    assert [file.stat().st_mtime_ns for file in files][1:] == before[1:]
    assert not list(folder.rglob("*.part"))
    table = pd.read_csv(written, dtype=str, keep_default_na=False)
    table["sha256"] = "0" * 64
    table.to_csv(written, index=False, lineterminator="\n")
    write_simulated(WRITTEN, written.parent / "data" / "sim", manifest_path=written, progress=False, workers=1)
    assert "0" * 64 in written.read_text()
    with pytest.raises(ManifestError, match="would not lie above its runs"):
        write_simulated(WRITTEN, tmp_path / "a", manifest_path=tmp_path / "b" / "m.csv", progress=False)
