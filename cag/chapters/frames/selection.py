"""Candidate frame selection: networks and baselines on disjoint patients, in two arms, as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from cag.chapters.frames.baselines import apply_calibration, calibrate, change_interval, constant_prior
from cag.chapters.frames.candidates import choose_candidates, image_quality, middle_frames
from cag.chapters.frames.features import Standardized, compute_features
from cag.chapters.frames.networks import new_head, train_cnn
from cag.chapters.frames.reading import (
    frame_probability,
    guarded_probability,
    save_frame_selector,
    sequence_probability,
)
from cag.chapters.frames.sampling import contrast_truth, split_patients
from cag.chapters.frames.sequences import new_sequence, train_sequence
from cag.chapters.frames.settings import ARMS, Arm, FrameSelectionSettings, SequenceModel
from cag.chapters.store import RunFolder, Store
from cag.chapters.tasks import Task, run_tasks
from cag.data.cohort import Cohort
from cag.networks.frame_selector import interval_from_probabilities
from cag.settings import Settings

Interval = tuple[int, int] | None
Reader = Callable[[Standardized, Tensor, str], Float[np.ndarray, " t"]]


@dataclass(frozen=True)
class FrameSelectionTables:
    """The published tables: predictions of the test runs, a row a frame, a run, a candidate."""

    frames: pd.DataFrame
    runs: pd.DataFrame
    candidates: pd.DataFrame


@dataclass(frozen=True)
class _Found:
    """What a method says of one run; curves of baselines are no probabilities and are not kept."""

    run_id: str
    arm: Arm
    method: str
    interval: Interval
    probability: Float[np.ndarray, " t"] | None


def run_frame_selection(cohort: Cohort, settings: FrameSelectionSettings, store: Store) -> FrameSelectionTables:
    """Train what is not stored yet, predict every test run, publish the tables and the frame selector.

    Raises
    ------
    LabelError
        If the cohort has no contrast intervals, or too few patients for a split.
    """
    cohort.require("contrast")
    train, test = split_patients(cohort, settings.train_patients, settings.seed)
    manifest = cohort.manifest
    train_runs, test_runs = (manifest[manifest.patient_id.isin(side)] for side in (train, test))
    work = _Work(cohort, settings, store)
    found = [*_network_findings(work, test_runs), *_baseline_findings(work, train_runs, test_runs)]
    save_frame_selector(store, settings, work.cnn("clean"), work.sequence("clean", "cnn_lstm"))
    tables = {
        "frames": _frame_table(found, test_runs),
        "runs": _run_table(found, test_runs),
        "candidates": _candidate_table(found, test_runs, work.curves(), settings.candidates),
    }
    return FrameSelectionTables(
        **{name: store.publish(f"frame_selection_{name}", table) for name, table in tables.items()}
    )


class _Work:
    """The experiment's pieces of work, each done once and found again in the store."""

    def __init__(self, cohort: Cohort, settings: FrameSelectionSettings, store: Store) -> None:
        self.cohort, self.settings, self.store = cohort, settings, store

    def cnn(self, arm: Arm) -> RunFolder:
        """Stage 1 of an arm; a frozen trunk's features must be there first."""
        frozen = self.features(arm) if self.settings.trainable == "head" else None
        return self._do("frame_cnn", self.settings.cnn(arm), partial(train_cnn, features=frozen))

    def features(self, arm: Arm) -> RunFolder:
        """Features and curves; with a trained trunk, stage 1 must be there first."""
        trained = self.cnn(arm) if self.settings.trainable == "all" else None
        return self._do("frame_features", self.settings.features(arm), partial(compute_features, trained=trained))

    def sequence(self, arm: Arm, model: SequenceModel) -> RunFolder:
        """Stage 2 of an arm."""
        task = partial(train_sequence, features=self.features(arm))
        return self._do("frame_sequence", self.settings.sequence(arm, model), task)

    def curves(self) -> dict[str, pd.DataFrame]:
        """Vesselness and darkness of every frame, by run."""
        table = self.features("clean").load_table("curves")
        return {str(run_id): rows.sort_values("frame") for run_id, rows in table.groupby("run_id")}

    def _do(self, kind: str, settings: Settings, work: Callable[..., None]) -> RunFolder:
        task = Task(kind, settings, partial(work, device=self.settings.device))
        return run_tasks([task], self.cohort, self.store, progress=False)[0]


