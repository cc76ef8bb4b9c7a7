"""The tables of a simulated cohort: planned in any number of processes, kept, and made anew for other code."""

from dataclasses import fields

import pandas as pd
import pytest

from cag.data import fingerprint
from cag.data.fingerprint import code_digest
from cag.data.tables import CohortTables
from cag.simulator import cohort as simulated
from cag.simulator.cohort import simulated_cohort
from cag.simulator.phantom.cohort import CohortSettings
from cag.simulator.tables import plan_tables, simulator_digest

SETTINGS = CohortSettings(patients=2, size=96, runs_per_patient=2, min_frames=40, max_frames=41)
Planned = tuple[CohortTables, str]


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
    monkeypatch.setattr(
        fingerprint, "_source", lambda name: read(name).replace(old, new) if name == module else read(name)
    )
    try:
        _forget_digests()
        assert (simulator_digest() != before) == counts
    finally:
        _forget_digests()


def _forget_digests() -> None:
    for cached in (code_digest, simulator_digest):
        cached.cache_clear()
