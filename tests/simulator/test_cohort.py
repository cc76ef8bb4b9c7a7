"""The tables of a simulated cohort: planned in any number of processes, kept, and made anew for other code."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

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


def assert_same_tables(found: CohortTables, expected: CohortTables) -> None:
    for field in fields(CohortTables):
        pd.testing.assert_frame_equal(getattr(found, field.name), getattr(expected, field.name), check_exact=True)


def test_tables_are_the_same_whatever_the_number_of_processes() -> None:
    alone, several = (plan_tables(SETTINGS, workers=workers) for workers in (1, 2))
    assert alone[1] == several[1]
    assert_same_tables(several[0], alone[0])


def test_a_cohort_from_the_cache_is_the_same_and_is_not_planned_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    planned = simulated_cohort(SETTINGS, cache=tmp_path)
    monkeypatch.setattr(simulated, "plan_tables", lambda *_: pytest.fail("it is in the cache"))
    again = simulated_cohort(SETTINGS, cache=tmp_path)
    assert again.digest() == planned.digest() and again.origin == planned.origin
    assert_same_tables(again, planned)
    first = str(planned.manifest.run_id[0])
    assert again.frames(first, [5]).equal(planned.frames(first, [5]))


def test_other_settings_another_simulator_and_a_missing_table_are_planned_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = []
    tables = plan_tables(SETTINGS)[0]

    def plan(settings: CohortSettings, device: str) -> tuple[CohortTables, str]:
        asked.append(settings.seed)
        return tables, "origin"

    monkeypatch.setattr(simulated, "plan_tables", plan)
    for seed in (0, 1, 0, 1):
        simulated_cohort(SETTINGS.model_copy(update={"seed": seed}), cache=tmp_path)
    assert asked == [0, 1]
    next(tmp_path.rglob("boxes.parquet")).unlink()
    for seed in (0, 1):
        simulated_cohort(SETTINGS.model_copy(update={"seed": seed}), cache=tmp_path)
    assert len(asked) == 3
    monkeypatch.setattr(simulated, "simulator_digest", lambda: "another")
    simulated_cohort(SETTINGS, cache=tmp_path)
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("module", "old", "new", "counts"),
    [
        ("cag.simulator.phantom.truth", '"""What is true', '"""Another comment. What is true', False),
        ("cag.simulator.phantom.truth", "#: Room around the vessel", "#: Margin around the vessel", False),
        ("cag.simulator.phantom.truth", "BOX_ROOM = 3.0", "BOX_ROOM = 3.5", True),
        ("cag.simulator.phantom.bones", "PITCH_MM, BODY_HALF = 28.0", "PITCH_MM, BODY_HALF = 29.0", True),
        ("cag.simulator.tables", ".round(2)", ".round(3)", True),
        ("cag.simulator.write", "_RECORDS =", "_OTHER =", False),
    ],
)
def test_code_makes_another_simulator_and_comments_do_not(
    module: str, old: str, new: str, counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, read = simulator_digest(), fingerprint._source
    assert old in read(module)

    def edited(name: str) -> str:
        return read(name).replace(old, new) if name == module else read(name)

    monkeypatch.setattr(fingerprint, "_source", edited)
    try:
        _forget_digests()
        assert (simulator_digest() != before) == counts
    finally:
        _forget_digests()


def _forget_digests() -> None:
    for cached in (code_digest, simulator_digest):
        cached.cache_clear()
