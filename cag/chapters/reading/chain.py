"""What the chain loses: each link on true input against each link on the output of the link before it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch

from cag.anatomy import VIEWS, view_from_angles
from cag.chapters.classification.tables import labeled_frames, outputs_of, system
from cag.chapters.classification.training import CellSettings
from cag.chapters.frames.settings import SequenceSettings, features_of, only
from cag.chapters.reading.models import ReadingModels
from cag.chapters.reading.reading import ReadingSettings
from cag.chapters.reading.run import TrunkMaps, probabilities
from cag.chapters.reading.triage import TriageSettings, angle_class
from cag.chapters.store import RunFolder
from cag.chapters.tasks import Task, run_tasks
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.data.severity import artery_severity
from cag.settings import Settings

#: The links that are found rather than true, in words.
LINKS = {
    "none": "true frames, true views",
    "frames": "frames chosen by the selector, true views",
    "frames and views": "frames chosen by the selector, views by the triage",
}
_COLUMNS = ["found_links", "patient_id", "run_id", "frame", "model_view", "fold", "score"]


class ChainSettings(Settings):
    """What the comparison depends on besides the cohort."""

    classifier: CellSettings
    sequence: SequenceSettings
    triage: TriageSettings
    frames_per_run: int


def end_to_end(cohort: Cohort, models: ReadingModels, settings: ReadingSettings) -> pd.DataFrame:
    """Image scores of the patients that no network has seen, by which links of the chain are found.

    Each run gives at most ``chain_frames`` images in every variant, so that the maximum is over equal numbers.

    Returns
    -------
    DataFrame
        ``found_links, patient_id, run_id, frame, model_view, fold, score`` and ``percent_stenosis`` of the patient;
        a patient without an image in a variant has one row without a score; empty for ``chain_frames`` 0.
    """
    if not settings.chain_frames:
        return pd.DataFrame(columns=[*_COLUMNS, "percent_stenosis"])
    selection = models.selector.settings
    chain = ChainSettings(
        classifier=next(cell for (system, _, _), cell in models.cells.items() if system == 2),
        sequence=only(SequenceSettings, selection),
        triage=TriageSettings(
            features=features_of(selection, trained=selection.trainable == "all"), folds=models.folds, seed=models.seed
        ),
        frames_per_run=settings.chain_frames,
    )
    work = partial(_score, models=models)
    folder = run_tasks([Task("reading_chain", chain, work, here=True)], cohort, models.store, progress=False)[0]
    return folder.load_table("images")


def _score(cohort: Cohort, settings: ChainSettings, folder: RunFolder, *, models: ReadingModels) -> None:
    """Score all images that a variant needs, each once for each classifier that has to read it."""
    predictions = pd.read_parquet(models.store.table("classification"))
    truth = labeled_frames(system(predictions, 2, True))
    folds = truth.drop_duplicates("patient_id").set_index("patient_id").fold
    candidates = _candidates(models, settings.frames_per_run)
    patients = sorted(set(pd.read_parquet(models.store.table("frame_selection_runs")).patient_id) & set(folds.index))
    truth = truth[truth.patient_id.isin(patients)]
    truth = truth.assign(score=outputs_of(truth).score, found_links="none")
    truth = truth.groupby("run_id", group_keys=False)[list(truth)].apply(
        partial(_spread, count=settings.frames_per_run)
    )
    candidates = candidates[candidates.patient_id.isin(patients)].assign(fold=lambda t: t.patient_id.map(folds))
    views = {
        "frames": dict(zip(cohort.manifest.run_id, cohort.manifest["view"], strict=True)),
        "frames and views": _triaged_views(cohort, candidates, models, settings),
    }
    parts = [
        candidates.assign(found_links=links, model_view=[_model_of(names.get(run)) for run in candidates.run_id])
        for links, names in views.items()
    ]
    chained = pd.concat(parts, ignore_index=True).query("model_view != ''").reset_index(drop=True)
    chained["score"] = _scores(cohort, chained, models)
    every = pd.concat([truth[_COLUMNS], chained[_COLUMNS]], ignore_index=True)
    missing = [
        {"found_links": links, "patient_id": patient}
        for links in LINKS
        for patient in sorted(set(patients) - set(every.patient_id[every.found_links == links]))
    ]
    every = pd.concat([every, pd.DataFrame(missing)], ignore_index=True) if missing else every
    worst = artery_severity(cohort).groupby("patient_id").percent_stenosis.max()
    folder.save_table("images", every.assign(percent_stenosis=every.patient_id.map(worst)))


def _candidates(models: ReadingModels, count: int) -> pd.DataFrame:
    """The selector's best frames of each test run."""
    table = pd.read_parquet(models.store.table("frame_selection_candidates"))
    table = table.query("arm == 'clean' and method == 'cnn_lstm' and chosen_by == 'quality'")
    best = table.sort_values("quality", ascending=False, kind="stable").groupby("run_id").head(count)
    return best.sort_values(["run_id", "frame"], ignore_index=True)[["patient_id", "run_id", "frame"]]


def _triaged_views(
    cohort: Cohort, candidates: pd.DataFrame, models: ReadingModels, settings: ChainSettings
) -> dict[str, str]:
    """The view of each run by its angles and the artery that the fold's triage tells from the chosen frames."""
    features = models.store.folder("frame_features", settings.triage.features, cohort.digest()).load_weights("features")
    runs, views = cohort.manifest.set_index("run_id"), {}
    for run_id, own in candidates.groupby("run_id"):
        pooled = features[str(run_id)][torch.from_numpy(own.frame.to_numpy(copy=True))]
        primary, secondary = map(float, runs.loc[str(run_id), ["primary_angle", "secondary_angle"]].to_numpy())
        p_right = models.triage.right(pooled, angle_class(primary, secondary), int(own.fold.iloc[0]))
        views[str(run_id)] = view_from_angles(primary, secondary, "RCA" if p_right >= 0.5 else "LCA")
    return views


def _scores(cohort: Cohort, samples: pd.DataFrame, models: ReadingModels) -> pd.Series:
    """Stenosis probability of each sample by the classifier of its view and fold."""
    unique = samples[["run_id", "frame"]].drop_duplicates().reset_index(drop=True)
    images = load_frames(cohort, unique, models.image_size, progress=False)
    place = pd.Series(unique.index, index=pd.MultiIndex.from_frame(unique))
    score = pd.Series(np.nan, index=samples.index)
    for _, own in samples.groupby(["model_view", "fold"]):
        rows = place.loc[pd.MultiIndex.from_frame(own[["run_id", "frame"]])].to_numpy(copy=True)
        maps = TrunkMaps(images[torch.from_numpy(rows)], models.device)
        classifiers = models.classifiers(2, own.model_view.iloc[0], int(own.fold.iloc[0]))
        score[own.index] = probabilities(classifiers, maps, models.image_size)[0][:, 1]
    return score


def _spread(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most ``count`` frames of a run, evenly spread."""
    ordered = rows.sort_values("frame")
    return ordered.iloc[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]


def _model_of(view: object) -> str:
    """The classifier of a view; empty where there is none."""
    return VIEWS[str(view)].model if view in VIEWS else ""
