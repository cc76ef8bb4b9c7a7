"""A study tells its tasks, what is stored, and an estimate by hand-worked arithmetic."""

from __future__ import annotations

import pytest

from cag import plan
from cag.calibration import Work, images_per_second
from cag.store import Store


@pytest.fixture
def sections(grid_settings):
    classification = grid_settings.model_dump(exclude={"profile"})
    localization = {"image_size": 96, "folds": 2, "epochs": 5, "weights": "random", "backbone": "resnet18"}
    frames = {"image_size": 96, "train_patients": 4, "weights": "random", "backbone": "resnet18"}
    return {"frame_selection": frames, "classification": classification, "localization": localization}


def _plan(monkeypatch, cohort, store, sections, **options):
    monkeypatch.setattr(plan, "open_study", lambda settings: (cohort, store))
    asked: list[Work] = []

    def measure(work, cohort):
        asked.append(work)
        return 2.0

    table = plan.plan_study(sections, "demo", measure=measure, **options).set_index("stage")
    assert len(asked) == len(set(asked)), "each kind of work is measured once"
    return table


def test_tasks_and_hours_of_a_study_that_has_not_begun(monkeypatch, drawn_cohort, tmp_path, sections):
    table = _plan(monkeypatch, drawn_cohort, Store(tmp_path), sections)
    assert list(table.index)[:2] == ["frame selection", "classification, leading system"]
    assert list(table.index)[-1] == "classification, rest of the grid"
    # 2 views x 2 folds lead; the other three systems have 2 x 2 each.
    assert table.tasks["classification, leading system"] == 4 and table.tasks["classification, rest of the grid"] == 12
    assert table.stored.sum() == 0
    # 24 runs of 4 labeled and 4 redundancy frames; a head sees a view's half of them in each of 3 epochs, 2 a second.
    assert table.minutes_each["classification, rest of the grid"] == pytest.approx(96 * 3 / 2 / 60)
    assert table.hours_open["classification, rest of the grid"] == pytest.approx(12 * 96 * 3 / 2 / 3600)
    side_by_side = _plan(monkeypatch, drawn_cohort, Store(tmp_path), sections, workers=4)
    name = "classification, rest of the grid"
    assert side_by_side.hours_open[name] == pytest.approx(table.hours_open[name] / 4)


def test_what_is_stored_is_seen_and_costs_nothing(monkeypatch, drawn_cohort, grid_store, grid_predictions, sections):
    table = _plan(monkeypatch, drawn_cohort, grid_store, sections)
    for stage in ("classification, leading system", "classification, rest of the grid"):
        assert table.stored[stage] == table.tasks[stage] and table.hours_open[stage] == 0
    assert table.tasks["localization, CAM"] == 3


@pytest.mark.parametrize("kind", ["train", "infer", "detect", "head", "frames"])
def test_each_kind_of_work_is_measured(drawn_cohort, kind):
    work = Work(kind, 64, 2, "resnet18")
    assert images_per_second(work, drawn_cohort, "cpu", steps=1) > 0
