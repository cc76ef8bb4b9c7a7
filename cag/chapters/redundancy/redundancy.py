"""What redundancy training does to where the networks look: heatmap mass on lumen, lesions and the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, UInt8

from cag.chapters.classification.comparisons import difference
from cag.chapters.classification.tables import systems
from cag.chapters.classification.training import CellSettings, ClassificationSettings, Material, grid, load_classifier
from cag.chapters.store import Store
from cag.data.cohort import Cohort
from cag.metrics.measured import Measured
from cag.metrics.tables import bootstrap_table, weighted_mean
from cag.networks.cam import class_activation
from cag.networks.transforms import scale
from cag.settings import LabelError, SettingsError

#: Frames of each classifier and fold, the tightest visible stenoses first.
FRAMES_PER_CELL = 8
REGIONS = ("lumen", "lesion", "background")


@dataclass(frozen=True)
class Examples:
    """Frames to show, with their heatmaps without and with redundancy training, all at one size."""

    frames: UInt8[np.ndarray, "n h w"]
    without: Float[np.ndarray, "n h w"]
    with_: Float[np.ndarray, "n h w"]
    titles: list[str]


def activation_mass(cohort: Cohort, settings: ClassificationSettings, store: Store) -> tuple[pd.DataFrame, Examples]:
    """Share of each heatmap on lumen, lesion boxes and background, for the leading networks of every fold.

    The frames are of the outer fold, with a visible box of at least the first cut-point. The logits of all
    categories with stenosis are explained together. Heatmap cells are put where the network's unpadded
    convolutions look.

    Returns
    -------
    DataFrame
        ``run_id, patient_id, frame, model_view, fold, training, lumen, lesion, background`` and the shares
        of the image's area, ``lumen_area, lesion_area``.
    Examples
        One frame a classifier.

    Raises
    ------
    LabelError
        If the cohort has no lumen masks (only simulated ones do) or no such frame.
    """
    material = Material(cohort, grid(settings)[0], settings.device)
    rows, shown = [], []
    for cell in contrasted_cells(settings):
        chosen = visible_frames(cohort, material, cell, settings.disease_from)
        if chosen.empty:
            continue
        images = material.images[torch.as_tensor(chosen.index.to_numpy(copy=True))]
        masks = masks_of(cohort, chosen, settings.image_size, settings.disease_from)
        maps = {}
        for training in (False, True):
            own = cell.model_copy(update={"redundancy": training})
            model = load_classifier(store, cohort.digest(), own, material.trunk)
            maps[training] = class_activation(model, scale(images), range(1, cell.n_categories), aligned=True)
            name = "with" if training else "without"
            rows.append(chosen.assign(fold=cell.fold, training=name, **shares_of(maps[training], *masks)))
        shown.append((chosen.iloc[0], images[0].numpy(), maps[False][0], maps[True][0]))
    if not rows:
        remedy = "Raise the patients of the cohort"
        problem = f"no frame of an outer fold shows a stenosis of at least {settings.disease_from:g} %"
        raise LabelError(problem, field="boxes", remedy=remedy)
    return pd.concat(rows, ignore_index=True), _examples(shown)


def contrasted_cells(settings: ClassificationSettings) -> list[CellSettings]:
    """Cells with redundancy training of the fewest categories, of which there are networks without it too.

    Raises
    ------
    SettingsError
        If the run trains only one of both.
    """
    if len(set(settings.redundancy)) < 2:
        remedy = "Set redundancy to [False, True] and run again"
        raise SettingsError("one training alone cannot be compared", field="redundancy", remedy=remedy)
    cells = grid(settings)
    return [cell for cell in cells if cell.redundancy and cell.cut_points == cells[0].cut_points]


def mass_summary(mass: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Mean shares with patient-bootstrap intervals, for each training and for the image's area."""
    metrics = {name: weighted_mean(name) for name in REGIONS}
    rng = np.random.default_rng(seed)
    tables = [bootstrap_table(mass, metrics, n=bootstrap, rng=rng, by=("training",))]
    area = mass[mass["training"] == "with"].assign(
        lumen=lambda t: t["lumen_area"], lesion=lambda t: t["lesion_area"], training="share of the area"
    )
    area["background"] = 1 - area["either_area"]
    tables.append(bootstrap_table(area, metrics, n=bootstrap, rng=rng, by=("training",)))
    return pd.concat(tables, ignore_index=True)


