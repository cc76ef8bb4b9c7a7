"""The tables of a simulated cohort come back from the cache as they were planned."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest

from cag.data.labels import CohortTables
from cag.simulator import plan_cache, rendered
from cag.simulator.cohort import simulated_cohort
from cag.simulator.phantom.cohort import CohortSettings

SETTINGS = CohortSettings(patients=1, size=96, runs_per_patient=2, min_frames=40, max_frames=41)


def test_a_cohort_from_the_cache_is_the_same_and_is_not_planned_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    planned = simulated_cohort(SETTINGS, cache=tmp_path)
    monkeypatch.setattr(plan_cache, "plan_tables", lambda *_: pytest.fail("it is in the cache"))
    again = simulated_cohort(SETTINGS, cache=tmp_path)
    assert again.digest() == planned.digest() and again.origin == planned.origin
    for field in fields(CohortTables):
        pd.testing.assert_frame_equal(getattr(again, field.name), getattr(planned, field.name))
    first = str(planned.manifest.run_id[0])
    assert again.frames(first, [5]).equal(planned.frames(first, [5]))


def test_other_settings_another_simulator_and_a_missing_table_are_planned_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = []

    def plan(settings: CohortSettings, device: str) -> tuple[CohortTables, str]:
        asked.append(settings.seed)
        empty = pd.DataFrame({"run_id": ["a"]})
        return CohortTables(empty, empty, empty, empty), "origin"

    monkeypatch.setattr(plan_cache, "plan_tables", plan)
    for seed in (0, 1, 0, 1):
        plan_cache.cached_tables(SETTINGS.model_copy(update={"seed": seed}), "cpu", tmp_path)
    assert asked == [0, 1]
    next(tmp_path.rglob("boxes.parquet")).unlink()
    for seed in (0, 1):
        plan_cache.cached_tables(SETTINGS.model_copy(update={"seed": seed}), "cpu", tmp_path)
    assert len(asked) == 3
    monkeypatch.setattr(plan_cache, "simulator_digest", lambda: "another")
    plan_cache.cached_tables(SETTINGS, "cpu", tmp_path)
    assert len(asked) == 4 and rendered.simulator_digest() != "another"
