"""What the book shows of the simulator's acceptance: a cohort beside real frames, and the stored measurements."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from cag.data.cohort import Cohort
from cag.metrics.realism import image_statistics
from cag.networks.weights import WEIGHTS_FOLDER
from cag.settings import ROOT
from cag.simulator.acceptance import REAL, real_angiograms
from cag.simulator.acceptance import row as measured
from cag.simulator.tables import simulator_digest

#: Where ``python -m benchmarks.simulator --out`` keeps the measurements that the book shows.
STORED = ROOT / "results" / "published" / "simulator_acceptance.csv"
#: What the network of the ``xa`` weights reached on simulated patients it had not seen.
XA_RECORD = WEIGHTS_FOLDER / "xa.json"


@dataclass(frozen=True)
class ContactSheet:
    """Real and simulated frames, and a sentence that says which are there."""

    real: list[UInt8[np.ndarray, "h w"]]
    simulated: list[UInt8[np.ndarray, "h w"]]
    sentence: str


def contrast_frames(cohort: Cohort, count: int, seed: int) -> list[UInt8[np.ndarray, "h w"]]:
    """One frame in full contrast of ``count`` runs at most, drawn over the patients in turn."""
    rng = np.random.default_rng(seed)
    runs = cohort.manifest.dropna(subset=["contrast_begin", "contrast_end"]).sample(frac=1, random_state=rng)
    turn = runs.groupby("patient_id").cumcount().sort_values(kind="stable").index[:count]
    middles = (runs["contrast_begin"] + runs["contrast_end"]) // 2
    return [cohort.frames(str(runs["run_id"][row]), [int(middles[row])])[0].numpy() for row in turn]


def contact_sheet(simulated: list[UInt8[np.ndarray, "h w"]], count: int, seed: int) -> ContactSheet:
    """Some simulated frames beside as many real ones, where ``CAG_DATA`` names the folder that has them."""
    found = real_angiograms()
    if found is None:
        sentence = "Real frames are not shown: the public set ARCADE was not at hand when this page was made."
        return ContactSheet([], simulated[:count], sentence)
    chosen = found.manifest["run_id"].sample(count, random_state=np.random.default_rng(seed))
    real = [found.frames(str(run), [0])[0].numpy() for run in chosen]
    return ContactSheet(real, simulated[:count], "Real frames are from ARCADE (Popov et al. 2024, CC BY 4.0).")


def realism_table(frames: list[UInt8[np.ndarray, "h w"]], seed: int) -> pd.DataFrame:
    """Each image statistic of these frames beside the stored percentiles of real ones.

    Returns
    -------
    DataFrame
        ``statistic``; ``real_05 ... real_95`` and ``own_05 ... own_95`` at 5, 25, 50, 75 and 95 %; ``inside``:
        whether the own median lies in the real 25-75 % band.
    """
    rng = np.random.default_rng(seed)
    own = pd.DataFrame([image_statistics(frame, rng) for frame in frames])
    real = pd.read_csv(REAL).set_index("statistic")
    rows = []
    for name, known in real.iterrows():
        spread = own[str(name)].quantile([0.05, 0.25, 0.5, 0.75, 0.95]).tolist()
        places = ("05", "25", "50", "75", "95")
        values = {f"real_{p}": float(known[f"p{p}"]) for p in places} | {
            f"own_{p}": value for p, value in zip(places, spread, strict=True)
        }
        rows.append({"statistic": name} | values | {"inside": known["p25"] <= spread[2] <= known["p75"]})
    return pd.DataFrame(rows)


def stored_acceptance() -> tuple[pd.DataFrame, dict[str, float | str]]:
    """The stored measurements of the acceptance list, and what the page says of them.

    Returns
    -------
    DataFrame
        ``part, measure, value, wanted, met``.
    dict
        ``accepted, asked`` (measurements that met what was asked), ``acceptance_version`` (a sentence),
        ``real_frames_auc, real_patches_auc`` (how well a small network tells simulated from real).
    """
    table = pd.read_csv(STORED, keep_default_na=False)
    table = pd.concat([table, pretrained_difficulty(json.loads(XA_RECORD.read_text()))], ignore_index=True)
    asked = table[table["met"] != "reported"]
    same = set(table["simulator"].dropna()) == {simulator_digest()}
    version = "this version of the simulator" if same else "an earlier version of the simulator"
    numbers: dict[str, float | str] = {
        "accepted": int(asked["met"].eq("yes").sum()),
        "asked": len(asked),
        "acceptance_version": f"They were taken on {version}.",
        **{f"real_{what}_auc": _told_from_real(table, what) for what in ("frames", "patches")},
    }
    return table.drop(columns="simulator"), numbers


def _told_from_real(table: pd.DataFrame, what: str) -> float:
    (value,) = table.loc[table["part"].eq("real or simulated") & table["measure"].str.contains(what), "value"]
    return float(value)


def pretrained_difficulty(record: dict[str, Any]) -> pd.DataFrame:
    """How hard the simulated frames are for the network of the ``xa`` weights, beside the reference detector.

    It is another network, trained longer on more frames: it does not answer for the reference detector.
    """
    recall, auc = record["recall_by_severity"], record["quality"]["patient_auc"]
    rows = [
        measured("difficulty", "xa network, recall at 1 false peak a frame", recall["all"], "0.6 to 0.8",
                 0.6 <= recall["all"] <= 0.8),
        measured("difficulty", "xa network, patient AUC", auc, "0.85 to 0.93", 0.85 <= auc <= 0.93),
    ]  # fmt: skip
    bands = [name for name in recall if name != "all"]
    return pd.DataFrame([*rows, *(measured("difficulty", f"xa network, recall at {b} %", recall[b]) for b in bands)])
