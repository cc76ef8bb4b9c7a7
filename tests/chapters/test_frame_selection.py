"""The experiment from frames to tables, on runs that a bright-to-dark tube fills."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from cag.book.page import Page
from cag.chapters.bundle import load_part
from cag.chapters.frames import real_runs, training
from cag.chapters.frames.sampling import split_patients
from cag.chapters.frames.selection import run_frame_selection
from cag.chapters.frames.selector import FrameFinding, find_interval, load_frame_selector
from cag.chapters.frames.settings import FrameSelectionSettings, SequenceSettings, features_of, only
from cag.chapters.frames.training import crop_runs
from cag.chapters.store import Store
from cag.data.cohort import Cohort, FrameSource
from cag.data.tables import CohortTables
from cag.metrics.frame_selection import metrics, run_errors
from cag.settings import ROOT, LabelError

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
    return FrameSelectionSettings(
        **SMALL, train_patients=3, members=3, cnn_epochs=6, sequence_epochs=6, sequence_batch=4, bootstrap=20
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def found(cohort, settings, store):
    return run_frame_selection(cohort, settings, store)


def test_every_method_answers_every_test_run_of_disjoint_patients(cohort, settings, found):
    train, test = split_patients(cohort, settings)
    assert set(found.runs.patient_id) == set(test) and not set(test) & set(train)
    clean = found.runs[found.runs.arm == "clean"]
    assert set(clean.method) == METHODS
    assert set(found.runs[found.runs.arm == "as_published"].method) == {"cnn_lstm", "cnn"}
    assert (clean.groupby("method").run_id.nunique() == len(test) * len(LENGTHS)).all()
    lengths = clean.drop_duplicates("run_id").set_index("run_id").n_frames
    for _, own in found.frames.groupby(["arm", "method"]):
        assert own.groupby("run_id").frame.nunique().eq(lengths).all() and own.probability.between(0, 1).all()


def test_networks_and_change_points_learn_an_easy_cohort(found):
    clean = found.runs[found.runs.arm == "clean"]
    rate = {name: float(metrics(run_errors(rows))["acceptance_rate"][0]) for name, rows in clean.groupby("method")}
    assert rate["cnn"] == 1 and rate["vesselness"] == 1 and rate["cnn_lstm"] >= 0.75


def test_candidates_lie_in_the_found_interval(found):
    joined = found.candidates.merge(found.runs, on=["run_id", "arm", "method"])
    assert (joined.frame >= joined.begin_pred).all() and (joined.frame <= joined.end_pred).all()
    assert joined.groupby(["run_id", "arm", "method", "chosen_by"]).size().max() <= 8
    truth = joined.frame.between(joined.begin_true.fillna(1), joined.end_true.fillna(0))
    assert (joined.inside == truth).all()


def test_stored_selector_reads_a_run_as_the_experiment_did(cohort, store, found):
    part = load_part(store.root, "frames")
    selector = load_frame_selector(part)
    assert set(part.facts["tested"]) == set(found.runs.patient_id)
    clean = found.runs[(found.runs.arm == "clean") & (found.runs.method == "cnn_lstm")]
    for row in clean.itertuples():
        finding = find_interval(cohort.frames(row.run_id), selector)
        wanted = None if pd.isna(row.begin_pred) else (row.begin_pred, row.end_pred)
        assert finding.interval == wanted and bool(finding.reason) == (wanted is None)
        frames = found.frames.query("run_id == @row.run_id and arm == 'clean' and method == 'cnn_lstm'")
        assert finding.probability == pytest.approx(frames.probability.to_numpy(), abs=0.02)


@pytest.mark.parametrize("length", [1, 7, 8, 300])
def test_runs_of_any_length_are_answered(store, found, length):
    frames = torch.full((length, 80, 120), 128, dtype=torch.uint8)
    finding = find_interval(frames, load_frame_selector(load_part(store.root, "frames")))
    if length < 8:
        assert finding.interval is None and f"{length} frames" in finding.reason
    else:
        assert len(finding.probability) == length


def test_a_cohort_without_intervals_is_refused(cohort, settings, store):
    bare = replace(cohort, manifest=cohort.manifest.assign(contrast_begin=pd.NA, contrast_end=pd.NA))
    with pytest.raises(LabelError, match="contrast"):
        run_frame_selection(bare, settings, store)


def test_all_layers_are_trained_and_stored(cohort, tmp_path):
    few = cohort.manifest[cohort.manifest.patient_id.isin(["P0000", "P0001", "P0002"])]
    small = replace(cohort, manifest=few.reset_index(drop=True))
    settings = FrameSelectionSettings(
        **{**SMALL, "trainable": "all", "train_patients": 2, "members": 1, "frames_per_part": 2, "bootstrap": 5},
        **{"cnn_epochs": 1, "cnn_batch": 8, "sequence_epochs": 1, "sequence_batch": 2},
    )
    store = Store(tmp_path)
    tables = run_frame_selection(small, settings, store)
    assert (store.root / "bundle" / "frames" / "trunk.safetensors").exists()
    assert len(list((store.root / "frame_features").iterdir())) == 1
    run = tables.runs.run_id.iloc[0]
    finding = find_interval(small.frames(run), load_frame_selector(load_part(store.root, "frames")))
    stored = tables.frames.query("run_id == @run and arm == 'clean' and method == 'cnn_lstm'")
    assert finding.probability == pytest.approx(stored.probability.to_numpy(), abs=0.02)


def test_features_in_parts_are_those_of_all_runs(cohort, settings, store, tmp_path, monkeypatch):
    whole = training.run_features(cohort, settings, store)
    monkeypatch.setattr(training, "RUNS_AT_ONCE", 4)
    parts = training.run_features(cohort, settings, Store(tmp_path))
    assert len(whole.parts) == 1 and len(parts.parts) == -(-len(cohort.manifest) // 4)
    of_whole, of_parts = whole.load_weights("clean"), parts.load_weights("clean")
    assert of_whole.keys() == of_parts.keys()
    assert all(torch.equal(of_whole[run], of_parts[run]) for run in of_whole)
    assert len(parts.load_table("curves")) == len(whole.load_table("curves"))


def test_work_depends_only_on_what_changes_it(settings):
    other = settings.model_copy(update={"bootstrap": 7, "profile": "other", "candidates": 5})
    assert only(SequenceSettings, other) == only(SequenceSettings, settings)
    longer, every = settings.model_copy(update={"cnn_epochs": 7}), {"trainable": "all"}
    assert features_of(longer) == features_of(settings)
    assert features_of(longer.model_copy(update=every)) != features_of(settings.model_copy(update=every))


def test_where_nothing_changes_the_frame_classifier_decides(store, found):
    selector = load_frame_selector(load_part(store.root, "frames"))
    frame = torch.randint(0, 256, (1, 80, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    finding = find_interval(frame.expand(12, -1, -1).contiguous(), selector)
    assert finding.still and np.ptp(finding.probability) < 1e-6
    assert finding.interval == ((0, 11) if finding.probability[0] >= 0.5 else None)


def test_cropping_keeps_order_and_pairs():
    targets = torch.arange(64.0).repeat(5, 1)
    inputs, cut = crop_runs(targets[..., None].clone(), targets, torch.Generator().manual_seed(0), 0.3)
    assert torch.equal(inputs[..., 0], cut)
    assert (cut.diff(dim=1) >= 0).all() and cut.min() >= 0 and cut.max() <= 63
    assert (cut[:, -1] - cut[:, 0] < 63).any()
    whole = crop_runs(targets[..., None], targets, torch.Generator().manual_seed(0), 0.0)[1]
    assert torch.equal(whole, targets)


def test_public_runs_are_found_by_their_bytes(cag_data, monkeypatch):
    monkeypatch.setattr(real_runs, "find_interval", lambda frames, selector: FrameFinding())
    runs = real_runs.read_real_runs(None, cag_data / real_runs.FOLDER)
    assert [(run.name, len(run.frames)) for run in runs][:3] == [
        ("right artery", 96), ("static model A", 9), ("static model B", 8),
    ]  # fmt: skip


@pytest.mark.parametrize("real", [False, True])
def test_the_notebook_trains_its_own_network_and_fills_its_page(
    real, cohort, settings, store, found, monkeypatch, tmp_path
):
    """Where real runs are: one that was read by eye, whose begin is uncertain, and one that nobody read."""
    page = Page(cohort, store, "frame_selection")
    monkeypatch.setattr("cag.book.page.open_page", lambda own: page)
    monkeypatch.setattr(real_runs, "real_folder", lambda: None)
    if real:
        eye = {"name": "artery", "begin_earliest": 3, "begin_latest": 5, "complete": 8, "end": 19}
        curve = np.repeat([0.1, 0.9, 0.1], [4, 14, 2])
        answer = FrameFinding(curve, (4, 17), np.array([4, 6, 9]), sequence_probability=curve)
        frames = np.zeros((20, 8, 8), np.uint8)
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
