"""The cohort's margins are the paper's, and nothing else tells the diseased from the healthy."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from cag.anatomy import THREE_CATEGORIES, VIEWS, severity_category
from cag.settings import SettingsError
from cag.simulator.phantom.cohort import CohortPlan, CohortSettings, lesions_table, patients_table, plan_cohort
from cag.simulator.phantom.shares import joint_severity, largest_remainder


def margins(plan: CohortPlan) -> dict[str, list[int]]:
    """Patients and arteries of each category, counted from the lesion table."""
    lesions, counts = lesions_table(plan), {}
    for name, arteries in {"patient": ["LCA", "RCA"], "LCA": ["LCA"], "RCA": ["RCA"]}.items():
        worst = lesions[lesions.artery.isin(arteries)].groupby("patient_id").percent_stenosis.max()
        percent = worst.reindex([patient.patient_id for patient in plan.patients]).fillna(0)
        counts[name] = np.bincount(severity_category(percent.to_numpy(), THREE_CATEGORIES), minlength=3).tolist()
    return counts


def test_margins_are_those_of_table_1_and_scale_by_largest_remainder(paper, demo):
    assert margins(paper) == {"patient": [46, 127, 57], "LCA": [57, 132, 41], "RCA": [84, 118, 28]}
    assert margins(demo) == {"patient": [5, 13, 6], "LCA": [6, 14, 4], "RCA": [9, 12, 3]}


@pytest.mark.parametrize("patients", [1, 2, 12, 113, 1000])
def test_joint_table_is_feasible_and_whole(patients):
    table = joint_severity(patients)
    assert table.sum() == patients and (table >= 0).all()
    if patients >= 12:
        assert (table.sum(0) > 0).all() and (table.sum(1) > 0).all()
        assert table.sum(1).tolist() == largest_remainder((57, 132, 41), patients).tolist()


def test_characteristics_of_table_2(paper):
    table = patients_table(paper)
    known = {
        "hypertension": 188, "diabetes": 80, "dyslipidemia": 159, "smoker": 35, "family_history": 88,
        "previous_cva": 9, "low_quality": 36,
    }  # fmt: skip
    assert table[list(known)].sum().to_dict() == known
    assert table.sex.value_counts().to_dict() == {"M": 160, "F": 70}
    assert table.race.value_counts().to_dict() == {"asian": 105, "white": 103, "black": 18, "other": 4}
    assert np.percentile(table.age, [25, 50, 75]).tolist() == [55, 62, 69]
    assert ((table.age >= 60).sum(), (table.bmi >= 30).sum()) == (134, 51)


def test_frame_selection_sets(paper, demo):
    runs = pd.Series([run.frame_set for run in paper.runs]).value_counts()
    assert (runs["frame_train"], runs["frame_test"]) == (146, 582)
    sets = patients_table(paper)["set"].value_counts()
    assert (sets["frame_train"], sets["frame_test"]) == (19, 175)
    for plan in (paper, demo):
        own = {patient.patient_id: patient.frame_set for patient in plan.patients}
        assert all(run.frame_set in ("-", own[run.patient_id]) for run in plan.runs)
    assert {run.frame_set for run in demo.runs} == {"frame_train", "frame_test", "-"}


def test_one_patient_alone_equals_that_patient_in_the_cohort(demo):
    alone, other = plan_cohort(CohortSettings(), [7]), plan_cohort(CohortSettings(seed=1), [7])
    assert alone.patients == (demo.patient("P0007"),)
    assert alone.runs == tuple(run for run in demo.runs if run.patient_id == "P0007")
    assert other.patients != alone.patients


def test_runs_are_standard_views_of_both_arteries(paper):
    own = [run for run in paper.runs if run.patient_id == "P0002"]
    assert len(own) in (7, 8) and {run.view for run in own} == set(VIEWS)
    frames = [run.n_frames for run in paper.runs]
    assert min(frames) >= 60 and max(frames) <= 200


def test_nothing_but_lesions_depends_on_severity(paper):
    severe = np.array([patient.severity() >= 25 for patient in paper.patients])
    for name in ("age", "bmi", "tortuosity", "vessel_scale", "heart_scale", "calcium"):
        values = np.array([getattr(patient, name) for patient in paper.patients])
        spread = values.std() * np.sqrt(1 / severe.sum() + 1 / (~severe).sum())
        assert abs(values[severe].mean() - values[~severe].mean()) < 3.3 * spread


def test_lesions_lie_where_lesions_lie(paper):
    lesions = lesions_table(paper)
    diseased = lesions[lesions.percent_stenosis >= 25].segment
    assert 0.38 < diseased.isin([12, 13, 14, 15, 16, 17, 29]).mean() < 0.47
    assert 0.30 < diseased.le(10).mean() < 0.38
    assert 0.14 < diseased.isin(range(18, 29)).mean() < 0.25
    assert 10 <= lesions.length_mm.median() <= 15
    assert lesions.percent_stenosis.between(10, 100).all()
    assert not ((lesions.segment == 11) & (lesions.percent_stenosis == 100)).any()


def test_frames_without_stenosis_are_as_many_as_in_table_1(paper):
    """Share of a view's frames without a stenosis of 25 %."""
    frames = pd.DataFrame(
        [(run.view, run.n_frames, paper.patient(run.patient_id).view_severity(run.view) < 25)
         for run in paper.runs if run.view in VIEWS],
        columns=["view", "frames", "without"],
    )  # fmt: skip
    shares = {view: np.average(own["without"], weights=own["frames"]) for view, own in frames.groupby("view")}
    assert shares == pytest.approx(
        {"LCA LAO cranial": 0.327, "LCA RAO cranial": 0.330, "LCA LAO caudal": 0.438, "LCA RAO caudal": 0.347,
         "RCA LAO": 0.399, "RCA straight RAO": 0.399, "RCA shallow cranial": 0.399},
        abs=0.03,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"patients": 0}, "patients"), ({"size": 63}, "size"), ({"min_frames": 80, "max_frames": 60}, "max_frames 60"),
     ({"fps": 0}, "fps")],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong, field):
    with pytest.raises(SettingsError, match=field):
        CohortSettings.checked(wrong)


def test_unknown_settings_and_patients_are_refused():
    with pytest.raises(ValidationError):
        CohortSettings(unknown=1)
    with pytest.raises(SettingsError, match="numbers"):
        plan_cohort(CohortSettings(patients=3), [4])
