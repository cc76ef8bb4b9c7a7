"""Plans refuse what cannot be; the cohort's margins are the paper's, and nothing else tells disease."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from cag.anatomy import THREE_CATEGORIES, VIEWS, severity_category
from cag.settings import InputError, SettingsError
from cag.simulator.phantom.cohort import CohortPlan, CohortSettings, lesions_table, patients_table, plan_cohort
from cag.simulator.phantom.plan import LesionPlan, PatientPlan, RunPlan, stream
from cag.simulator.phantom.shares import joint_severity, largest_remainder


def margins(plan: CohortPlan) -> dict[str, list[int]]:
    """Patients and arteries of each category, counted from the lesion table."""
    lesions, counts = lesions_table(plan), {}
    for name, arteries in {"patient": ["LCA", "RCA"], "LCA": ["LCA"], "RCA": ["RCA"]}.items():
        worst = lesions[lesions.artery.isin(arteries)].groupby("patient_id").percent_stenosis.max()
        percent = worst.reindex([patient.patient_id for patient in plan.patients]).fillna(0)
        counts[name] = np.bincount(severity_category(percent.to_numpy(), THREE_CATEGORIES), minlength=3).tolist()
    return counts


def test_margins_are_those_of_table_1_scale_by_largest_remainder_and_so_do_frame_selection_sets(paper, demo):
    assert margins(paper) == {"patient": [46, 127, 57], "LCA": [57, 132, 41], "RCA": [84, 118, 28]}
    assert margins(demo) == {"patient": [5, 13, 6], "LCA": [6, 14, 4], "RCA": [9, 12, 3]}
    runs = pd.Series([run.frame_set for run in paper.runs]).value_counts()
    assert (runs["frame_train"], runs["frame_test"]) == (146, 582)
    sets = patients_table(paper)["set"].value_counts()
    assert (sets["frame_train"], sets["frame_test"]) == (19, 175)
    for plan in (paper, demo):
        own = {patient.patient_id: patient.frame_set for patient in plan.patients}
        assert all(run.frame_set in ("-", own[run.patient_id]) for run in plan.runs)
    assert {run.frame_set for run in demo.runs} == {"frame_train", "frame_test", "-"}


@pytest.mark.parametrize("patients", [1, 2, 12, 113, 1000])
def test_joint_table_is_feasible_and_whole(patients):
    table = joint_severity(patients)
    assert table.sum() == patients and (table >= 0).all()
    if patients >= 12:
        assert (table.sum(0) > 0).all() and (table.sum(1) > 0).all()
        assert table.sum(1).tolist() == largest_remainder((57, 132, 41), patients).tolist()


def test_characteristics_are_those_of_table_2_and_runs_standard_views_of_both_arteries(paper):
    table = patients_table(paper)
    known = {"hypertension": 188, "diabetes": 80, "dyslipidemia": 159, "smoker": 35, "family_history": 88}
    known |= {"previous_cva": 9, "low_quality": 36}
    assert table[list(known)].sum().to_dict() == known
    assert table.sex.value_counts().to_dict() == {"M": 160, "F": 70}
    assert table.race.value_counts().to_dict() == {"asian": 105, "white": 103, "black": 18, "other": 4}
    assert np.percentile(table.age, [25, 50, 75]).tolist() == [55, 62, 69]
    assert ((table.age >= 60).sum(), (table.bmi >= 30).sum()) == (134, 51)
    own = [run for run in paper.runs if run.patient_id == "P0002"]
    assert len(own) in (7, 8) and {run.view for run in own} == set(VIEWS)
    frames = [run.n_frames for run in paper.runs]
    assert min(frames) >= 60 and max(frames) <= 200


def test_one_patient_alone_equals_that_patient_in_the_cohort_and_nothing_but_lesions_depends_on_severity(demo, paper):
    alone, other = plan_cohort(CohortSettings(), [7]), plan_cohort(CohortSettings(seed=1), [7])
    assert alone.patients == (demo.patient("P0007"),)
    assert alone.runs == tuple(run for run in demo.runs if run.patient_id == "P0007")
    assert other.patients != alone.patients
    first = stream(5, 1).random(3)
    stream(5, 2).random(7)
    np.testing.assert_array_equal(first, stream(5, 1).random(3))
    assert not np.array_equal(first, stream(5, 2).random(3))
    severe = np.array([patient.severity() >= 25 for patient in paper.patients])
    for name in ("age", "bmi", "tortuosity", "vessel_scale", "heart_scale", "calcium"):
        values = np.array([getattr(patient, name) for patient in paper.patients])
        spread = values.std() * np.sqrt(1 / severe.sum() + 1 / (~severe).sum())
        assert abs(values[severe].mean() - values[~severe].mean()) < 3.3 * spread


def test_lesions_lie_where_lesions_lie_and_leave_as_many_frames_without_stenosis_as_in_table_1(paper):
    lesions = lesions_table(paper)
    diseased = lesions[lesions.percent_stenosis >= 25].segment
    assert 0.38 < diseased.isin([12, 13, 14, 15, 16, 17, 29]).mean() < 0.47
    assert 0.30 < diseased.le(10).mean() < 0.38 and 0.14 < diseased.isin(range(18, 29)).mean() < 0.25
    assert 10 <= lesions.length_mm.median() <= 15 and lesions.percent_stenosis.between(10, 100).all()
    assert not ((lesions.segment == 11) & (lesions.percent_stenosis == 100)).any()
    """Share of a view's frames without a stenosis of 25 %."""
    runs = [run for run in paper.runs if run.view in VIEWS]
    rows = [(run.view, run.n_frames, paper.patient(run.patient_id).view_severity(run.view) < 25) for run in runs]
    frames = pd.DataFrame(rows, columns=["view", "frames", "without"])
    shares = {view: np.average(own["without"], weights=own["frames"]) for view, own in frames.groupby("view")}
    of_lca = {"LCA LAO cranial": 0.327, "LCA RAO cranial": 0.330, "LCA LAO caudal": 0.438, "LCA RAO caudal": 0.347}
    of_rca = dict.fromkeys(("RCA LAO", "RCA straight RAO", "RCA shallow cranial"), 0.399)
    assert shares == pytest.approx(of_lca | of_rca, abs=0.03)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        *(({name: value}, name) for name, value in (("patients", 0), ("size", 63), ("fps", 0))),
        ({"min_frames": 80, "max_frames": 60}, "max_frames 60"),
    ],
)
def test_impossible_and_unknown_settings_and_patients_are_refused(wrong, field):
    with pytest.raises(SettingsError, match=field):
        CohortSettings.checked(wrong)
    with pytest.raises(ValidationError):
        CohortSettings(unknown=1)
    with pytest.raises(SettingsError, match="numbers"):
        plan_cohort(CohortSettings(patients=3), [4])


LESION = LesionPlan("RCA", 2, 0.5, 60.0, 12.0)
RUN = RunPlan("P0001_R01", "P0001", 1, "RCA", "RCA LAO", 40.0, 0.0, catheter="JR4")


@pytest.mark.parametrize(
    ("good", "field", "value"),
    [
        (LESION, "percent_stenosis", 100.5), (LESION, "percent_stenosis", float("nan")), (LESION, "position", 1.2),
        (LESION, "length_mm", 90.0), (LESION, "segment", 12),
        (RUN, "primary_angle", 91.0), (RUN, "secondary_angle", -91.0), (RUN, "rows", 63), (RUN, "catheter", "JL4"),
        (RUN, "injection_start_s", -1.0),
        (PatientPlan("P0001", 1), "dominance", "middle"), (PatientPlan("P0001", 1), "seed", -1),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_field(good, field, value):
    with pytest.raises(InputError, match=field):
        replace(good, **{field: value})
