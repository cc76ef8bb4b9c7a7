"""Which patients train and which are tested: patients are split, never frames."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int

from cag.settings import InputError


class LeakError(InputError):
    """A patient stands on both sides of a split."""


def patient_folds(severity: Mapping[str, Hashable], n_folds: int = 4, seed: int = 0) -> pd.DataFrame:
    """Deal patients into folds, every severity evenly.

    Patients of each severity are shuffled and dealt one after another over the folds, so that fold
    sizes, and the number of patients of each severity in them, differ by at most one.

    Parameters
    ----------
    severity : mapping of patient_id to severity category (any sortable label)
    n_folds : int, >= 2
    seed : int
        With the patients' ids and severities it decides the folds; their order does not.

    Returns
    -------
    DataFrame
        ``patient_id`` (sorted) and ``fold`` (0 to ``n_folds - 1``).

    Raises
    ------
    InputError
        If there are fewer patients than folds.
    """
    if not 2 <= n_folds <= len(severity):
        problem = f"{n_folds} folds of {len(severity)} patients"
        raise InputError(problem, field="n_folds", remedy="Use at least 2 folds, and no more than patients")
    dealt = _shuffled_by_label(severity, np.random.default_rng([seed, 11]))
    first = np.random.default_rng([seed, 12]).permutation(n_folds)
    fold = {patient: int(first[place % n_folds]) for place, patient in enumerate(dealt)}
    ids = sorted(fold)
    return pd.DataFrame({"patient_id": ids, "fold": [fold[patient] for patient in ids]})


def inner_split(
    folds: pd.DataFrame, severity: Mapping[str, Hashable], outer_fold: int, *, share: float = 0.2, seed: int = 0
) -> pd.DataFrame:
    """Part of every patient when one fold is tested: ``train``, ``inner`` (chooses the checkpoint) or ``outer``.

    Parameters
    ----------
    folds : DataFrame
        From `patient_folds`.
    severity : mapping of patient_id to severity category
    outer_fold : int
    share : float, 0-1
        Of the training patients that go to the inner part, every severity alike; at least one.

    Returns
    -------
    DataFrame
        ``patient_id`` and ``part``, in the order of ``folds``.

    Raises
    ------
    InputError
        If fewer than two patients are left to train.
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
    inner = {dealt[place] for place in places}
    part = np.where(is_outer, "outer", np.where(folds.patient_id.isin(inner), "inner", "train"))
    result = pd.DataFrame({"patient_id": folds.patient_id, "part": part})
    check_disjoint(**{str(name): group.patient_id for name, group in result.groupby("part")})
    return result


def leaky_image_folds(n_images: int, n_folds: int, seed: int = 0) -> Int[np.ndarray, " n"]:
    """Fold of each image when images, not patients, are shuffled: the published leak, for the ``as_published`` arm.

    Frames of one run land in training and test alike; never use it for a result of its own.
    """
    return np.random.default_rng([seed, 14]).permutation(np.arange(n_images) % n_folds)


def check_disjoint(**parts: Iterable[str]) -> None:
    """Refuse parts that share a patient.

    Parameters
    ----------
    **parts : iterables of patient_id, by the name of the part

    Raises
    ------
    LeakError
        Naming the parts and how many patients they share.
    """
    seen: dict[str, str] = {}
    for name, patients in parts.items():
        ids = set(patients)
        shared = sorted(ids & set(seen))
        if shared:
            problem = f"{len(shared)} patients are in {seen[shared[0]]} and in {name}, such as {shared[0]!r}"
            raise LeakError(problem, field="split", remedy="Split patients, not frames")
        seen |= dict.fromkeys(ids, name)


def _shuffled_by_label(labels: Mapping[str, Hashable], generator: np.random.Generator) -> Sequence[str]:
    """Patients ordered by label, shuffled within each; the mapping's order does not count."""
    ids = np.array(sorted(labels), dtype=object)
    names = np.array([str(labels[patient]) for patient in ids])
    return [str(patient) for label in np.unique(names) for patient in generator.permutation(ids[names == label])]
