"""Who is in a cohort (the paper's Table 2), frames that show it, and the measurements of the simulator."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from pydantic import Field

from cag.anatomy import VIEWS
from cag.data.cohort import Cohort
from cag.networks.weights import WEIGHTS_FOLDER
from cag.settings import ROOT, StudySettings
from cag.simulator.acceptance import row as measured
from cag.simulator.tables import simulator_digest

#: Where ``python -m benchmarks.simulator --out`` keeps the measurements that the book shows.
STORED = ROOT / "results" / "published" / "simulator_acceptance.csv"
#: Rows of Table 2: column of the patients, the value that counts (none where the column says yes or no), name.
_SHARES = (
    ("sex", "M", "male"),
    *(("race", race, race) for race in ("white", "black", "asian", "other")),
    ("hypertension", None, "hypertension"),
    ("diabetes", None, "diabetes"),
    ("dyslipidemia", None, "dyslipidemia"),
    ("smoker", None, "current smoker"),
    ("family_history", None, "family history of CAD"),
    ("previous_cva", None, "previous cerebrovascular accident"),
)


class CohortPageSettings(StudySettings):
    """What notebook 01 is told: the cohort, which frames to show, and how many frames a run are drawn."""

    frames_per_run: int = Field(5, ge=1, le=50)


def characteristics(patients: pd.DataFrame) -> pd.DataFrame:
    """Age, sex, origin, body-mass index and risk factors (Table 2) as ``characteristic, value, known`` (patients)."""
    rows = []
    for column, name in (("age", "age, median (IQR), years"), ("bmi", "body-mass index, median (IQR), kg/m²")):
        low, middle, high = patients.get(column, pd.Series(dtype=float)).quantile([0.25, 0.5, 0.75])
        rows.append((column, name, f"{middle:.0f} ({low:.0f}-{high:.0f})"))
    for column, value, name in _SHARES:
        known = patients.get(column, pd.Series(dtype=object)).dropna()
        has = known.astype(bool) if value is None else known.eq(value)
        rows.append((column, name, f"{has.sum()} ({100 * has.mean():.0f} %)"))
    table = pd.DataFrame(rows, columns=["column", "characteristic", "value"])
    table["known"] = table["column"].map(patients.count()).fillna(0).astype(int)
    return table[table["known"] > 0].drop(columns="column").reset_index(drop=True)


def view_examples(cohort: Cohort, seed: int) -> dict[str, tuple[UInt8[np.ndarray, "h w"], np.ndarray]]:
    """Standard view -> a frame in contrast of a run with a visible lesion, where there is one, and its boxes [k, 4]."""
    seen = cohort.boxes[cohort.boxes["percent_stenosis"] >= 25]
    runs = _filled(cohort, seed)
    preferred = runs.assign(bare=~runs["run_id"].isin(seen["run_id"])).sort_values("bare", kind="stable")
    found = {}
    for run in preferred.drop_duplicates("view").itertuples():
        own = seen[seen["run_id"] == run.run_id]
        middle = int(run.middle)  # type: ignore[arg-type]
        frame = int(own["frame"].iloc[(own["frame"] - middle).abs().argmin()]) if len(own) else middle
        boxes = own.loc[own["frame"] == frame, ["x1", "y1", "x2", "y2"]].to_numpy(float)
        found[run.view] = (cohort.frames(str(run.run_id), [frame])[0].numpy(), boxes)
    return {view: found[view] for view in VIEWS if view in found}


def contrast_frames(cohort: Cohort, count: int, seed: int) -> list[UInt8[np.ndarray, "h w"]]:
    """One frame in full contrast of ``count`` runs at most, drawn over the patients in turn."""
    runs = _filled(cohort, seed)
    turn = runs.groupby("patient_id").cumcount().sort_values(kind="stable").index[:count]
    return [cohort.frames(str(runs["run_id"][row]), [int(runs["middle"][row])])[0].numpy() for row in turn]


def _filled(cohort: Cohort, seed: int) -> pd.DataFrame:
    """Runs with a contrast interval in drawn order, and the ``middle`` frame of it."""
    runs = cohort.manifest.dropna(subset=["contrast_begin", "contrast_end"])
    runs = runs.sample(frac=1, random_state=np.random.default_rng(seed))
    return runs.assign(middle=(runs["contrast_begin"] + runs["contrast_end"]) // 2)


def stored_acceptance() -> tuple[pd.DataFrame, bool]:
    """``part, measure, value, wanted, met`` of the simulator's acceptance list, and whether it is as it was then."""
    table = pd.read_csv(STORED, keep_default_na=False)
    same = set(table.pop("simulator")) == {simulator_digest()}
    xa = pretrained_difficulty(json.loads((WEIGHTS_FOLDER / "xa.json").read_text()))
    return pd.concat([table, xa[list(table)]], ignore_index=True), same


def pretrained_difficulty(record: dict[str, Any]) -> pd.DataFrame:
    """How hard the simulated frames are for the network of the ``xa`` weights, which is not the reference detector."""
    recall, auc = dict(record["recall_by_severity"]), record["quality"]["patient_auc"]
    every = recall.pop("all")
    asked = ("xa network, recall at 1 false peak a frame", every, "0.6 to 0.8", 0.6 <= every <= 0.8)
    rows = [measured("difficulty", *asked)]
    rows += [measured("difficulty", "xa network, patient AUC", auc, "0.83 to 0.89", 0.83 <= auc <= 0.89)]
    rows += [measured("difficulty", f"xa network, recall at {band} %", value) for band, value in recall.items()]
    return pd.DataFrame(rows)
