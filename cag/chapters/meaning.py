"""What the paper claims in a chapter and what this run's numbers mean: sentences that follow from the tables.

Each function gives ``claim`` and ``meaning`` for the page of one chapter. A difference is told only where its whole
95 % interval lies on one side of zero; where it holds zero the sentence says so.
"""

from __future__ import annotations

import pandas as pd

from cag.chapters.classification.tables import estimate
from cag.chapters.scorecard.scorecard import claims
from cag.metrics.intervals import Estimate, interval_text

Sentences = dict[str, str]


def told(difference: Estimate, more: str, less: str, unclear: str) -> str:
    """The sentence that a difference allows: ``more`` above zero, ``less`` below, ``unclear`` where it holds zero."""
    if pd.isna(difference.low) or difference.low <= 0 <= difference.high:
        return unclear
    return more if difference.value > 0 else less


def beside_published(own: Estimate, published: float, digits: int = 2) -> str:
    """Where a published number lies against this run's interval."""
    number = f"the published {published:.{digits}f}"
    if own.low <= published <= own.high:
        return f"{number} lies inside the interval"
    return f"{number} lies {'above' if published > own.high else 'below'} the interval"


def of_grading(levels: pd.DataFrame, image: dict[str, Estimate], disease_from: float = 25) -> Sentences:
    """Chapter 3.

    Parameters
    ----------
    levels : DataFrame
        See ``classification_arms.level_optimism``.
    image : mapping of artery to Estimate
        Area under the ROC curve of frames, leading system, clean arm.
    disease_from : float
        First cut-point; where it is not the paper's 25 %, the text says that another question is asked.
    """
    frames, arteries = (
        {artery: _published(source, f"{level}:{artery}", "auc") for artery in ("LCA", "RCA")}
        for source, level in (("Table 3", "image"), ("artery and patient", "artery"))
    )
    patient = _published("artery and patient", "patient", "auc")
    claim = (
        "Two categories with redundancy training reach an area under the ROC curve of "
        f"{frames['LCA']:.2f} and {frames['RCA']:.2f} for frames of the left and right coronary artery, of "
        f"{arteries['LCA']:.2f} and {arteries['RCA']:.2f} for arteries, and of {patient:.2f} for patients."
    )
    clean, published, apart = (
        estimate(levels, level="patient", metric=name) for name in ("clean", "as published", "difference")
    )
    meaning = (
        f"By the clean rules the area for patients is {interval_text(clean)}; {beside_published(clean, patient)}. "
        f"By the published rules the same networks score {interval_text(published)}; "
        f"{beside_published(published, patient)}. "
        + told(
            apart,
            f"The rules alone add {interval_text(apart)}.",
            f"The published rules take {interval_text(apart)} away.",
            f"How much the rules alone add cannot be told from so few patients: {interval_text(apart)}.",
        )
    )
    blind = [artery for artery, own in image.items() if own.low <= 0.5]
    if blind:
        meaning += (
            f" For frames of the {' and the '.join(blind)} the interval holds one half, so that this run does not "
            "show that the network has learned anything there."
        )
    if disease_from != 25:
        meaning = f"Here disease begins at {disease_from:g} %, another question than the paper's. {meaning}"
    return {"claim": claim, "meaning": meaning}


def of_categories(differences: pd.DataFrame, pooled: Estimate) -> Sentences:
    """Chapter 4, from ``classification_comparisons.system_differences`` and the pooled difference in area."""
    accuracy = {k: _published("Table 3", "image:LCA", "accuracy", f"{k}, redundancy") for k in ("2-CAT", "3-CAT")}
    area = {k: _published("Table 3", "image:RCA", "auc", f"{k}, redundancy") for k in ("2-CAT", "3-CAT")}
    claim = (
        f"Two categories give the higher accuracy ({accuracy['2-CAT']:.2f} against {accuracy['3-CAT']:.2f} for frames "
        f"of the left artery); the area under the curve of the right artery is higher with three "
        f"({area['3-CAT']:.2f} against {area['2-CAT']:.2f})."
    )
    meaning = told(
        pooled,
        f"In area the finer system does better here: {interval_text(pooled)}.",
        f"In area the finer system does worse here: {interval_text(pooled)}.",
        f"In area the two are not told apart here: {interval_text(pooled)}.",
    )
    for metric, words in (("sensitivity", "called diseased"), ("specificity", "called normal")):
        own = differences[differences["metric"].eq(metric)]
        above, below = int(own["low"].gt(0).sum()), int(own["high"].lt(0).sum())
        kind = "diseased frames are" if metric == "sensitivity" else "normal frames are"
        span = f"{own['value'].min():.2f} to {own['value'].max():.2f}"
        if above == len(own) or below == len(own):
            more = "More" if above else "Fewer"
            meaning += f" {more} {kind} {words} with the finer system, in every comparison ({span})."
        elif above or below:
            meaning += f" In {metric} the finer system differs in {above + below} of {len(own)} comparisons ({span})."
    return {"claim": claim, "meaning": meaning}


def of_redundancy(gain: Estimate, shares: pd.DataFrame, moved: Estimate) -> Sentences:
    """Chapter 5, from the pooled gain in area, ``redundancy.mass_summary`` and the paired move onto the lumen."""
    areas = [
        _published("Table 3", f"image:{artery}", "auc", f"2-CAT, {kind}")
        for artery in ("LCA", "RCA")
        for kind in ("no redundancy", "redundancy")
    ]
    claim = (
        "Redundancy training raises the area under the curve of two categories from {:.2f} to {:.2f} for the left and "
        "from {:.2f} to {:.2f} for the right artery, and moves the activation from the background to the vessels."
    ).format(*areas)
    lumen, area = (estimate(shares, training=name, metric="lumen") for name in ("with", "share of the area"))
    return {
        "claim": claim,
        "meaning": told(
            gain,
            f"Here it raises the area, by {interval_text(gain)}.",
            f"Here it lowers the area, by {interval_text(gain)}.",
            f"Here no gain in area is shown: {interval_text(gain)}.",
        )
        + " "
        + told(
            moved,
            f"Activation moves onto the lumen, by {interval_text(moved, 3)} of its mass.",
            f"Activation moves off the lumen, by {interval_text(moved, 3)} of its mass.",
            f"That activation moves onto the lumen is not shown: {interval_text(moved, 3)} of its mass.",
        )
        + f" With redundancy training {interval_text(lumen, 3)} of the mass lies on the lumen, which is "
        f"{area.value:.3f} of the picture: that is what a map without preference would put there.",
    }


def _published(source: str, subset: str, metric: str, condition: str = "2-CAT, redundancy") -> float:
    """The one number of the paper that meets the conditions."""
    table = claims()
    own = table[table["source"].str.contains(source, regex=False) & table["metric"].eq(metric)]
    if subset:
        own = own[own["subset"].eq(subset) & own["condition"].eq(condition)]
    (value,) = own["value"]
    return float(value)
