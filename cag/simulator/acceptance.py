"""The simulator against its acceptance list (SIMULATOR section 6): which measurements, on what, in one table."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from cag.data.cohort import Cohort
from cag.settings import InputError
from cag.simulator import measures
from cag.simulator.cohort import open_cohort
from cag.simulator.measures import Pictures, row, table
from cag.simulator.phantom.cohort import CohortPlan, CohortSettings, plan_cohort
from cag.simulator.pretraining import PretrainingNetwork
from cag.simulator.reference_detector import ReferenceSettings, difficulty, real_frames, transfer

PARTS = ("speed", "determinism", "realism", "shortcuts", "real or simulated", "difficulty", "transfer")


@dataclass(frozen=True)
class Bench:
    """What the measurements work on; everything is made when it is first needed.

    Attributes
    ----------
    patients : int
        One frame of each, in full contrast.
    seed : int
        Of a cohort that no study uses.
    real : Cohort or None
        Real angiograms with boxes (ARCADE); without them the parts that compare with real frames directly are
        left out, and realism is measured against the stored percentiles.
    cache : Path
        Folder for the reference detector's rendered population.
    reference : ReferenceSettings
    """

    patients: int = 240
    seed: int = 900
    real: Cohort | None = None
    cache: Path = Path("results/simulator")
    reference: ReferenceSettings = field(default_factory=ReferenceSettings)

    @cached_property
    def plan(self) -> CohortPlan:
        """The patients."""
        return plan_cohort(CohortSettings(patients=self.patients, seed=self.seed))

    @cached_property
    def pictures(self) -> Pictures:
        """One frame of each patient."""
        return Pictures.of(self.plan)

    def measure(self, parts: Sequence[str] = PARTS) -> pd.DataFrame:
        """Every measurement of some parts of the list.

        Returns
        -------
        DataFrame
            ``part, measure, value, wanted, met``; ``met`` is 'yes', 'no', or 'reported' where nothing is asked.

        Raises
        ------
        InputError
            For a part that is not on the list.
        """
        for part in parts:
            if part not in PARTS:
                raise InputError(f"{part!r} is not measured here", field="part", remedy=f"Known: {', '.join(PARTS)}")
        work: dict[str, Callable[[], pd.DataFrame]] = {
            "speed": lambda: measures.speed(self.plan),
            "determinism": lambda: measures.determinism(self.plan),
            "realism": lambda: measures.realism(self.pictures.frames),
            "shortcuts": lambda: measures.shortcuts(self.plan, self.pictures),
            "real or simulated": self._real_or_simulated,
            "difficulty": self._difficulty,
            "transfer": self._transfer,
        }
        return pd.concat([work[part]() for part in parts], ignore_index=True)

    def _real_or_simulated(self) -> pd.DataFrame:
        if self.real is None:
            return table([])
        runs = self.real.manifest["run_id"].iloc[:: max(len(self.real.manifest) // len(self.pictures.frames), 1)]
        real = [self.real.frames(str(run), [0])[0].numpy() for run in runs[: len(self.pictures.frames)]]
        same = [frame for frame in real if frame.shape == self.pictures.frames.shape[1:]]
        return measures.real_or_simulated(np.stack(same), self.pictures.frames)

    @cached_property
    def _reference(self) -> tuple[PretrainingNetwork, dict[str, float]]:
        return difficulty(self.reference, self.cache)

    def _difficulty(self) -> pd.DataFrame:
        found = self._reference[1]
        recall, auc = found["recall_at_1"], found["patient_auc"]
        rows = [
            row(
                "difficulty",
                "reference detector, recall at 1 false peak a frame",
                recall,
                "0.6 to 0.8",
                0.6 <= recall <= 0.8,
            ),
            row("difficulty", "reference detector, patient AUC", auc, "0.85 to 0.93", 0.85 <= auc <= 0.93),
        ]
        rising = [found[f"recall, {band} %"] for band in ("25-50", "50-70", "70-99", "100")]
        rises = all(a <= b for a, b in itertools.pairwise(rising))
        words = "reference detector, recall at 25-50 %, the lowest of four bands that must rise"
        rows.append(row("difficulty", words, rising[0], "rises to 100 %", rises))
        others = {f"recall, {band} %": f"recall at {band} %" for band in ("50-70", "70-99", "100")} | {
            "lesion_hit_rate": "strongest cell on a lesion",
            "frame_auc": "frame AUC",
            "lumen_dice": "Dice of the lumen",
        }
        return table(
            rows + [row("difficulty", f"reference detector, {words}", found[key]) for key, words in others.items()]
        )

    def _transfer(self) -> pd.DataFrame:
        if self.real is None:
            return table([])
        size = self.reference.population.image_size
        train, held = (real_frames(self.real, part, size) for part in ("train", "val"))
        found = transfer(self._reference[0], train, held, self.reference, self.cache)
        alone = found["real, equal updates"].best_f1()
        wanted = {"zero-shot": 0.35, "fine-tuned": max(0.60, alone)}
        rows = []
        for name, hits in found.items():
            least, value = wanted.get(name), hits.best_f1()
            met = (f"at least {least:.2f}", value >= least) if least is not None else ("", None)
            rows.append(row("transfer", f"{name}, best F1 on real frames", value, *met))
            rows.append(row("transfer", f"{name}, recall at 1 false peak a frame", hits.recall_at(1.0)))
        return table(rows)


def real_angiograms() -> Cohort | None:
    """ARCADE's stenosis part below the folder that ``CAG_DATA`` names, if it is there."""
    folder = os.environ.get("CAG_DATA")
    place = Path(folder) / "arcade" if folder else None
    return open_cohort(place) if place is not None and place.is_dir() else None