def mass_difference(mass: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Shares with minus without redundancy training, on the same frames of the same resampled patients."""
    first, second = (_shares_measured(mass[mass["training"].eq(name)]) for name in ("with", "without"))
    return difference(first, second, bootstrap, seed)


def _shares_measured(rows: pd.DataFrame) -> Measured:
    means = {name: weighted_mean(name) for name in REGIONS}

    def many(weights: Float[np.ndarray, "b n"]) -> dict[str, Float[np.ndarray, " b"]]:
        return {name: mean(rows, weights) for name, mean in means.items()}

    return Measured(many, rows["patient_id"].to_numpy(), lambda name: "no map has any mass")


def background_calls(predictions: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """What the networks of the fewest categories (clean arm) call frames without contrast.

    Returns
    -------
    DataFrame
        ``artery, training, n_rows, metric`` (shares called ``normal``, ``diseased`` and ``redundant``, and the mean
        probability ``p_stenosis``), ``value, low, high``.
    """
    k = systems(predictions)[0][0]
    rows = predictions.query("redundant and part == 'outer' and arm == 'clean' and n_categories == @k")
    outputs = rows[[*(f"p_{index}" for index in range(k)), "p_redundant"]].to_numpy()
    calls = outputs.argmax(axis=1)
    training = np.where(rows["redundancy"], "with redundancy", "without redundancy")
    table = rows[["patient_id", "artery"]].assign(
        training=training,
        normal=calls == 0,
        diseased=(calls > 0) & (calls < k),
        redundant=calls == k,
        p_stenosis=outputs[:, 1:k].sum(axis=1),
    )
    metrics = {name: weighted_mean(name) for name in ("normal", "diseased", "redundant", "p_stenosis")}
    return bootstrap_table(table, metrics, n=bootstrap, rng=np.random.default_rng(seed), by=("artery", "training"))


def visible_frames(cohort: Cohort, material: Material, cell: CellSettings, least: float) -> pd.DataFrame:
    """Labeled outer frames of the cell with a box of at least that stenosis, one a run, tightest first."""
    samples = material.samples
    folds = material.folds.set_index("patient_id")["fold"]
    outer = samples["patient_id"].map(folds).eq(cell.fold)
    own = samples[outer & samples["model_view"].eq(cell.model_view) & ~samples["redundant"]]
    boxes = cohort.boxes[cohort.boxes["percent_stenosis"] >= least]
    worst = boxes.groupby(["run_id", "frame"])["percent_stenosis"].max()
    seen = own.merge(worst.rename("visible"), how="left", left_on=["run_id", "frame"], right_index=True)
    seen = seen.dropna(subset=["visible"]).sort_values(["visible", "run_id", "frame"], ascending=[False, True, True])
    return seen.drop_duplicates("run_id").head(FRAMES_PER_CELL)


def masks_of(
    cohort: Cohort, chosen: pd.DataFrame, size: int, least: float
) -> tuple[Bool[np.ndarray, "n s s"], Bool[np.ndarray, "n s s"]]:
    """Lumen masks and filled lesion boxes at the working size."""
    lumens, lesions = [], []
    boxes = cohort.boxes[cohort.boxes["percent_stenosis"] >= least]
    for run_id, frame in zip(chosen["run_id"], chosen["frame"], strict=True):
        lumen = cohort.lumen_mask(run_id, [int(frame)])[None].float()
        full = lumen.shape[-1]
        lumens.append(torch.nn.functional.adaptive_max_pool2d(lumen, size)[0, 0].bool().numpy())
        filled = np.zeros((size, size), dtype=bool)
        here = boxes[boxes["run_id"].eq(run_id) & boxes["frame"].eq(frame)]
        for x1, y1, x2, y2 in here[["x1", "y1", "x2", "y2"]].to_numpy() * size / full:
            filled[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
        lesions.append(filled)
    return np.stack(lumens), np.stack(lesions)


def shares_of(
    maps: Float[np.ndarray, "n s s"], lumen: Bool[np.ndarray, "n s s"], lesion: Bool[np.ndarray, "n s s"]
) -> dict[str, Float[np.ndarray, " n"]]:
    """Share of each map's mass on each region; a map of zeros has no mass and gives NaN."""
    total = maps.sum(axis=(1, 2))
    total = np.where(total > 0, total, np.nan)
    either = lumen | lesion
    return {
        "lumen": (maps * lumen).sum(axis=(1, 2)) / total,
        "lesion": (maps * lesion).sum(axis=(1, 2)) / total,
        "background": (maps * ~either).sum(axis=(1, 2)) / total,
        "lumen_area": lumen.mean(axis=(1, 2)),
        "lesion_area": lesion.mean(axis=(1, 2)),
        "either_area": either.mean(axis=(1, 2)),
    }


def _examples(shown: list[tuple[pd.Series, np.ndarray, np.ndarray, np.ndarray]]) -> Examples:
    """The tightest stenosis of each classifier."""
    best: dict[str, tuple[pd.Series, np.ndarray, np.ndarray, np.ndarray]] = {}
    for entry in sorted(shown, key=lambda entry: -entry[0]["visible"]):
        best.setdefault(entry[0]["model_view"], entry)
    rows, frames, without, with_ = zip(*best.values(), strict=True)
    titles = [f"{row['model_view']}\n{row['visible']:.0f} %" for row in rows]
    return Examples(np.stack(frames), np.stack(without), np.stack(with_), titles)
