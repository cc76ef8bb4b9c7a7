"""What the paper says in words, as differences of its own numbers, and the same differences in this run, paired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.chapters.classification.scores import labeled_frames, system
from cag.chapters.frames.scores import method_runs
from cag.chapters.localization.scores import Scored, scoring_rule
from cag.chapters.store import Store
from cag.metrics.classification import of_classification
from cag.metrics.frame_selection import of_frame_selection
from cag.metrics.intervals import Estimate, Metrics, paired_difference

#: Resamples of patients behind each difference.
RESAMPLES = 1000
Claim = Mapping[str, str]


@dataclass(frozen=True)
class Direction:
    """A statement of the paper: ``first`` is better than ``second``, each one of its own numbers."""

    statement: str
    first: Claim
    second: Claim
    higher_is_better: bool = True


def _system(artery: str, condition: str, metric: str) -> Claim:
    return {"source": "Table 3", "subset": f"image:{artery}", "condition": condition, "metric": metric}


def _boxes(artery: str, condition: str, metric: str) -> Claim:
    return {"source": "Table 4", "subset": artery, "condition": condition, "metric": metric}


def _border(metric: str) -> Claim:
    return {"source": "Results: frame selection", "metric": metric}


#: What redundancy training raises in the paper's own Table 3: measure, its name, categories, artery. The others fall
#: there, so that they are no statement of the paper.
_RAISED = (
    *(("auc", "AUC", k, artery) for artery in ("LCA", "RCA") for k in ("2-CAT", "3-CAT")),
    *(("f1_weighted", "weighted F1", "2-CAT", artery) for artery in ("LCA", "RCA")),
    ("f1_weighted", "weighted F1", "3-CAT", "LCA"),
    *(("kappa", "kappa", "2-CAT", artery) for artery in ("LCA", "RCA")),
    ("accuracy", "accuracy", "2-CAT", "LCA"),
)
#: The statements of the paper that compare two of its own numbers, each once.
DIRECTIONS: tuple[Direction, ...] = (
    *(
        Direction(
            f"Redundancy training raises the {words} of {k} for the {artery}",
            _system(artery, f"{k}, redundancy", metric),
            _system(artery, f"{k}, no redundancy", metric),
        )
        for metric, words, k, artery in _RAISED
    ),
    *(
        Direction(
            f"Two categories give a higher accuracy than three for the {artery}, with redundancy training",
            _system(artery, "2-CAT, redundancy", "accuracy"),
            _system(artery, "3-CAT, redundancy", "accuracy"),
        )
        for artery in ("LCA", "RCA")
    ),
    Direction(
        "The RCA is graded better than the LCA (AUC of 2-CAT, with redundancy training)",
        _system("RCA", "2-CAT, redundancy", "auc"),
        _system("LCA", "2-CAT, redundancy", "auc"),
    ),
    *(
        Direction(
            f"The FPN finds more lesions than the CAM in the {artery} (Sens_s)",
            _boxes(artery, "FPN, IoU>0.5", "sens_s"),
            _boxes(artery, "CAM, IoU>0.2", "sens_s"),
        )
        for artery in ("LCA", "RCA")
    ),
    *(
        Direction(
            f"The FPN is nearer to the lesion than the CAM in the {artery}",
            _boxes(artery, "FPN", "mse"),
            _boxes(artery, "CAM", "mse"),
            higher_is_better=False,
        )
        for artery in ("LCA", "RCA")
    ),
    Direction(
        "The beginning of contrast is found more exactly than its end",
        _border("mean_error_begin"),
        _border("mean_error_end"),
        higher_is_better=False,
    ),
)


@dataclass(frozen=True)
class _Side:
    """One number of a comparison, under any weighting of its rows, and the patients of these."""

    many: Metrics
    patients: np.ndarray
    metric: str

    def named(self, weights: Float[np.ndarray, "b n"]) -> dict[str, Float[np.ndarray, " b"]]:
        return {"difference": self.many(weights)[self.metric]}


def paired_directions(store: Store, *, bootstrap: int = RESAMPLES, seed: int = 0) -> dict[str, Estimate]:
    """Each statement's difference, first minus second, on the same resampled patients (as-published arm).

    Returns
    -------
    dict of statement to Estimate
        Without the statements whose predictions this run has not stored.
    """
    sides = {"Table 3": _classified(store), "Table 4": _localized(store), "Results: frame selection": _selected(store)}
    found = {}
    for direction in DIRECTIONS:
        side = sides[direction.first["source"]]
        first, second = (side(claim) if side is not None else None for claim in (direction.first, direction.second))
        if first is None or second is None:
            continue
        rng = np.random.default_rng(seed)
        apart = paired_difference(first.named, first.patients, second.named, second.patients, n=bootstrap, rng=rng)
        found[direction.statement] = apart["difference"]
    return found


_Find = Callable[[Claim], _Side | None]


def _table(store: Store, name: str) -> pd.DataFrame | None:
    return pd.read_parquet(store.table(name)) if store.table(name).exists() else None


def _classified(store: Store) -> _Find | None:
    predictions = _table(store, "classification")
    if predictions is None:
        return None
    frames = labeled_frames(predictions)

    def side(claim: Claim) -> _Side | None:
        own = frames[frames["artery"].eq(claim["subset"].split(":")[1])]
        rows = system(own, int(claim["condition"][0]), "no redundancy" not in claim["condition"], "as_published")
        if rows.empty:
            return None
        measured = of_classification(rows, "as_published")
        return _Side(measured.metrics, measured.groups, claim["metric"])

    return side


def _localized(store: Store) -> _Find | None:
    images, boxes, truth = (_table(store, f"localization_{name}") for name in ("images", "detections", "truth"))
    if images is None or boxes is None or truth is None:
        return None

    def side(claim: Claim) -> _Side | None:
        method = claim["condition"].split(",")[0].lower()
        own, found = (
            table[table["arm"].eq("as_published") & table["method"].eq(method)].reset_index(drop=True)
            for table in (images, boxes)
        )
        # Published rules have their own overlaps and sizes: the run's settings play no part.
        scored = Scored(own, found, truth, scoring_rule("as_published", method, 0.5, 50.0)).of_artery(claim["subset"])
        return None if scored.images.empty else _Side(scored.metrics, scored.patients, claim["metric"])

    return side


def _selected(store: Store) -> _Find | None:
    runs = _table(store, "frame_selection_runs")
    if runs is None:
        return None
    names = {"mean_error_begin": "begin_error", "mean_error_end": "end_error"}

    def side(claim: Claim) -> _Side | None:
        measured = of_frame_selection(method_runs(runs, "as_published", "cnn_lstm"))
        return _Side(measured.metrics, measured.groups, names[claim["metric"]])

    return side
