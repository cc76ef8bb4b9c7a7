"""The simulator against its acceptance list: realism, shortcuts and difficulty.

What is asked, and why, is told in the book (book/scrutiny/data_card).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8
from sklearn.metrics import roc_auc_score

from cag.data.cohort import Cohort
from cag.data.frames import shrink
from cag.networks.training import FitSettings
from cag.settings import InputError
from cag.simulator.cohort import open_cohort
from cag.simulator.phantom.cohort import CohortPlan, CohortSettings, plan_cohort
from cag.simulator.pretraining import COMPACT, PretrainingResult, PretrainingSettings, pretrain
from cag.simulator.probes import (
    FRAME_SIZE,
    PROBE_FIT,
    Pictures,
    auc_within_views,
    global_features,
    linear_probe,
    network_probe,
    run_covariates,
    vessel_patches,
)
from cag.simulator.realism import image_statistics

#: Percentiles of 195 real frames of ARCADE (Popov et al. 2024), measured by the same functions.
REAL = Path(__file__).with_name("arcade_image_statistics.csv")

MOST_SHORTCUT_AUC = 0.55
#: Largest share of lesions in one of sixteen equal parts of the field.
MOST_IN_ONE_PART = 0.25
PARTS = ("realism", "shortcuts", "real or simulated", "difficulty")


def row(part: str, measure: str, value: float, wanted: str = "", met: bool | None = None) -> dict[str, object]:
    """One measurement; without ``met`` nothing is asked of it."""
    verdict = "reported" if met is None else "yes" if met else "no"
    return {"part": part, "measure": measure, "value": value, "wanted": wanted, "met": verdict}


def table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Measurements: ``part, measure, value, wanted, met`` ('yes', 'no', or 'reported')."""
    return pd.DataFrame(rows, columns=["part", "measure", "value", "wanted", "met"])


def realism(frames: UInt8[np.ndarray, "n h w"], seed: int = 0) -> pd.DataFrame:
    """Each statistic's simulated median against the real quartiles; ``wanted`` is that band."""
    rng = np.random.default_rng(seed)
    simulated = pd.DataFrame([image_statistics(frame, rng) for frame in frames])
    rows = []
    for real in pd.read_csv(REAL).to_dict("records"):
        name = str(real["statistic"])
        median = float(simulated[name].median())
        band = f"{real['p25']:g} to {real['p75']:g}"
        rows.append(row("realism", f"{name}, median", median, band, real["p25"] <= median <= real["p75"]))
        low, high = simulated[name].quantile([0.05, 0.95])
        overlap = max(0.0, min(high, real["p95"]) - max(low, real["p05"])) / (real["p95"] - real["p05"])
        rows.append(
            row("realism", f"{name}, share of the real spread covered", overlap, "at least 0.5", overlap >= 0.5)
        )
    return table(rows)


def shortcuts(plan: CohortPlan, pictures: Pictures) -> pd.DataFrame:
    """Whether anything but the lumen tells disease within a view, by the labels that the classifiers learn."""
    runs = pictures.runs
    erased = shrink(torch.from_numpy(pictures.erased), FRAME_SIZE)
    scores = network_probe(erased, runs["diseased"].to_numpy(copy=True), runs["patient_id"].tolist())
    aucs = {
        "linear probe on global features, AUC": linear_probe(global_features(pictures.frames), runs),
        "network on vessel-erased frames, AUC": auc_within_views(runs, scores),
        "everything decided about a run but disease, AUC": linear_probe(run_covariates(plan, runs), runs),
    }
    rows = [
        row("shortcuts", name, auc, f"at most {MOST_SHORTCUT_AUC}", auc <= MOST_SHORTCUT_AUC)
        for name, auc in aucs.items()
    ]
    part = (pictures.centers.clip(0, 0.999) * 4).astype(int)
    most = float(part.value_counts(normalize=True).max()) if len(part) else float("nan")
    wanted = f"at most {MOST_IN_ONE_PART}"
    return table([*rows, row("shortcuts", "lesions in one of 16 parts of the field, most", most, wanted, most <= 0.25)])


