"""Frame selection: which frames train and go on, change points, and the experiment on runs that a tube fills."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cag.book.page import Page
from cag.chapters.bundle import load_part
from cag.chapters.frames import baselines, real_runs, sampling, training
from cag.chapters.frames.sampling import split_patients
from cag.chapters.frames.selection import run_frame_selection
from cag.chapters.frames.selector import (
    FrameFinding,
    choose_candidates,
    find_interval,
    frame_curves,
    image_quality,
    load_frame_selector,
    middle_frames,
)
from cag.chapters.frames.settings import CnnSettings, FrameSelectionSettings, SequenceSettings, features_of, only
from cag.chapters.frames.training import crop_runs
from cag.chapters.store import Store
from cag.data.cohort import Cohort, FrameSource
from cag.data.tables import CohortTables
from cag.metrics.frame_selection import metrics, run_errors
from cag.settings import ROOT, LabelError


@given(st.integers(8, 200), st.integers(5, 10), st.data())
def test_candidates_lie_inside_and_are_as_many_as_fit(n, count, data):
    begin = data.draw(st.integers(0, n - 1))
    end = data.draw(st.integers(begin, n - 1))
    generator = np.random.default_rng(n)
    frames = choose_candidates(generator.random(n), generator.random(n), (begin, end), count)
    assert len(frames) == min(count, end - begin + 1) and (np.diff(frames) > 0).all()
    assert frames[0] >= begin and frames[-1] <= end


def test_a_dark_tube_raises_both_curves_quality_spans_zero_to_one_and_sharp_frames_of_full_contrast_win():
    probability, quality = np.full(100, 0.9), np.full(100, 0.1)
    best = [30, 40, 50, 60, 70]
    quality[best] = 1.0
    assert choose_candidates(probability, quality, (20, 79), 5).tolist() == best
    assert choose_candidates(probability, quality, None, 5).size == 0
    frames = torch.full((3, 192, 192), 180, dtype=torch.uint8)
    frames[1, 40:150, 90:96] = 60
    for _, curve in frame_curves(frames).items():
        assert curve.idxmax() == 1 and curve[0] == pytest.approx(curve[2])
        assert image_quality(curve.to_numpy()) == pytest.approx([0, 1, 0], abs=1e-6)
    assert image_quality(np.array([2.0, 2.0])).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("interval", "chosen"), [((10, 20), [13, 14, 15, 16, 17]), ((10, 12), [10, 11, 12]), (None, [])]
)
def test_middle_frames_are_centered(interval, chosen):
    assert middle_frames(interval, 5).tolist() == chosen


@given(st.integers(2, 60), st.data())
def test_a_step_is_found_exactly(n, data):
    begin = data.draw(st.integers(0, n - 1))
    end = data.draw(st.integers(begin, n - 1 if begin else n - 2))
    curve = np.zeros(n)
    curve[begin : end + 1] = 2.0
    found = baselines.change_interval(curve + 5)
    assert (found.begin, found.end) == (begin, end)


@pytest.mark.parametrize(
    ("curve", "found"),
    [
        ([3.0] * 10, (0, 9, 0.0)),  # a flat curve has no step
        ([-1.0, 1, -1, 1, 9, 11, 9, 11], (4, 7, 10.0)),  # in units of the scatter
        ([5.0, 5, 0, 0, 0, 5, 5, 5, 5], (5, 8, pytest.approx(3 / np.sqrt(10 / 3)))),  # where the curve is high, not low
    ],
)
def test_known_steps(curve, found):
    assert baselines.change_interval(np.array(curve)) == found


def test_calibration_learns_shift_and_abstention_and_the_prior_is_a_share_of_the_run():
    borders = pd.DataFrame({"contrast_begin": [12, 22, pd.NA], "contrast_end": [30, 40, pd.NA]}, dtype="Int64")
    runs = borders.assign(end_censored=[False, True, False])
    found = [
        baselines.FoundInterval(10, 33, 8.0),
        baselines.FoundInterval(20, 40, 6.0),
        baselines.FoundInterval(1, 2, 2.0),
    ]
    learned = baselines.calibrate(found, runs)
    assert learned == baselines.Calibration(2.0, -3.0, 4.0)
    assert baselines.apply_calibration(found[0], learned, 50) == (12, 30)
    assert baselines.apply_calibration(found[2], learned, 50) is None
    assert baselines.apply_calibration(
        baselines.FoundInterval(0, 59, 9.0), baselines.Calibration(-4.0, 5.0, 0.0), 60
    ) == (0, 59)
    rows = [(10.0, 50.0, 101), (40.0, 160.0, 201), (np.nan, np.nan, 99)]
    runs = pd.DataFrame(rows, columns=["contrast_begin", "contrast_end", "n_frames"])
    assert baselines.constant_prior(runs) == pytest.approx((0.15, 0.65))


def run_of(n: int, begin: int | None, end: int | None) -> pd.Series:
    return pd.Series({"n_frames": n, "contrast_begin": begin, "contrast_end": end}, dtype="Int64")


@pytest.mark.parametrize(
    ("run", "inside", "outside"),
    [
        ((100, 30, 60), [30, 38, 45, 52, 60], [0, 5, 10, 14, 19, 71, 78, 85, 92, 99]),  # belts of ten frames
        ((20, 6, 15), [6, 8, 10, 13, 15], [0, 1, 2, 18, 19]),  # a short run scales the belt
        ((40, None, None), [], [0, 4, 9, 13, 17, 22, 26, 30, 35, 39]),  # no contrast
    ],
)
def test_frames_are_spread_and_leave_a_belt(run, inside, outside):
    truth = sampling.contrast_truth(run_of(*run))
    frames = sampling.sample_frames(truth, 5, 10)
    assert frames[truth[frames]].tolist() == inside and frames[~truth[frames]].tolist() == outside


@given(st.integers(8, 300), st.data())
def test_samples_are_unique_and_some_lie_inside(n, data):
    begin = data.draw(st.integers(0, n - 1))
    truth = sampling.contrast_truth(run_of(n, begin, data.draw(st.integers(begin, n - 1))))
    frames = sampling.sample_frames(truth, 5, 10)
    assert len(set(frames.tolist())) == len(frames) <= 15 and 1 <= truth[frames].sum() <= 5


def test_samples_of_a_run_say_whether_they_lie_inside_both_ends_included():
    assert sampling.contrast_truth(run_of(6, 2, 4)).tolist() == [False, False, True, True, True, False]
    row = {"run_id": "P1_R1", "patient_id": "P1", "n_frames": 30, "contrast_begin": 10, "contrast_end": 20}
    table = sampling.sampled_frames(pd.DataFrame([row]), 3, 2)
    assert table.target.sum() == 3 and set(table.patient_id) == {"P1"}


def of_sets(sets: list[str]) -> SimpleNamespace:
    patients = pd.DataFrame({"patient_id": [f"P{number:04d}" for number in range(len(sets))], "set": sets})
    return SimpleNamespace(manifest=patients, patients=patients)


@pytest.mark.parametrize(
    ("sets", "number", "train"),
    [
        (["frame_test", "frame_train", "-", "frame_train"], None, ["P0001", "P0003"]),
        (["frame_test", "frame_train", "-", "frame_test", "frame_test"], 2, ["P0001", "P0002"]),  # of no set first
    ],
)
def test_sets_of_the_cohort_decide(sets, number, train):
    assert sampling.split_patients(of_sets(sets), CnnSettings(train_patients=number))[0] == train


def test_patients_are_drawn_by_the_seed():
    cohort, settings = of_sets(["-"] * 9), CnnSettings(train_patients=3, seed=5)
    train, test = sampling.split_patients(cohort, settings)
    assert (train, test) == sampling.split_patients(cohort, settings) and (len(train), len(test)) == (3, 6)
    fewer = sampling.split_patients(cohort, settings.model_copy(update={"test_patients": 2}))
    assert fewer[0] == train and len(fewer[1]) == 2 and set(fewer[1]) < set(test)
    assert not set(train) & set(test) and train == sorted(train) and test == sorted(test)


@pytest.mark.parametrize(("sets", "number"), [(["frame_train"] * 3, None), (["-"] * 3, 3), (["-"] * 3, None)])
def test_a_side_without_patients_is_refused(sets, number):
    with pytest.raises(LabelError, match="train_patients"):
        sampling.split_patients(of_sets(sets), CnnSettings(train_patients=number))


def test_every_training_patient_chooses_for_one_member_only_and_arms_set_aside_patients_or_images():
    train = [f"P{number}" for number in range(8)]
    folds = sampling.inner_folds(train, 0.25, 0, 4)
    assert sorted(own for fold in folds for own in fold) == train and [len(fold) for fold in folds] == [2, 2, 2, 2]
    (few,) = sampling.inner_folds(train, 0.25, 0)
    assert len(few) == 2 and set(few) < set(train) and len(sampling.inner_folds(["A", "B"], 0.9, 0)[0]) == 1
    with pytest.raises(LabelError, match="members"):
        sampling.inner_folds(train, 0.25, 0, 9)
    samples = pd.DataFrame({"patient_id": np.repeat([f"P{n}" for n in range(4)], 30)})
    clean, leaky = (sampling.inner_samples(samples, 0.25, 0, by_patient=own) for own in (True, False))
    assert samples[clean].patient_id.nunique() == 1 and clean.sum() == 30
    assert samples[leaky].patient_id.nunique() == 4 and leaky.sum() == 30


SIZE = 75
LENGTHS = (20, 9, 34)
METHODS = {"cnn_lstm", "cnn", "tcn", "vesselness", "darkness", "prior"}
SMALL: dict[str, Any] = {"image_size": SIZE, "weights": "random", "backbone": "squeezenet1_1", "device": "cpu"}


class TubeFrames(FrameSource):
    """Noise with a dark tube inside the contrast interval: easy, so that a tiny network learns it."""

    def frames(self, run: pd.Series, indices: Sequence[int] | None) -> Tensor:
        chosen = range(int(run.n_frames)) if indices is None else indices
        seed = int(run.run_id[1:5]) * 10 + int(run.run_id[-1])
        images = []
        for frame in chosen:
            image = np.random.default_rng([seed, frame]).normal(170, 8, (SIZE, SIZE))
            if pd.notna(run.contrast_begin) and run.contrast_begin <= frame <= run.contrast_end:
                image[15:60, 30:40] -= 110
            images.append(image.clip(0, 255).astype(np.uint8))
        return torch.from_numpy(np.stack(images))


@pytest.fixture(scope="module")
def cohort():
    rows = []
    for patient, (number, length) in product(range(5), enumerate(LENGTHS)):
        filled = (patient, number) not in {(1, 0), (3, 1)}
        begin, end = (length // 4 + patient % 2, length * 3 // 4) if filled else (None, None)
        name, view = f"P{patient:04d}_R{number}", "RCA LAO" if number else "LCA LAO caudal"
        row = {"run_id": name, "patient_id": name[:5], "path": f"{name}.dcm", "artery": view[:3], "view": view}
        rows.append(row | {"n_frames": length, "contrast_begin": begin, "contrast_end": end})
    every = {"sha256": "0" * 64, "source": "simulated", "rows": SIZE, "columns": SIZE, "fps": 15.0}
    every |= {"primary_angle": 40.0, "secondary_angle": 0.0, "end_censored": False}
    tables = CohortTables.checked(pd.DataFrame(rows).assign(**every))
    return Cohort(**vars(tables), folder=None, source=TubeFrames(), origin="tubes")


@pytest.fixture(scope="module")
def settings():
    quick = {"train_patients": 3, "members": 3, "cnn_epochs": 6, "sequence_epochs": 6, "sequence_batch": 4}
    return FrameSelectionSettings(**SMALL, **quick, bootstrap=20)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def found(cohort, settings, store):
    return run_frame_selection(cohort, settings, store)


@pytest.fixture(scope="module")
def selector(store, found):
    return load_frame_selector(load_part(store.root, "frames"))


def test_every_method_answers_every_run_of_disjoint_patients_with_candidates_inside(cohort, settings, found):
    train, test = split_patients(cohort, settings)
    assert set(found.runs.patient_id) == set(test) and not set(test) & set(train)
    clean = found.runs[found.runs.arm == "clean"]
    assert set(clean.method) == METHODS
    assert set(found.runs[found.runs.arm == "as_published"].method) == {"cnn_lstm", "cnn"}
    assert (clean.groupby("method").run_id.nunique() == len(test) * len(LENGTHS)).all()
    lengths = clean.drop_duplicates("run_id").set_index("run_id").n_frames
    for _, own in found.frames.groupby(["arm", "method"]):
        assert own.groupby("run_id").frame.nunique().eq(lengths).all() and own.probability.between(0, 1).all()
    joined = found.candidates.merge(found.runs, on=["run_id", "arm", "method"])
    assert (joined.frame >= joined.begin_pred).all() and (joined.frame <= joined.end_pred).all()
    assert joined.groupby(["run_id", "arm", "method", "chosen_by"]).size().max() <= 8
    truth = joined.frame.between(joined.begin_true.fillna(1), joined.end_true.fillna(0))
    assert (joined.inside == truth).all()


def test_networks_and_change_points_learn_an_easy_cohort(found):
    clean = found.runs[found.runs.arm == "clean"]
    rate = {name: float(metrics(run_errors(rows))["acceptance_rate"][0]) for name, rows in clean.groupby("method")}
    assert rate["cnn"] == 1 and rate["vesselness"] == 1 and rate["cnn_lstm"] >= 0.75


def test_stored_selector_reads_as_the_experiment_did_and_still_runs_by_their_frames(cohort, store, found, selector):
    assert set(load_part(store.root, "frames").facts["tested"]) == set(found.runs.patient_id)
    for row in found.runs.query("arm == 'clean' and method == 'cnn_lstm'").itertuples():
        finding = find_interval(cohort.frames(row.run_id), selector)
        wanted = None if pd.isna(row.begin_pred) else (row.begin_pred, row.end_pred)
        assert finding.interval == wanted and bool(finding.reason) == (wanted is None)
        frames = found.frames.query("run_id == @row.run_id and arm == 'clean' and method == 'cnn_lstm'")
        assert finding.probability == pytest.approx(frames.probability.to_numpy(), abs=0.02)
    frame = torch.randint(0, 256, (1, 80, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    finding = find_interval(frame.expand(12, -1, -1).contiguous(), selector)
    assert finding.still and np.ptp(finding.probability) < 1e-6
    assert finding.interval == ((0, 11) if finding.probability[0] >= 0.5 else None)


@pytest.mark.parametrize("length", [1, 7, 8, 300])
def test_runs_of_any_length_are_answered(selector, length):
    frames = torch.full((length, 80, 120), 128, dtype=torch.uint8)
    finding = find_interval(frames, selector)
    if length < 8:
        assert finding.interval is None and f"{length} frames" in finding.reason
    else:
        assert len(finding.probability) == length


def test_all_layers_are_trained_and_stored(cohort, tmp_path):
    few = cohort.manifest[cohort.manifest.patient_id.isin(["P0000", "P0001", "P0002"])]
    small, store = replace(cohort, manifest=few.reset_index(drop=True)), Store(tmp_path)
    quick = {"train_patients": 2, "members": 1, "frames_per_part": 2, "bootstrap": 5, "cnn_epochs": 1, "cnn_batch": 8}
    quick |= {"trainable": "all", "sequence_epochs": 1, "sequence_batch": 2}
    tables = run_frame_selection(small, FrameSelectionSettings(**SMALL, **quick), store)
    assert (store.root / "bundle" / "frames" / "trunk.safetensors").exists()
    assert len(list((store.root / "frame_features").iterdir())) == 1
    run = tables.runs.run_id.iloc[0]
    finding = find_interval(small.frames(run), load_frame_selector(load_part(store.root, "frames")))
    stored = tables.frames.query("run_id == @run and arm == 'clean' and method == 'cnn_lstm'")
    assert finding.probability == pytest.approx(stored.probability.to_numpy(), abs=0.02)


def test_features_in_parts_are_those_of_all_and_cropping_keeps_pairs(cohort, settings, store, tmp_path, monkeypatch):
    whole = training.run_features(cohort, settings, store)
    monkeypatch.setattr(training, "RUNS_AT_ONCE", 4)
    parts = training.run_features(cohort, settings, Store(tmp_path))
    assert len(whole.parts) == 1 and len(parts.parts) == -(-len(cohort.manifest) // 4)
    of_whole, of_parts = whole.load_weights("clean"), parts.load_weights("clean")
    assert of_whole.keys() == of_parts.keys()
    assert all(torch.equal(of_whole[run], of_parts[run]) for run in of_whole)
    assert len(parts.load_table("curves")) == len(whole.load_table("curves"))
    targets = torch.arange(64.0).repeat(5, 1)
    inputs, cut = crop_runs(targets[..., None].clone(), targets, torch.Generator().manual_seed(0), 0.3)
    assert torch.equal(inputs[..., 0], cut)
    assert (cut.diff(dim=1) >= 0).all() and cut.min() >= 0 and cut.max() <= 63
    assert (cut[:, -1] - cut[:, 0] < 63).any()
    assert torch.equal(crop_runs(targets[..., None], targets, torch.Generator(), 0.0)[1], targets)


def test_work_depends_only_on_what_changes_it_and_a_cohort_without_intervals_is_refused(settings, cohort, store):
    other = settings.model_copy(update={"bootstrap": 7, "profile": "other", "candidates": 5})
    assert only(SequenceSettings, other) == only(SequenceSettings, settings)
    longer, every = settings.model_copy(update={"cnn_epochs": 7}), {"trainable": "all"}
    assert features_of(longer) == features_of(settings)
    assert features_of(longer.model_copy(update=every)) != features_of(settings.model_copy(update=every))
    bare = replace(cohort, manifest=cohort.manifest.assign(contrast_begin=pd.NA, contrast_end=pd.NA))
    with pytest.raises(LabelError, match="contrast"):
        run_frame_selection(bare, settings, store)


def test_public_runs_are_found_by_their_bytes(cag_data, monkeypatch):
    monkeypatch.setattr(real_runs, "find_interval", lambda frames, selector: FrameFinding())
    runs = real_runs.read_real_runs(None, cag_data / real_runs.FOLDER)
    first = [(run.name, len(run.frames)) for run in runs][:3]
    assert first == [("right artery", 96), ("static model A", 9), ("static model B", 8)]


@pytest.mark.parametrize("real", [False, True])
def test_the_notebook_trains_its_own_network_and_fills_its_page(real, cohort, settings, store, found, monkeypatch):
    """Where real runs are: one that was read by eye, whose begin is uncertain, and one that nobody read."""
    page = Page(cohort, store, "frame_selection")
    monkeypatch.setattr("cag.book.page.open_page", lambda own: page)
    monkeypatch.setattr(real_runs, "real_folder", lambda: None)
    if real:
        eye = {"name": "artery", "begin_earliest": 3, "begin_latest": 5, "complete": 8, "end": 19}
        curve, frames = np.repeat([0.1, 0.9, 0.1], [4, 14, 2]), np.zeros((20, 8, 8), np.uint8)
        answer = FrameFinding(curve, (4, 17), np.array([4, 6, 9]), sequence_probability=curve)
        runs = [real_runs.RealRun("artery", frames, answer, pd.Series(eye))]
        runs.append(real_runs.RealRun("run 2", frames, answer, pd.Series(dtype=object)))
        monkeypatch.setattr(real_runs, "read_real_runs", lambda selector, folder: runs)
    namespace = run_notebook(settings)
    assert len(namespace["history"].rows) == 15 and namespace["curve"] is not None
    stored = {path.name for path in (page.store.root / "exhibits" / page.section).iterdir()}
    assert {"fig-frame-learned.svg", "fig-frame-examples.svg", "tab-frame-selection-methods.csv"} <= stored
    assert namespace["examples"].total.is_monotonic_increasing
    groups = pd.concat(namespace["groups"]).drop_duplicates(["by", "group"]).groupby("by").n_rows.sum()
    assert groups.nunique() == 1 and len(groups) == 5, "every run is in one group of each kind"
    quality = namespace["quality"]
    assert namespace["more"].value == pytest.approx(quality["cnn_lstm"] - quality[namespace["best"]])
    if real:
        row, other = namespace["summary"].iloc[0], namespace["summary"].iloc[1]
        assert (row.begin_off, row.end_off, row.agrees) == (0, -2, True)
        assert (row.candidates, row.filled, row.complete) == (3, 2, 1) and row.found == row.bilstm_alone == "(4, 17)"
        assert other.read == "not read" and pd.isna(other.agrees) and pd.isna(other.filled)


def run_notebook(settings: FrameSelectionSettings) -> dict[str, Any]:
    """What notebook 02 leaves when its cells are run with these settings."""
    namespace: dict[str, Any] = {}
    for cell in nbformat.read(ROOT / "notebooks" / "02_frame_selection.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, "notebook 02", "exec"), namespace)
        if "parameters" in cell.metadata.get("tags", []):
            namespace |= settings.model_dump()
    return namespace
