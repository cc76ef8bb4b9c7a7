"""The reference standard of arteries and patients, and which patients train and which are tested: never frames."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int

from cag.anatomy import THREE_CATEGORIES, severity_category
from cag.data.cohort import Cohort
from cag.metrics.boxes import Rule
from cag.settings import InputError, LabelError

Arm = Rule
ARMS: tuple[Arm, Arm] = ("clean", "as_published")


def artery_severity(cohort: Cohort) -> pd.DataFrame:
    """Reference standard of each patient and artery of the manifest: worst percent stenosis of any of its segments.

    Columns are ``patient_id, artery, percent_stenosis``.
    """
    seen = cohort.manifest.dropna(subset=["artery"])[["patient_id", "artery"]].drop_duplicates()
    worst = cohort.lesions.groupby(["patient_id", "artery"])["percent_stenosis"].max()
    table = seen.merge(worst.reset_index(), how="left", on=["patient_id", "artery"])
    return table.fillna({"percent_stenosis": 0.0}).sort_values(["patient_id", "artery"], ignore_index=True)


def patient_severity(cohort: Cohort) -> dict[str, int]:
    """Category of each patient's worst segment (none, stenosis, occlusion): what the folds are stratified by."""
    worst = artery_severity(cohort).groupby("patient_id")["percent_stenosis"].max()
    categories = severity_category(worst.to_numpy(), THREE_CATEGORIES)
    return dict(zip(worst.index, categories.tolist(), strict=True))


def low_quality(cohort: Cohort) -> set[str]:
    """Patients whose study is marked as of low quality."""
    marks = cohort.patients.set_index("patient_id").get("low_quality", pd.Series(dtype=float))
    return set(marks.index[marks.fillna(0).astype(bool)])


class LeakError(InputError):
    """A patient stands on both sides of a split."""


def patient_folds(severity: Mapping[str, Hashable], n_folds: int = 4, seed: int = 0) -> pd.DataFrame:
    """Deal patients into folds, every severity evenly.

    Patients of each severity (any sortable label; the mapping's order does not count) are shuffled and dealt one after
    another over the folds, so that fold sizes, and the number of patients of each severity in them, differ by at most
    one. The result has ``patient_id`` (sorted) and ``fold`` (0 to ``n_folds - 1``). Raises `InputError` if there are
    fewer patients than folds, or fewer than two folds.
    """
    if not 2 <= n_folds <= len(severity):
        problem = f"{n_folds} folds of {len(severity)} patients"
        raise InputError(problem, field="n_folds", remedy="Use at least 2 folds, and no more than patients")
    dealt = _shuffled_by_label(severity, np.random.default_rng([seed, 11]))
    first = np.random.default_rng([seed, 12]).permutation(n_folds)
    folds = pd.DataFrame({"patient_id": dealt, "fold": [int(first[place % n_folds]) for place in range(len(dealt))]})
    return folds.sort_values("patient_id", ignore_index=True)


def inner_split(
    folds: pd.DataFrame, severity: Mapping[str, Hashable], outer_fold: int, *, share: float = 0.2, seed: int = 0
) -> pd.DataFrame:
    """Part of every patient when one fold is tested: ``train``, ``inner`` (chooses the checkpoint) or ``outer``.

    ``folds`` are those of `patient_folds` of the same ``severity``; the result has their ``patient_id``, and ``part``.
    ``share`` (0-1) of the training patients go to the inner part, every severity alike; at least one. Raises
    `InputError` if fewer than two patients are left to train.
    """
    is_outer = folds.fold == outer_fold
    training = {patient: severity[patient] for patient in folds.patient_id[~is_outer]}
    if len(training) < 2:
        problem = f"{len(training)} patients are left to train when fold {outer_fold} is tested"
        raise InputError(problem, field="folds", remedy="Use more patients or fewer folds")
    dealt = _shuffled_by_label(training, np.random.default_rng([seed, 13, outer_fold]))
    count = min(max(1, round(share * len(dealt))), len(dealt) - 1)
    # evenly spaced places of a list ordered by severity take every severity alike
    places = ((np.arange(count) + 0.5) * len(dealt) / count).astype(int)
    inner = folds.patient_id.isin([dealt[place] for place in places])
    part = np.where(is_outer, "outer", np.where(inner, "inner", "train"))
    return pd.DataFrame({"patient_id": folds.patient_id, "part": part})


def leaky_image_folds(n_images: int, n_folds: int, seed: int = 0) -> Int[np.ndarray, " n"]:
    """Fold of each image when images, not patients, are shuffled: the published leak, for the ``as_published`` arm.

    Frames of one run land in training and test alike; never use it for a result of its own.
    """
    return np.random.default_rng([seed, 14]).permutation(np.arange(n_images) % n_folds)


def _shuffled_by_label(labels: Mapping[str, Hashable], generator: np.random.Generator) -> Sequence[str]:
    """Patients ordered by label, shuffled within each; the mapping's order does not count."""
    ids = np.array(sorted(labels), dtype=object)
    names = np.array([str(labels[patient]) for patient in ids])
    return [str(patient) for label in np.unique(names) for patient in generator.permutation(ids[names == label])]


def fold_strata(cohort: Cohort) -> dict[str, int]:
    """What stratifies the patients' folds: their severity, one stratum where no lesion is known."""
    return patient_severity(cohort) if len(cohort.lesions) else dict.fromkeys(cohort.manifest.patient_id.unique(), 0)


class Split(NamedTuple):
    """One fold of a split: how it is drawn, which of how many, from which seed."""

    arm: Arm
    fold: int
    folds: int
    seed: int


def patient_parts(cohort: Cohort, patients: pd.Series, fold: int, folds: int, seed: int) -> pd.Series:
    """Part of each row by its patient when a fold is tested; studies of low quality are scored, never trained on."""
    strata = fold_strata(cohort)
    split = inner_split(patient_folds(strata, folds, seed), strata, fold, seed=seed).set_index("patient_id")["part"]
    parts = patients.map(split)
    return parts.mask(patients.isin(low_quality(cohort)) & parts.ne("outer"), "left out")


def split_images(cohort: Cohort, images: pd.DataFrame, split: Split) -> np.ndarray:
    """The part of each image in one fold: train, inner, outer or left out.

    ``clean``: patients are split; ``inner`` patients belong to the training fold and choose epoch and
    thresholds, and studies of low quality are scored, never trained on, as in classification.
    ``as_published``: images are split, and there is no inner part.
    Raises `LabelError` if a part that is needed has no image.
    """
    if split.arm == "as_published":
        is_outer = leaky_image_folds(len(images), split.folds, split.seed) == split.fold
        parts = np.where(is_outer, "outer", "train").astype(object)
    else:
        parts = patient_parts(cohort, images.patient_id, split.fold, split.folds, split.seed).to_numpy(dtype=object)
    for part in ("train", "outer") if split.arm == "as_published" else ("train", "inner", "outer"):
        if not (parts == part).any():
            problem = f"fold {split.fold + 1} of {split.folds} has no lesion frame in its {part} part"
            raise LabelError(problem, remedy="Use fewer folds, more patients or more frames a run")
    return parts
