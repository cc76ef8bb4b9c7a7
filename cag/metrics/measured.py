"""What is measured of a prediction table: its metrics under any weighting of its rows, and whose rows they are."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from cag.metrics import classification, frame_selection
from cag.metrics.intervals import Metrics
from cag.settings import InputError


class Measured(NamedTuple):
    """Metrics of rows of predictions, ``weights [b, n] -> {name: [b]}``, and the patient of each row."""

    metrics: Metrics
    groups: Shaped[np.ndarray, " n"]


def of_classification(predictions: pd.DataFrame, rule: classification.Rule = "clean") -> Measured:
    """Image-level metrics of rows of the classification table, all of one number of categories.

    Parameters
    ----------
    predictions : DataFrame
        ``patient_id, n_categories, target, p_0 .. p_{k-1}`` and, where trained so, ``p_redundant``.

    Raises
    ------
    InputError
        Mixed numbers of categories, or outputs that are no probabilities.
    """
    target = predictions["target"].to_numpy(dtype=int)
    many = partial(classification.metrics, target, outputs_of(predictions, rule))
    return Measured(many, predictions["patient_id"].to_numpy())


def outputs_of(predictions: pd.DataFrame, rule: classification.Rule = "clean") -> classification.Scored:
    """Scores and predicted categories of rows of the classification table; see ``classification.scored``."""
    categories = predictions["n_categories"].unique()
    if len(categories) != 1:
        problem = f"{len(categories)} numbers of categories in one table of metrics"
        raise InputError(problem, field="n_categories", remedy="Give rows of one, such as with by=['n_categories']")
    columns = [f"p_{index}" for index in range(int(categories[0]))]
    redundant = predictions["p_redundant"].to_numpy(dtype=float) if "p_redundant" in predictions else None
    return classification.scored(predictions[columns].to_numpy(dtype=float), redundant, rule)


def of_scores(table: pd.DataFrame, threshold: float | Float[np.ndarray, " n"] = 0.5) -> Measured:
    """The same metrics for scores of any stenosis alone, such as of ``aggregation.aggregate``.

    Parameters
    ----------
    table : DataFrame
        ``patient_id, score`` (0 to 1), ``target`` (1 or more is stenosis).
    threshold : float or array [n]
        Called stenosis from this score on; one for all rows or one for each.
    """
    score, target = table["score"].to_numpy(dtype=float), (table["target"].to_numpy() > 0).astype(int)
    outputs = classification.Scored(np.column_stack([1 - score, score]), score, (score >= threshold).astype(int))
    return Measured(partial(classification.metrics, target, outputs), table["patient_id"].to_numpy())


def of_frame_selection(runs: pd.DataFrame) -> Measured:
    """Frame selection metrics of rows of ``frame_selection_runs``; see ``frame_selection``."""
    many = partial(frame_selection.metrics, frame_selection.run_errors(runs))
    return Measured(many, runs["patient_id"].to_numpy())
