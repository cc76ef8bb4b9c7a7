"""What the chain loses: each link on true input against each link on the output of the link before it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from cag.anatomy import TWO_CATEGORIES, VIEWS, view_from_angles
from cag.chapters.classification.scores import labeled_frames, outputs_of, system
from cag.chapters.frames.training import run_features
from cag.chapters.reading.models import ReadingModels, load_models
from cag.chapters.reading.run import TrunkMaps, probabilities
from cag.chapters.reading.triage import TriageSettings, angle_class
from cag.chapters.store import RunFolder
from cag.data.cohort import Cohort
from cag.data.frames import load_frames
from cag.data.severity import artery_severity
from cag.metrics.intervals import Estimate, Metrics, bootstrap_many, paired_difference
from cag.metrics.weighted import roc_auc
from cag.settings import Settings

#: The links that are found rather than true, in words.
LINKS = {
    "none": "true frames, true views",
    "frames": "frames chosen by the selector, true views",
    "frames and views": "frames chosen by the selector, views by the triage",
}
_COLUMNS = ["found_links", "patient_id", "run_id", "frame", "model_view", "fold", "score"]


class ChainSettings(Settings):
    """What the comparison depends on besides the cohort: digest of the networks, most frames of each run."""

    networks: str
    frames_per_run: int


def compare_links(cohort: Cohort, settings: ChainSettings, folder: RunFolder) -> None:
    """Image scores of the patients that no network has seen, by which links of the chain are found.

    Each run gives equally many images in every variant, since a patient's score is their maximum. Stores ``images``:
    ``found_links, patient_id, run_id, frame, model_view, fold, score``, and ``percent_stenosis`` of the patient; a
    patient without an image in a variant has one row without a score.
    """
    store = folder.store
    models = load_models(store.root, device=store.device)
    rows = labeled_frames(system(pd.read_parquet(store.table("classification")), 2, True))
    folds = rows.drop_duplicates("patient_id").set_index("patient_id").fold
    patients = sorted(set(models.parts["frames"].facts["tested"]) & set(folds.index))
    rows = rows[rows.patient_id.isin(patients)]
    rows = rows.assign(score=outputs_of(rows).score, found_links="none").sort_values(["run_id", "frame"])
    truth = pd.concat([_spread(own, settings.frames_per_run) for _, own in rows.groupby("run_id")])
    table = pd.read_parquet(store.table("frame_selection_candidates"))
    table = table.query(
        "arm == 'clean' and method == 'cnn_lstm' and chosen_by == 'quality' and patient_id in @patients"
    )
    best = table.sort_values("quality", ascending=False, kind="stable").groupby("run_id").head(settings.frames_per_run)
    best = best.sort_values(["run_id", "frame"], ignore_index=True)[["patient_id", "run_id", "frame"]]
    best = best.assign(fold=best.patient_id.map(folds))
    true_views = dict(zip(cohort.manifest.run_id, cohort.manifest["view"], strict=True))
    variants = {"frames": true_views, "frames and views": _triaged_views(cohort, best, models, folder)}
    parts = [best.assign(found_links=links, view=best.run_id.map(views)) for links, views in variants.items()]
    found = pd.concat([part[part["view"].isin(list(VIEWS))] for part in parts], ignore_index=True)
    found["model_view"] = [VIEWS[view].model for view in found["view"]]
    found["score"] = _scores(cohort, found, models)
    every = pd.concat([truth[_COLUMNS], found[_COLUMNS]], ignore_index=True)
    asked = pd.MultiIndex.from_product([LINKS, patients], names=_COLUMNS[:2]).to_frame(index=False)
    every = asked.merge(every, how="left", on=_COLUMNS[:2])
    worst = artery_severity(cohort).groupby("patient_id").percent_stenosis.max()
    folder.save_table("images", every.assign(percent_stenosis=every.patient_id.map(worst)))


def chain_table(found: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Patient AUC by which links are found, what the last of them loses, and the difference to no link found.

    A patient in whom nothing was read counts as called healthy. The classifier's own loss is what its area on true
    frames lacks to one. Intervals resample patients.

    Parameters
    ----------
    found : DataFrame
        ``images`` of ``compare_links``; not empty.
    """
    people = found.groupby(["found_links", "patient_id"], as_index=False)
    table = people.agg(score=("score", "max"), percent=("percent_stenosis", "first")).fillna({"score": 0.0})
    variants = {links: table[table.found_links == links] for links in LINKS}

    def less(first: str, second: str) -> Estimate:
        """Area of the first variant minus that of the second, on the same resampled patients."""
        one, other = variants[first], variants[second]
        sides = _area(one), one.patient_id.to_numpy(), _area(other), other.patient_id.to_numpy()
        return paired_difference(*sides, n=bootstrap, rng=np.random.default_rng(seed))["auc"]

    rows, before = [], "none"
    for links, words in LINKS.items():
        own = variants[links]
        if (own.percent >= TWO_CATEGORIES[0]).nunique() < 2:
            rows.append((words, len(own), *["not computed"] * 3))
            continue
        area = bootstrap_many(_area(own), own.patient_id.to_numpy(), n=bootstrap, rng=np.random.default_rng(seed))[
            "auc"
        ]
        if links == "none":
            step, whole = Estimate(1 - area.value, 1 - area.high, 1 - area.low, area.n_groups), "–"
        else:
            step, whole = less(before, links), f"{less(links, 'none')}"
        rows.append((words, len(own), f"{area}", f"{step}", whole))
        before = links
    return pd.DataFrame(rows, columns=["Links", "Patients", "AUC", "Lost by the last link", "Difference to true links"])


def _area(patients: pd.DataFrame) -> Metrics:
    """The area under the ROC curve for rows of weights."""
    diseased, score = (patients.percent >= TWO_CATEGORIES[0]).to_numpy(), patients.score.to_numpy(dtype=float)
    return lambda weights: {"auc": roc_auc(diseased, score, weights)}


def _triaged_views(cohort: Cohort, best: pd.DataFrame, models: ReadingModels, folder: RunFolder) -> dict[str, str]:
    """The view of each run by its angles and the artery that the fold's triage tells from the chosen frames."""
    features = TriageSettings(**models.parts["triage"].settings).features
    pooled = run_features(cohort, features, folder.store).load_weights("clean")
    runs, views = cohort.manifest.set_index("run_id"), {}
    for run_id, own in best.groupby("run_id"):
        primary, secondary = map(float, runs.loc[str(run_id), ["primary_angle", "secondary_angle"]].to_numpy())
        rows = pooled[str(run_id)][torch.from_numpy(own.frame.to_numpy(copy=True))]
        p_right = models.triage.right(rows, angle_class(primary, secondary), int(own.fold.iloc[0]))
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
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]
