"""Candidate frame selection: networks and baselines on disjoint patients, in two arms, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.chapters.bundle import export_part
from cag.chapters.frames.baselines import baseline_intervals
from cag.chapters.frames.sampling import contrast_truth, split_patients
from cag.chapters.frames.selector import (
    Interval,
    choose_candidates,
    frame_probability,
    image_quality,
    loaded,
    middle_frames,
    new_head,
    new_sequence,
    sequence_probability,
)
from cag.chapters.frames.settings import CnnSettings, FrameSelectionSettings, SequenceSettings, only
from cag.chapters.frames.training import SEQUENCES, Features, run_features, train_cnn, train_sequences
from cag.chapters.store import RunFolder, Store, run_tasks
from cag.data.cohort import Cohort
from cag.data.splits import ARMS, Arm
from cag.networks.frame_selector import interval_from_probabilities


class FrameSelectionTables(NamedTuple):
    """The published tables: predictions of the test runs, a row a frame, a run, a candidate."""

    frames: pd.DataFrame
    runs: pd.DataFrame
    candidates: pd.DataFrame


class _Found(NamedTuple):
    """What a method says of one run; curves of baselines are no probabilities and are not kept."""

    run_id: str
    arm: Arm
    method: str
    interval: Interval
    probability: Float[np.ndarray, " t"] | None = None


def run_frame_selection(cohort: Cohort, settings: FrameSelectionSettings, store: Store) -> FrameSelectionTables:
    """Train what is not stored yet, predict every test run, publish the tables and the frame selector.

    Raises `LabelError` if the cohort has no contrast intervals, or too few patients for a split.
    """
    cohort.require("contrast")
    sides = split_patients(cohort, settings)
    train, test = (cohort.manifest[cohort.manifest.patient_id.isin(side)] for side in sides)
    cnn = run_tasks("frame_cnn", train_cnn, [only(CnnSettings, settings)], cohort, store)[0]
    sequence = run_tasks("frame_sequence", train_sequences, [only(SequenceSettings, settings)], cohort, store)[0]
    features = run_features(cohort, settings, store)
    weights = {"head": cnn.load_weights("head_clean"), "sequence": sequence.load_weights("cnn_lstm_clean")}
    if settings.trainable == "all":
        weights["trunk"] = cnn.load_weights("trunk_clean")
    export_part(store, "frames", settings=settings, cohort=cohort, weights=weights, facts={"tested": sides[1]})
    curves = {str(run): rows for run, rows in features.load_table("curves").groupby("run_id")}
    found = [*_network_findings(settings, cnn, sequence, features, test)]
    found += [_Found(run, "clean", name, interval) for run, name, interval in baseline_intervals(curves, train, test)]
    frames, candidates = _frame_tables(found, test, curves, settings.candidates)
    tables = {"frames": frames, "runs": _run_table(found, test), "candidates": candidates}
    return FrameSelectionTables(**{n: store.publish(f"frame_selection_{n}", table) for n, table in tables.items()})


def _network_findings(
    settings: FrameSelectionSettings, cnn: RunFolder, sequence: RunFolder, features: Features, runs: pd.DataFrame
) -> Iterator[_Found]:
    """All networks on all test runs; in the clean arm the frame classifier decides where nothing changes."""
    device = cnn.store.device
    for arm in ARMS:
        pooled = features.load_weights(arm if settings.trainable == "all" else "clean")
        width = next(iter(pooled.values())).shape[1]
        head = loaded(new_head(width, settings.seed), cnn.load_weights(f"head_{arm}"))
        names = [name for name, arms in SEQUENCES.items() if arm in arms]
        weights = {name: sequence.load_weights(f"{name}_{arm}") for name in names}
        models = {name: loaded(new_sequence(name, width, settings), weights[name]) for name in names}
        rule = settings.rule if arm == "clean" else "last_positive"
        for run_id in runs.run_id:
            own = pooled[run_id].float()
            said = {"cnn": frame_probability(head, own, device)}
            for name, model in models.items():
                probability, still = sequence_probability(model, own, device)
                said[name] = said["cnn"] if still and arm == "clean" else probability
            for method, probability in said.items():
                yield _Found(run_id, arm, method, interval_from_probabilities(probability, rule), probability)


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


def _frame_tables(
    found: list[_Found], runs: pd.DataFrame, curves: dict[str, pd.DataFrame], count: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every frame with its probability and truth, where a method has probabilities, and every method's candidates.

    Candidates are chosen by probability and quality, and plainly from the interval's middle.
    """
    by_id, frames, candidates = {str(run.run_id): run for _, run in runs.iterrows()}, [], []
    for run_id, arm, method, interval, probability in found:
        truth, quality = contrast_truth(by_id[run_id]), image_quality(curves[run_id].vesselness.to_numpy())
        whose = {"run_id": run_id, "patient_id": by_id[run_id].patient_id}
        if probability is not None:
            values = {"frame": np.arange(len(truth)), "arm": arm, "method": method, "probability": probability}
            frames.append(pd.DataFrame({**whose, **values, "truth": truth.astype(int)}))
        sure = np.full(len(truth), np.nan) if probability is None else probability
        chosen = choose_candidates(np.ones(len(truth)) if probability is None else sure, quality, interval, count)
        for name, own in {"quality": chosen, "middle": middle_frames(interval, count)}.items():
            values = {"arm": arm, "method": method, "chosen_by": name, "frame": own, "probability": sure[own]}
            candidates.append(pd.DataFrame({**whose, **values, "quality": quality[own], "inside": truth[own]}))
    filled = [part for part in candidates if len(part)]
    return pd.concat(frames, ignore_index=True), pd.concat(filled, ignore_index=True)
