"""Every published number beside this study's own, with a verdict, and what the paper says of its systems in words.

A number is known by its place in the paper, what it was measured on, the system and the measure; the tables of a
profile are brought to the same keys. Values are those of the as-published arm.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from cag.chapters.classification.scores import labeled_frames, system
from cag.chapters.localization.scores import Scored, scoring_rule
from cag.chapters.store import Store
from cag.metrics.classification import of_classification
from cag.metrics.frame_selection import of_frame_selection
from cag.metrics.intervals import Estimate, Metrics, paired_difference, wilson

#: Source, subset, condition and metric of a published number.
Key = tuple[str, str, str, str]
KEYS = ["source", "subset", "condition", "metric"]

CLAIMS, STATEMENTS = (Path(__file__).with_name(f"paper_{name}.csv") for name in ("claims", "statements"))
FRAMES, IMAGES, BOXES = "Results: frame selection", "Table 3", "Table 4"
LEVELS = "Results: artery and patient level"

#: Verdicts from the strongest to the weakest, then where there is none.
VERDICTS = ("reproduced", "compatible", "not reproduced", "not tested", "not comparable")
#: How far from the published number the whole interval may reach: shares; frames; pixels of a 512 px frame.
SHARE = 0.05
MARGINS = {"kappa": 0.10, "mean_error_begin": 1.0, "mean_error_end": 1.0, "mse": 10.0}

#: Measures that are better the lower they are.
LOWER = ("mean_error_begin", "mean_error_end", "error_rate_ge10", "mse")
#: Shares of patients or frames, which may be all or none.
_SHARES = ("sensitivity", "accuracy", "global_sensitivity")
#: The paper's measures of frame selection, and what they are called in this study's tables.
_FRAME_METRICS = {"mean_error_begin": "begin_error", "mean_error_end": "end_error"}
_FRAME_METRICS |= {"acceptance_rate_le3": "acceptance_rate", "error_rate_ge10": "error_rate"}
#: Place in the paper -> why its counterpart here differs, or is none; the part of the bundle whose networks it comes
#: from; published tables that hold its predictions.
_PLACES = pd.read_csv(CLAIMS.with_name("paper_places.csv"), index_col="source")
_TRAINED_BY = {str(place): str(part) for place, part in _PLACES["part"].dropna().items()}
_PREDICTIONS = _PLACES["predictions"].dropna().str.split().to_dict()


@cache
def claims() -> pd.DataFrame:
    """Every published number: ``source, subset, condition, metric, value, sd, n, unit, note``."""
    return pd.read_csv(CLAIMS)


def scorecard(store: Store) -> pd.DataFrame:
    """The published numbers with this study's values (as-published arm) and verdicts.

    To the columns of ``claims`` come ``own, own_low, own_high``; ``untested``, why the published method is not
    exercised; ``skilled``, whether it beats a caller that sees no image; ``verdict`` and ``reason`` of ``judge``.
    """
    published = claims().fillna({"subset": "", "condition": ""})
    card = published.merge(_own_numbers(store), how="left", on=KEYS, validate="1:1")
    extreme = card["own"].isin([0.0, 1.0]) & card["own_low"].eq(card["own_high"]) & card["metric"].isin(_SHARES)
    diseased = _diseased(store) if extreme.any() else {}
    for row in card.index[extreme]:  # all or none: no resample can differ
        own = card.loc[row]
        among = diseased if own["metric"] == "sensitivity" else {}
        patients = int(among.get(own["subset"], own["n_groups"]))
        exact = wilson(round(card.loc[row, "own"] * patients), patients)
        card.loc[row, ["own_low", "own_high"]] = exact.low, exact.high
    area = card["own_low"].where(card["metric"].eq("auc")).groupby([card[key] for key in KEYS[:3]]).transform("max")
    ahead = (card["own_high"] < card["plain"]).where(card["metric"].isin(LOWER), card["own_low"] > card["plain"])
    computed = card["own"].notna() | ~card["source"].isin(["Table 1", *_TRAINED_BY])
    card["untested"] = card["source"].map({name: "" for name in card["source"]} | _untested(store))
    card["reason"] = card["source"].map(_PLACES["reason"]).where(computed, "not computed in this study")
    return judge(card.assign(skilled=ahead | (area > 0.5)).drop(columns=["n_groups", "plain"]))


def _diseased(store: Store) -> dict[str, int]:
    """Patients with a stenosis that counts, ``patient`` for both arteries and ``artery:LCA`` for one."""
    ill = pd.read_parquet(store.table("classification_reference")).query("target > 0")
    arteries = {f"{level}:{name}": len(own) for name, own in ill.groupby("artery") for level in ("artery", "image")}
    return arteries | {"patient": ill["patient_id"].nunique()}


def _own_numbers(store: Store) -> pd.DataFrame:
    """This study's numbers by the paper's keys, and ``plain``, what a caller that sees no image reaches."""
    keyed = {
        "Table 1": ("cohort_severity", _keyed_counts),
        FRAMES: ("frame_selection_metrics", _keyed_frames),
        IMAGES: ("classification_image_metrics", _keyed_grades),
        LEVELS: ("classification_level_metrics", _keyed_grades),
        BOXES: ("localization_metrics", _keyed_boxes),
    }
    there = {source: (store.table(name), by_key) for source, (name, by_key) in keyed.items()}
    tables = [by_key(pd.read_parquet(at)).assign(source=name) for name, (at, by_key) in there.items() if at.exists()]
    columns = [*KEYS, "value", "low", "high", "n_groups", "plain"]
    own = pd.concat([table.reindex(columns=columns) for table in tables]) if tables else pd.DataFrame(columns=columns)
    return own.rename(columns={"value": "own", "low": "own_low", "high": "own_high"})


def _keyed_counts(table: pd.DataFrame) -> pd.DataFrame:
    long = table.melt("level", var_name="condition", value_name="value").assign(metric="count")
    subset, condition = long["level"].str.replace(": ", ":"), long["condition"].str.replace(" %", "%")
    return long.assign(subset=subset, condition=condition, value=long["value"].astype(float))


def _keyed_frames(table: pd.DataFrame) -> pd.DataFrame:
    named = table.assign(metric=table["metric"].map({own: paper for paper, own in _FRAME_METRICS.items()}))
    named = named.dropna(subset="metric")
    plain = named[named["method"].eq("prior")].set_index("metric")["value"]
    own = named.query("method == 'cnn_lstm' and arm == 'as_published'")
    place = claims().query("source == @FRAMES").iloc[0]
    return own.assign(subset=place["subset"], condition=place["condition"], plain=own["metric"].map(plain))


def _keyed_grades(table: pd.DataFrame) -> pd.DataFrame:
    own = table[table["arm"].eq("as_published")]
    own = own.query("how == 'max' and threshold == 'half'") if "level" in own else own.assign(level="image")
    words = own["redundancy"].map({True: "-CAT, redundancy", False: "-CAT, no redundancy"})
    subset = (own["level"] + ":" + own["artery"]).str.removesuffix(":both")
    return own.assign(subset=subset, condition=own["n_categories"].astype(str) + words)


def _keyed_boxes(table: pd.DataFrame) -> pd.DataFrame:
    published = table[table["arm"].eq("as_published")].rename(columns={"artery": "subset"})
    plain = published[published["method"].eq("prior")].set_index(["subset", "metric"])["value"].rename("plain")
    own = published[published["method"].isin(["cam", "fpn"])].join(plain, on=["subset", "metric"])
    rules = own["method"].map({"cam": ", IoU>0.2", "fpn": ", IoU>0.5"}).mask(own["metric"].eq("mse"), "")
    return own.assign(condition=own["method"].str.upper() + rules)


def _untested(store: Store) -> dict[str, str]:
    """Why a place in the paper is not tested here: its networks were not trained as published."""
    found = {}
    for source, part in _TRAINED_BY.items():
        record = store.root / "bundle" / part / "part.json"
        if not record.exists():
            found[source] = "how the networks of this study were trained is not on record"
        elif json.loads(record.read_text())["settings"]["trainable"] != "all":
            found[source] = "published with every layer trained; here heads are trained on a trunk that stays as it was"
    return found


def judge(card: pd.DataFrame) -> pd.DataFrame:
    """Add a ``verdict`` to each published number, and what it rests on to ``reason``.

    ``not comparable``: no counterpart, or none with an interval. ``reproduced``: the whole 95 % interval lies within
    the margin, and a trivial caller is beaten. ``compatible``: interval and margin overlap.
    """
    margin, why = card["metric"].map(MARGINS).fillna(SHARE), card["reason"]
    least, most, written = card["value"] - margin, card["value"] + margin, margin.map("{:g}".format)
    apart = (card["own_high"] < least) | (card["own_low"] > most)
    beyond = (card["own_low"] < least) | (card["own_high"] > most)
    cases = [
        ("not comparable", card["own_low"].isna() | card["own_high"].isna(), why),
        ("not tested", card["untested"].ne(""), card["untested"]),
        ("not reproduced", apart, why + "; more than " + written + " away with the whole interval"),
        ("compatible", beyond, why + "; the interval reaches beyond " + written),
        ("compatible", ~card["skilled"], why + "; no better than a caller that sees no image"),
    ]
    verdicts, conditions, reasons = zip(*cases, strict=True)
    verdict = np.select(conditions, verdicts, default="reproduced")
    return card.assign(verdict=verdict, reason=np.select(conditions, reasons, default=why))


#: The statements of the paper that compare two of its own numbers, each once: the better number's key, and the other's.
DIRECTIONS: dict[str, tuple[Key, Key]] = {
    own[0]: (own[1:5], own[5:9]) for own in pd.read_csv(STATEMENTS).itertuples(index=False, name=None)
}


def paired_directions(store: Store, *, bootstrap: int, seed: int) -> dict[str, Estimate]:
    """Each statement's difference, first minus second, on the same resampled patients (as-published arm), as stored."""
    places = {source: [store.table(name) for name in names] for source, names in _PREDICTIONS.items()}
    stored = {name: [pd.read_parquet(at) for at in own] for name, own in places.items() if all(p.exists() for p in own)}
    found = {}
    for statement, keys in DIRECTIONS.items():
        if tables := stored.get(keys[0][0]):
            first, second = (_measured(key, *tables) for key in keys)
            if first and second:
                apart = paired_difference(*first, *second, n=bootstrap, rng=np.random.default_rng(seed))
                found[statement] = apart["difference"]
    return found


