"""The transfer experiment's numbers, with intervals, and as a table that people read."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd

from cag.chapters.localization.tables import METRICS, interval
from cag.chapters.localization.transfer import WAYS, Transfer
from cag.metrics.intervals import bootstrap_many, paired_difference

WAY_NAMES = {
    "home": "this cohort, other folds",
    "applied": "the other cohort alone",
    "tuned": "the other cohort, then these frames",
    "prior": "place prior of these frames",
}
SHOWN = ("recall", "precision", "f1", "ap50", "recall_at_1fp")


def transfer_scores(transfer: Transfer, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Metrics of every cohort tested on and way to it, and their differences from the detector trained at home.

    Returns
    -------
    DataFrame
        ``tested_on, way, against, n_images, n_lesions, metric, value, low, high, n_groups, p_value, undefined``;
        ``against`` is empty for the metrics themselves, ``home`` for differences on the same resampled patients.
    """
    rows: list[dict[str, object]] = []
    for (name, way), side in transfer.sides.items():
        sizes = {"n_images": len(side.images), "n_lesions": len(side.truth)}
        label = {"tested_on": name, "way": way, "against": "", **sizes}
        rng = np.random.default_rng([seed, 68])
        found = bootstrap_many(side.metrics, side.patients, n=bootstrap, rng=rng)
        rows += [label | {"metric": metric} | asdict(value) for metric, value in found.items()]
        home = transfer.sides[name, "home"]
        if way != "home":
            rng = np.random.default_rng([seed, 69])
            pair = (side.metrics, side.patients, home.metrics, home.patients)
            differences = paired_difference(*pair, n=bootstrap, rng=rng)
            label = label | {"against": "home"}
            rows += [label | {"metric": metric} | asdict(value) for metric, value in differences.items()]
    columns = ["tested_on", "way", "against", "n_images", "n_lesions", "metric", "value", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "n_groups", "p_value", "undefined"])


def transfer_text(scores: pd.DataFrame) -> pd.DataFrame:
    """A row a detector: Tested on, Trained on, the metrics, and what is gained over the one trained at home."""
    heads = [METRICS[name][0] for name in SHOWN]
    columns = ["Tested on", "Trained on", *heads, "Average precision, minus the first row's"]
    rows = []
    for name in scores.tested_on.unique():
        for way in WAYS:
            own = scores[(scores.tested_on == name) & (scores.way == way)]
            values = own[own.against == ""].set_index("metric").loc[list(SHOWN)]
            cells = [interval(row, METRICS[str(row.Index)][1]) for row in values.itertuples()]
            minus = own[(own.against == "home") & (own.metric == "ap50")]
            rows.append([name, WAY_NAMES[way], *cells, interval(next(minus.itertuples()), 2) if len(minus) else "–"])
    return pd.DataFrame(rows, columns=columns)
