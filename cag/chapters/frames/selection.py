"""Candidate frame selection: networks and baselines on disjoint patients, in two arms, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.chapters.frames.baselines import baseline_intervals
from cag.chapters.frames.candidates import choose_candidates, image_quality, middle_frames
from cag.chapters.frames.reading import (
    export_selector,
    frame_probability,
    is_still,
    loaded,
    sequence_probability,
)
from cag.chapters.frames.sampling import contrast_truth, split_patients
from cag.chapters.frames.settings import (
    ARMS,
    Arm,
    CnnSettings,
    FrameSelectionSettings,
    SequenceSettings,
    features_of,
    only,
)
from cag.chapters.frames.training import SEQUENCES, new_head, new_sequence, run_features, train_cnn, train_sequences
from cag.chapters.store import RunFolder, Store, run_tasks
from cag.data.cohort import Cohort
from cag.networks.frame_selector import interval_from_probabilities


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
    interval: tuple[int, int] | None
    probability: Float[np.ndarray, " t"] | None = None


def run_frame_selection(cohort: Cohort, settings: FrameSelectionSettings, store: Store) -> FrameSelectionTables:
    """Train what is not stored yet, predict every test run, publish the tables and the frame selector.

    Raises
    ------
    LabelError
        If the cohort has no contrast intervals, or too few patients for a split.
    """
    cohort.require("contrast")
    sides = split_patients(cohort, settings.train_patients, settings.seed)
    train, test = (cohort.manifest[cohort.manifest.patient_id.isin(side)] for side in sides)
    cnn = run_tasks("frame_cnn", train_cnn, [only(CnnSettings, settings)], cohort, store)[0]
    sequence = run_tasks("frame_sequence", train_sequences, [only(SequenceSettings, settings)], cohort, store)[0]
    features = run_features(cohort, features_of(settings, trained=settings.trainable == "all"), store)
    export_selector(cohort, settings, store, cnn, sequence)
    curves = {str(run): rows.sort_values("frame") for run, rows in features.load_table("curves").groupby("run_id")}
    found = [*_network_findings(settings, cnn, sequence, features, test)]
    found += [_Found(run, "clean", name, interval) for run, name, interval in baseline_intervals(curves, train, test)]
    tables = {
        "frames": _frame_table(found, test),
        "runs": _run_table(found, test),
        "candidates": _candidate_table(found, test, curves, settings.candidates),
    }
    return FrameSelectionTables(**{n: store.publish(f"frame_selection_{n}", table) for n, table in tables.items()})


def _network_findings(
    settings: FrameSelectionSettings, cnn: RunFolder, sequence: RunFolder, features: RunFolder, runs: pd.DataFrame
) -> Iterator[_Found]:
    """All networks on all test runs; in the clean arm the frame classifier decides where nothing changes."""
    device, seed, rule = features.store.device, settings.seed, settings.interval_rule
    for arm in ARMS:
        pooled = features.load_weights(arm if settings.trainable == "all" else "clean")
        width = next(iter(pooled.values())).shape[1]
        head = loaded(new_head(width, seed), cnn.load_weights(f"head_{arm}"))
        models = {
            name: loaded(new_sequence(name, width, settings), sequence.load_weights(f"{name}_{arm}"))
            for name, arms in SEQUENCES.items()
            if arm in arms
        }
        for run_id in runs.run_id:
            own = pooled[run_id].float()
            said = {"cnn": frame_probability(head, own, device)}
            for name, model in models.items():
                alone = arm == "clean" and is_still(model, own)
                said[name] = said["cnn"] if alone else sequence_probability(model, own, device)
            for method, probability in said.items():
                yield _Found(run_id, arm, method, interval_from_probabilities(probability, rule(arm)), probability)


def _frame_table(found: list[_Found], runs: pd.DataFrame) -> pd.DataFrame:
    """``run_id, patient_id, frame, arm, method, probability, truth`` of every method with probabilities."""
    by_id = {str(run.run_id): run for _, run in runs.iterrows()}
    parts = []
    for one in found:
        if one.probability is not None:
            run = by_id[one.run_id]
            values = {"frame": np.arange(len(one.probability)), "arm": one.arm, "method": one.method}
            values |= {"probability": one.probability, "truth": contrast_truth(run).astype(int)}
            parts.append(pd.DataFrame({"run_id": one.run_id, "patient_id": run.patient_id, **values}))
    return pd.concat(parts, ignore_index=True)


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
        run, quality = by_id[one.run_id], image_quality(curves[one.run_id].vesselness.to_numpy())
        probability = np.ones(len(quality)) if one.probability is None else one.probability
        chosen = choose_candidates(probability, quality, one.interval, count)
        for name, frames in {"quality": chosen, "middle": middle_frames(one.interval, count)}.items():
            values = {"run_id": one.run_id, "patient_id": run.patient_id, "arm": one.arm, "method": one.method}
            values |= {"chosen_by": name, "frame": frames}
            values |= {"probability": np.nan if one.probability is None else probability[frames]}
            values |= {"quality": quality[frames], "inside": contrast_truth(run)[frames]}
            parts.append(pd.DataFrame(values))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)