def real_or_simulated(
    real: UInt8[np.ndarray, "m h w"], simulated: UInt8[np.ndarray, "n h w"], settings: FitSettings = PROBE_FIT
) -> pd.DataFrame:
    """AUC with which a small network tells simulated frames, and patches around vessels, from real ones."""
    both = np.concatenate([real, simulated])
    label = np.arange(len(both)) >= len(real)
    whole = network_probe(shrink(torch.from_numpy(both), FRAME_SIZE), label, list(range(len(both))), settings=settings)
    patches, owners = vessel_patches(both)
    parts = network_probe(torch.from_numpy(patches), label[owners], owners.tolist(), settings=settings)
    aucs = {"whole frames": roc_auc_score(label, whole), "patches around vessels": roc_auc_score(label[owners], parts)}
    return table([row("real or simulated", f"small network, {name}, AUC", float(auc)) for name, auc in aucs.items()])


@dataclass(frozen=True)
class Bench:
    """What the measurements work on; everything is made when it is first needed."""

    patients: int = 150  # One frame of each of their runs, in full contrast
    seed: int = 900  # Of a cohort that no study uses
    #: Real angiograms with boxes (ARCADE); without them the parts that compare with real frames directly are left out,
    #: and realism is measured against the stored percentiles.
    real: Cohort | None = None
    cache: Path = Path("results/simulator")  # Folder for the reference detector's rendered population
    reference: PretrainingSettings = COMPACT  # Of the network by which difficulty is measured

    @cached_property
    def plan(self) -> CohortPlan:
        """The patients."""
        return plan_cohort(CohortSettings(patients=self.patients, seed=self.seed))

    @cached_property
    def pictures(self) -> Pictures:
        """One frame of each run."""
        return Pictures.of(self.plan)

    def measure(self, parts: Sequence[str] = PARTS) -> pd.DataFrame:
        """Every measurement of some parts of the list, as ``table`` has them; refuses a part that is not on it."""
        for part in parts:
            if part not in PARTS:
                raise InputError(f"{part!r} is not measured here", field="part", remedy=f"Known: {', '.join(PARTS)}")
        work: dict[str, Callable[[], pd.DataFrame]] = {
            "realism": lambda: realism(self.pictures.frames),
            "shortcuts": lambda: shortcuts(self.plan, self.pictures),
            "real or simulated": self._real_or_simulated,
            "difficulty": self._difficulty,
        }
        return pd.concat([work[part]() for part in parts], ignore_index=True)

    def _real_or_simulated(self) -> pd.DataFrame:
        if self.real is None:
            return table([])
        runs = self.real.manifest["run_id"].iloc[:: max(len(self.real.manifest) // len(self.pictures.frames), 1)]
        real = [self.real.frames(str(run), [0])[0].numpy() for run in runs[: len(self.pictures.frames)]]
        same = [frame for frame in real if frame.shape == self.pictures.frames.shape[1:]]
        return real_or_simulated(np.stack(same), self.pictures.frames)

    @cached_property
    def _reference(self) -> PretrainingResult:
        return pretrain(self.reference, self.cache, self.cache)

    def _difficulty(self) -> pd.DataFrame:
        record = self._reference.record
        found, recall = record["quality"], dict(record["recall_by_severity"])
        area, every, cuts = found["patient_auc"], recall.pop("all"), ("", "_50", "_70")
        wanted = (("recall at 1 false peak a frame", every, 0.6, 0.8), ("patient AUC", area, 0.83, 0.89))
        rows = [
            row("difficulty", f"reference network, {words}", value, f"{low} to {high}", low <= value <= high)
            for words, value, low, high in wanted
        ]
        for words, values in (
            ("recall at 25-50 %, the lowest of four bands", list(recall.values())),
            ("artery AUC at 25 %, the lowest of three cut-points", [found[f"artery_auc{at}"] for at in cuts]),
        ):
            rises = all(a <= b for a, b in itertools.pairwise(values))
            rows.append(row("difficulty", f"reference network, {words}", values[0], "rises", rises))
        others = {f"recall at {band} %": value for band, value in recall.items() if band != "25-50"} | {
            name.replace("_", " "): value for name, value in found.items() if name not in ("patient_auc", "artery_auc")
        }
        return table(rows + [row("difficulty", f"reference network, {name}", value) for name, value in others.items()])


def real_angiograms() -> Cohort | None:
    """ARCADE's stenosis part below the folder that ``CAG_DATA`` names, if it is there."""
    folder = os.environ.get("CAG_DATA")
    place = Path(folder) / "arcade" if folder else None
    return open_cohort(place) if place is not None and place.is_dir() else None
