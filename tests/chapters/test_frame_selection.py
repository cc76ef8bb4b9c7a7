"""The experiment from frames to tables, on runs that a bright-to-dark tube fills."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from cag.chapters.frames import candidate_scores, scores
from cag.chapters.frames.features import Standardized
from cag.chapters.frames.networks import inner_samples
from cag.chapters.frames.reading import find_interval, load_frame_selector
from cag.chapters.frames.real_runs import FOLDER, read_real_runs
from cag.chapters.frames.sampling import inner_folds, inner_patients, split_patients
from cag.chapters.frames.selection import FrameSelectionTables, run_frame_selection
from cag.chapters.frames.sequences import crop_runs
from cag.chapters.frames.settings import FrameSelectionSettings
from cag.chapters.store import Store
from cag.data.cohort import Cohort, FrameSource
from cag.data.tables import CohortTables
from cag.networks.frame_selector import Averaged
from cag.settings import InputError, LabelError

SIZE = 75
LENGTHS = (20, 9, 34)
METHODS = {"cnn_lstm", "cnn", "tcn", "vesselness", "darkness", "prior"}


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
def cohort() -> Cohort:
    rows = []
    for patient in range(5):
        for number, length in enumerate(LENGTHS):
            filled = (patient, number) not in {(1, 0), (3, 1)}
            begin, end = (length // 4 + patient % 2, length * 3 // 4) if filled else (None, None)
            rows.append(
                {
                    "run_id": f"P{patient:04d}_R{number}",
                    "patient_id": f"P{patient:04d}",
                    "path": f"P{patient:04d}_R{number}.dcm",
                    "sha256": "0" * 64,
                    "source": "simulated",
                    "n_frames": length,
                    "rows": SIZE,
                    "columns": SIZE,
                    "fps": 15.0,
                    "primary_angle": 40.0,
                    "secondary_angle": 0.0,
                    "artery": "RCA" if number else "LCA",
                    "view": "RCA LAO" if number else "LCA LAO caudal",
                    "contrast_begin": begin,
                    "contrast_end": end,
                    "end_censored": False,
                }
            )
    tables = CohortTables.checked(pd.DataFrame(rows))
    return Cohort(**vars(tables), folder=None, source=TubeFrames(), origin="tubes")


@pytest.fixture(scope="module")
def settings() -> FrameSelectionSettings:
    return FrameSelectionSettings(
        image_size=SIZE,
        weights="random",
        backbone="squeezenet1_1",
        train_patients=3,
        members=3,
        cnn_epochs=6,
        sequence_epochs=6,
        sequence_batch=4,
        bootstrap=20,
        device="cpu",
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def found(cohort: Cohort, settings: FrameSelectionSettings, store: Store) -> FrameSelectionTables:
    return run_frame_selection(cohort, settings, store)


def test_every_method_answers_every_test_run_of_disjoint_patients(
    cohort: Cohort, settings: FrameSelectionSettings, found: FrameSelectionTables
) -> None:
    train, test = split_patients(cohort, settings.train_patients, settings.seed)
    assert set(found.runs.patient_id) == set(test) and not set(test) & set(train)
    clean = found.runs[found.runs.arm == "clean"]
    assert set(clean.method) == METHODS
    assert set(found.runs[found.runs.arm == "as_published"].method) == {"cnn_lstm", "cnn"}
    assert (clean.groupby("method").run_id.nunique() == len(test) * len(LENGTHS)).all()


def test_frame_table_has_one_row_a_frame_and_probabilities(found: FrameSelectionTables) -> None:
    frames = found.frames
    assert frames.probability.between(0, 1).all() and set(frames.truth) == {0, 1}
    assert not frames.duplicated(["run_id", "arm", "method", "frame"]).any()
    lengths = found.runs.drop_duplicates("run_id").set_index("run_id").n_frames
    one = frames[(frames.arm == "clean") & (frames.method == "cnn")]
    assert one.groupby("run_id").size().eq(lengths).all()


def test_networks_and_change_points_learn_an_easy_cohort(found: FrameSelectionTables) -> None:
    estimates = scores.method_estimates(found.runs, resamples=20, seed=0)
    rate = estimates[(estimates.arm == "clean") & (estimates.metric == "acceptance_rate")].set_index("method").value
    assert rate["cnn"] == 1 and rate["vesselness"] == 1 and rate["cnn_lstm"] >= 0.75
    assert scores.headline(estimates)["acceptance_rate"].value == rate["cnn_lstm"]
    assert scores.test_counts(found.runs)["test_patients"] == 2


def test_candidates_lie_in_the_found_interval(found: FrameSelectionTables) -> None:
    joined = found.candidates.merge(found.runs, on=["run_id", "arm", "method"])
    assert (joined.frame >= joined.begin_pred).all() and (joined.frame <= joined.end_pred).all()
    assert joined.groupby(["run_id", "arm", "method", "chosen_by"]).size().max() <= 8
    share = candidate_scores.candidate_estimates(found.candidates, resamples=20, seed=0)
    assert share.value.between(0, 1).all()
    assert 0 <= candidate_scores.candidate_headline(share)["candidates_inside"].value <= 1


def test_finished_work_is_found_again(
    cohort: Cohort, settings: FrameSelectionSettings, store: Store, found: FrameSelectionTables
) -> None:
    written = {path: path.stat().st_mtime_ns for path in store.root.glob("frame_*/*/complete.json")}
    again = run_frame_selection(cohort, settings, store)
    assert {path: path.stat().st_mtime_ns for path in store.root.glob("frame_*/*/complete.json")} == written
    pd.testing.assert_frame_equal(again.runs, found.runs)


def test_stored_selector_reads_a_run_as_the_experiment_did(
    cohort: Cohort, store: Store, found: FrameSelectionTables
) -> None:
    selector = load_frame_selector(store)
    clean = found.runs[(found.runs.arm == "clean") & (found.runs.method == "cnn_lstm")]
    for row in clean.itertuples():
        finding = find_interval(cohort.frames(row.run_id), selector)
        wanted = None if pd.isna(row.begin_pred) else (row.begin_pred, row.end_pred)
        assert finding.interval == wanted
        assert bool(finding.reason) == (wanted is None)
        frames = found.frames.query("run_id == @row.run_id and arm == 'clean' and method == 'cnn_lstm'")
        assert finding.probability == pytest.approx(frames.probability.to_numpy(), abs=0.02)


@pytest.mark.parametrize("length", [1, 7, 8, 300])
def test_runs_of_any_length_are_answered(store: Store, found: FrameSelectionTables, length: int) -> None:
    frames = torch.full((length, 80, 120), 128, dtype=torch.uint8)
    finding = find_interval(frames, load_frame_selector(store))
    if length < 8:
        assert finding.interval is None and f"{length} frames" in finding.reason
    else:
        assert len(finding.probability) == len(finding.quality) == length


def test_an_untrained_profile_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="notebook 02"):
        load_frame_selector(Store(tmp_path / "nothing"))


def test_a_cohort_without_intervals_is_refused(cohort: Cohort, settings: FrameSelectionSettings, store: Store) -> None:
    bare = cohort.manifest.assign(contrast_begin=pd.NA, contrast_end=pd.NA)
    unlabeled = Cohort(bare, cohort.patients, cohort.lesions, cohort.boxes, None, TubeFrames(), "bare")
    with pytest.raises(LabelError, match="contrast"):
        run_frame_selection(unlabeled, settings, store)


def test_all_layers_are_trained_and_stored(cohort: Cohort, tmp_path: Path) -> None:
    small = cohort.subset(["P0000", "P0001", "P0002"])
    settings = FrameSelectionSettings(
        image_size=SIZE, weights="random", backbone="squeezenet1_1", trainable="all", train_patients=2, members=1,
        frames_per_part=2, cnn_epochs=1, cnn_batch=8, sequence_epochs=1, sequence_batch=2, bootstrap=5, device="cpu",
    )  # fmt: skip
    store = Store(tmp_path)
    tables = run_frame_selection(small, settings, store)
    assert (store.root / "models" / "frame_selector" / "trunk.safetensors").exists()
    assert len(list((store.root / "frame_features").iterdir())) == 2
    run = tables.runs.run_id.iloc[0]
    finding = find_interval(small.frames(run), load_frame_selector(store))
    stored = tables.frames.query("run_id == @run and arm == 'clean' and method == 'cnn'")
    assert finding.frame_probability == pytest.approx(stored.probability.to_numpy(), abs=0.02)


def test_arms_set_aside_patients_or_single_images(settings: FrameSelectionSettings) -> None:
    samples = pd.DataFrame({"patient_id": np.repeat([f"P{n}" for n in range(4)], 30)})
    clean = inner_samples(samples, settings.cnn("clean"))
    leaky = inner_samples(samples, settings.cnn("as_published"))
    assert samples[clean].patient_id.nunique() == 1 and clean.sum() == 30
    assert samples[leaky].patient_id.nunique() == 4 and leaky.sum() == 30


def test_work_depends_only_on_what_changes_it(settings: FrameSelectionSettings) -> None:
    other = settings.model_copy(update={"bootstrap": 7, "profile": "other", "candidates": 5})
    assert other.sequence("clean", "tcn").digest() == settings.sequence("clean", "tcn").digest()
    assert settings.features("clean") == settings.features("as_published")
    trained = settings.model_copy(update={"trainable": "all"})
    assert trained.features("clean") != trained.features("as_published")


def test_every_training_patient_chooses_for_one_member_only() -> None:
    train = [f"P{number}" for number in range(8)]
    folds = inner_folds(train, 0.25, 0, 4)
    assert sorted(patient for fold in folds for patient in fold) == train
    assert [len(fold) for fold in folds] == [2, 2, 2, 2]
    assert inner_folds(train, 0.25, 0, 1) == [inner_patients(train, 0.25, 0)]
    with pytest.raises(LabelError, match="members"):
        inner_folds(train, 0.25, 0, 9)


def test_members_are_asked_together_by_the_mean_of_their_probabilities() -> None:
    surely, never = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(surely.weight, 0.0)  # probability one half
    torch.nn.init.constant_(never.weight, torch.tensor(0.9).logit().item())
    asked = Averaged([surely, never])(torch.ones(1, 3, 1)).sigmoid()
    assert torch.allclose(asked, torch.full((1, 3, 1), 0.7))


def test_the_network_sees_the_components_in_which_training_samples_differ() -> None:
    along = torch.tensor([3.0, 0.0, 4.0]) / 5
    samples = torch.linspace(-1, 1, 41)[:, None] * along + torch.tensor([0.0, 7.0, 0.0])
    model = Standardized(torch.nn.Identity(), 3, components=1)
    model.learn_scale(samples)
    seen = model(samples)
    assert seen.shape == (41, 1) and torch.allclose(seen.std(), torch.tensor(1.0), atol=1e-5)
    assert torch.allclose(model(samples + torch.tensor([0.0, 9.0, 0.0])), seen, atol=1e-4)
    across = torch.tensor([1.0, 0.0, -1.0]) * model.sd  # in scaled units the component is (1, 0, 1)
    assert torch.allclose(model(samples + across), seen, atol=1e-4)


def test_relative_features_hide_what_stays_the_same() -> None:
    run = torch.randn(3, 16, 4, generator=torch.Generator().manual_seed(0))
    relative = Standardized(torch.nn.Identity(), 4, relative=True)
    relative.learn_scale(run)
    assert torch.allclose(relative(run), relative(run + torch.tensor([5.0, -3.0, 0.0, 9.0])), atol=1e-5)
    plain = Standardized(torch.nn.Identity(), 4)
    plain.learn_scale(run)
    scaled = plain(run).flatten(0, 1)
    assert torch.allclose(scaled.mean(dim=0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(scaled.std(dim=0), torch.ones(4), atol=1e-5)


def test_a_run_that_changes_less_than_any_of_training_is_still() -> None:
    runs = (
        torch.randn(3, 16, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 4.0])[:, None, None]
    )
    model = Standardized(torch.nn.Identity(), 4, relative=True)
    model.learn_scale(runs)
    assert model.change(runs).argmin() == 0
    assert not any(model.is_still(run) for run in runs)
    assert model.is_still(runs[0] * 0.9 + 100) and not model.is_still(runs[0] * 1.1 + 100)
    plain = Standardized(torch.nn.Identity(), 4)
    plain.learn_scale(runs)
    assert not plain.is_still(torch.ones(16, 4))


def test_where_nothing_changes_the_frame_classifier_decides(store: Store, found: FrameSelectionTables) -> None:
    selector = load_frame_selector(store)
    frame = torch.randint(0, 256, (1, 80, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    finding = find_interval(frame.expand(12, -1, -1).contiguous(), selector)
    assert finding.still and np.array_equal(finding.probability, finding.frame_probability)
    assert finding.interval == ((0, 11) if finding.frame_probability[0] >= 0.5 else None)


def test_real_runs_of_other_rates_and_no_change_are_answered(
    store: Store, found: FrameSelectionTables, cag_data: Path
) -> None:
    runs = read_real_runs(load_frame_selector(store), cag_data / FOLDER)
    assert [(run.name, len(run.frames)) for run in runs] == [
        ("right artery", 96), ("static model A", 9), ("static model B", 8),
    ]  # fmt: skip
    assert runs[0].fps == pytest.approx(30.3, abs=0.1)
    assert all(len(run.finding.probability) == len(run.frames) for run in runs)


def test_cropping_keeps_order_and_pairs() -> None:
    targets = torch.arange(64.0).repeat(5, 1)
    inputs, cut = crop_runs(targets[..., None].clone(), targets, torch.Generator().manual_seed(0), 0.3)
    assert torch.equal(inputs[..., 0], cut)
    assert (cut.diff(dim=1) >= 0).all() and cut.min() >= 0 and cut.max() <= 63
    assert (cut[:, -1] - cut[:, 0] < 63).any()
    whole = crop_runs(targets[..., None], targets, torch.Generator().manual_seed(0), 0.0)[1]
    assert torch.equal(whole, targets)