def _measured(key: Key, *tables: pd.DataFrame) -> tuple[Metrics, np.ndarray] | None:
    """One published measure of this study under any weighting of its rows, and their patients; None without rows."""
    source, subset, condition, metric = key
    if source == IMAGES:
        frames = labeled_frames(tables[0])
        own = frames[frames["artery"].eq(subset.removeprefix("image:"))]
        own = system(own, int(condition[0]), "no redundancy" not in condition, "as_published")
        if own.empty:
            return None
        graded = of_classification(own, "as_published")
        metrics, patients = graded.metrics, graded.groups
    elif source == FRAMES:
        runs = tables[0][tables[0]["arm"].eq("as_published") & tables[0]["method"].eq("cnn_lstm")]
        bounds = of_frame_selection(runs.reset_index(drop=True))
        metric, metrics, patients = _FRAME_METRICS[metric], bounds.metrics, bounds.groups
    else:
        method = condition.split(",")[0].lower()
        images, found = (t[t["arm"].eq("as_published") & t["method"].eq(method)] for t in tables[:2])
        # Published rules have their own overlaps and sizes: the settings play no part.
        boxes = Scored(images, found, tables[2], scoring_rule("as_published", method, 0.5, 50.0)).of_artery(subset)
        if boxes.images.empty:
            return None
        metrics, patients = boxes.metrics, boxes.patients
    return lambda weights: {"difference": metrics(weights)[metric]}, patients
