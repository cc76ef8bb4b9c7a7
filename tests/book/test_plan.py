"""A study tells its tasks, what is stored, and an estimate by hand-worked arithmetic."""

from __future__ import annotations

import dataclasses

import pytest

from cag.book import plan
from cag.book.calibration import Work, images_per_second
from cag.chapters.classification.training import ClassificationSettings, grid
from cag.chapters.store import Store


@pytest.fixture
def sections(grid_settings):
    classification = grid_settings.model_dump(exclude={"profile"})
    localization = {"image_size": 96, "folds": 2, "epochs": 5, "weights": "random", "backbone": "resnet18"}
    frames = {"image_size": 96, "train_patients": 4, "weights": "random", "backbone": "resnet18"}
    return {"frame_selection": frames, "classification": classification, "localization": localization}


@pytest.fixture
def cohort(drawn_cohort):
    return dataclasses.replace(drawn_cohort, manifest=drawn_cohort.manifest.assign(rows=96, columns=96))


def _plan(monkeypatch, cohort, store, sections, **options):
    monkeypatch.setattr(plan, "open_study", lambda settings: (cohort, store))
    asked: list[Work] = []

    def measure(work, cohort):
        asked.append(work)
        return 2.0

    table = plan.plan_study(sections, "demo", measure=measure, **options).set_index("stage")
    assert len(asked) == len(set(asked)), "each kind of work is measured once"
    return table


def test_tasks_and_hours_of_a_study_that_has_not_begun(monkeypatch, cohort, tmp_path, sections):
    table = _plan(monkeypatch, cohort, Store(tmp_path), sections)
    assert list(table.index)[:2] == ["frame selection", "classification, leading system"]
    assert list(table.index)[-1] == "classification, rest of the grid"
    # 2 views x 2 folds lead; the other three systems have 2 x 2 each.
    assert table.tasks["classification, leading system"] == 4 and table.tasks["classification, rest of the grid"] == 12
    assert table.stored.sum() == 0
    # 24 runs of 4 labeled and 4 redundancy frames; a head sees a view's half of them in each of 3 epochs, 2 a second.
    assert table.minutes_each["classification, rest of the grid"] == pytest.approx(96 * 3 / 2 / 60)
    assert table.hours_open["classification, rest of the grid"] == pytest.approx(12 * 96 * 3 / 2 / 3600)
    side_by_side = _plan(monkeypatch, cohort, Store(tmp_path), sections, workers=4)
    name = "classification, rest of the grid"
    assert side_by_side.hours_open[name] == pytest.approx(table.hours_open[name] / 4)


def test_what_is_stored_is_seen_and_costs_nothing(monkeypatch, cohort, tmp_path, sections):
    store, settings = Store(tmp_path), ClassificationSettings.checked(sections["classification"])
    leading = grid(plan.leading_system(settings))
    assert [cell in grid(settings)[:4] for cell in leading] == [True] * 4
    for cell in leading[:3]:
        store.folder("classification", cell, cohort.digest()).finish(cell)
    row = _plan(monkeypatch, cohort, store, sections).loc["classification, leading system"]
    assert (row.tasks, row.stored) == (4, 3)
    store.folder("classification", leading[3], cohort.digest()).finish(leading[3])
    row = _plan(monkeypatch, cohort, store, sections).loc["classification, leading system"]
    assert (row.stored, row.hours_open) == (4, 0)


@pytest.mark.parametrize("kind", ["train", "infer", "detect", "head", "frames"])
def test_each_kind_of_work_is_measured(drawn_cohort, kind):
    work = Work(kind, 64, 2, "resnet18")
    assert images_per_second(work, drawn_cohort, "cpu", steps=1) > 0
