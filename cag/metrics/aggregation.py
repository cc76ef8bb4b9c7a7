"""From images to arteries to patients."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from cag.settings import InputError

How = Literal["max", "mean", "noisy_or"]
HOWS: tuple[How, ...] = ("max", "mean", "noisy_or")


def aggregate(
    images: pd.DataFrame, how: How = "max", *, level: Literal["artery", "patient"] = "artery"
) -> pd.DataFrame:
    """Combine image scores to arteries, and artery scores to patients, by the same rule at both steps.

    ``images`` has ``patient_id, artery, score`` (0 to 1) and ``target`` (category, 0 is normal), the result
    ``patient_id`` (and ``artery``), ``score, target, n_images``, sorted by its ids. ``max`` is the paper's,
    ``noisy_or`` the chance that at least one is diseased if they were independent, 1 - prod(1 - score). The target is
    the worst of the parts. Raises `InputError` for a score that is missing or outside 0 to 1.
    """
    wrong = ~images["score"].between(0, 1)
    if wrong.any():
        problem = f"{wrong.sum()} scores lie outside 0 to 1, first {images['score'][wrong].iloc[0]}"
        raise InputError(problem, field="score")
    parts = images.assign(n_images=1)
    for keys in (["patient_id", "artery"], ["patient_id"])[: 1 if level == "artery" else 2]:
        groups = parts.assign(healthy=1 - parts["score"]).groupby(keys, observed=True)
        score = 1 - groups["healthy"].prod() if how == "noisy_or" else groups["score"].agg(how)
        whole = {"score": score, "target": groups["target"].max(), "n_images": groups["n_images"].sum()}
        parts = pd.DataFrame(whole).reset_index()
    return parts