def _network_findings(work: _Work, runs: pd.DataFrame) -> Iterator[_Found]:
    """All networks on all test runs; the temporal convolution was not published, so it has one arm."""
    device = work.settings.device
    for arm in ARMS:
        features = work.features(arm).load_weights("features")
        width = next(iter(features.values())).shape[1]
        rule = work.settings.interval_rule(arm)
        head = new_head(width, work.settings.seed)
        head.load_state_dict(work.cnn(arm).load_weights("head"))
        head.eval()
        models: dict[str, tuple[Standardized, Reader]] = {"cnn": (head, frame_probability)}
        sequence_models: tuple[SequenceModel, ...] = ("cnn_lstm", "tcn") if arm == "clean" else ("cnn_lstm",)
        read_sequence = partial(guarded_probability, head) if arm == "clean" else sequence_probability
        for name in sequence_models:
            model = new_sequence(name, width, work.settings)
            model.load_state_dict(work.sequence(arm, name).load_weights(arm))
            models[name] = (model.eval(), read_sequence)
        for run_id in runs.run_id:
            pooled = features[run_id].float()
            for method, (model, read) in models.items():
                probability = read(model, pooled, device)
                yield _Found(run_id, arm, method, interval_from_probabilities(probability, rule), probability)


def _baseline_findings(work: _Work, train: pd.DataFrame, test: pd.DataFrame) -> Iterator[_Found]:
    """Change points of both curves and the constant prior, calibrated on the training patients."""
    curves = work.curves()
    for method in ("vesselness", "darkness"):
        calibration = calibrate([change_interval(curves[run][method].to_numpy()) for run in train.run_id], train)
        for run_id, count in zip(test.run_id, test.n_frames, strict=True):
            change = change_interval(curves[run_id][method].to_numpy())
            yield _Found(run_id, "clean", method, apply_calibration(change, calibration, int(count)), None)
    first, last = constant_prior(train)
    for run_id, count in zip(test.run_id, test.n_frames, strict=True):
        interval = round(first * (int(count) - 1)), round(last * (int(count) - 1))
        yield _Found(run_id, "clean", "prior", interval, None)


def _frame_table(found: list[_Found], runs: pd.DataFrame) -> pd.DataFrame:
    """``run_id, patient_id, frame, arm, method, probability, truth`` of every method with probabilities."""
    by_id = runs.set_index("run_id", drop=False)
    truth = {run_id: contrast_truth(run).astype(int) for run_id, run in by_id.iterrows()}
    parts = [
        pd.DataFrame({"frame": np.arange(len(one.probability)), "probability": one.probability}).assign(
            run_id=one.run_id,
            patient_id=by_id.patient_id[one.run_id],
            arm=one.arm,
            method=one.method,
            truth=truth[one.run_id],
        )
        for one in found
        if one.probability is not None
    ]
    columns = ["run_id", "patient_id", "frame", "arm", "method", "probability", "truth"]
    return pd.concat(parts, ignore_index=True)[columns]


def _run_table(found: list[_Found], runs: pd.DataFrame) -> pd.DataFrame:
    """True and found interval of every test run; missing where there is none."""
    rows = [(f.run_id, f.arm, f.method, *(f.interval or (pd.NA, pd.NA))) for f in found]
    table = pd.DataFrame(rows, columns=["run_id", "arm", "method", "begin_pred", "end_pred"])
    names = {"contrast_begin": "begin_true", "contrast_end": "end_true"}
    columns = ["run_id", "patient_id", "artery", "view", "fps", "n_frames", *names, "end_censored"]
    table = runs[columns].rename(columns=names).merge(table, on="run_id")
    whole = ["n_frames", "begin_true", "end_true", "begin_pred", "end_pred"]
    table[whole] = table[whole].astype("Int64")
    return table.assign(end_censored=table.end_censored.fillna(False).astype(bool))


def _candidate_table(
    found: list[_Found], runs: pd.DataFrame, curves: dict[str, pd.DataFrame], count: int
) -> pd.DataFrame:
    """Candidates of every method, chosen by probability and quality, and plainly from the interval's middle."""
    by_id = {str(run.run_id): run for _, run in runs.iterrows()}
    parts = []
    for one in found:
        run = by_id[one.run_id]
        quality = image_quality(curves[one.run_id].vesselness.to_numpy())
        probability = np.ones(len(quality)) if one.probability is None else one.probability
        truth = contrast_truth(run)
        choices = {
            "quality": choose_candidates(probability, quality, one.interval, count),
            "middle": middle_frames(one.interval, count),
        }
        for name, frames in choices.items():
            values = {"frame": frames, "quality": quality[frames], "inside": truth[frames]}
            values["probability"] = probability[frames] if one.probability is not None else np.nan
            keys = {"run_id": one.run_id, "patient_id": run.patient_id, "arm": one.arm, "method": one.method}
            parts.append(pd.DataFrame(values).assign(**keys, chosen_by=name))
    columns = ["run_id", "patient_id", "arm", "method", "chosen_by", "frame", "probability", "quality", "inside"]
    return pd.concat([part for part in parts if len(part)], ignore_index=True)[columns]
