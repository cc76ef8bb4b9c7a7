"""What redundancy training does to where the networks look: heatmap mass on lumen, lesions and the rest.

Beside it the heatmaps' sanity check: do they depend on what the network learned? Weights are drawn anew, head first
(Adebayo et al. 2018).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, UInt8
from scipy.stats import rankdata
from torch import Tensor

from cag.chapters.classification.samples import true_boxes
from cag.chapters.classification.settings import CellSettings, ClassificationSettings, leading_cells
from cag.chapters.classification.training import (
    frames_of,
    images_of,
    new_classifier,
    parts_of,
    samples_of,
    trained_classifier,
)
from cag.chapters.store import Store
from cag.data.cohort import Cohort
from cag.metrics.weighted import ratio
from cag.networks.backbones import build_trunk
from cag.networks.cam import activation_from_maps, class_activation, enlarge_activation
from cag.networks.classifier import StenosisClassifier
from cag.networks.transforms import scale
from cag.networks.trunk import Trunk
from cag.settings import LabelError, SettingsError

#: Frames of each classifier and fold, the tightest visible stenoses first.
FRAMES_PER_CELL = 8
#: What is drawn anew: nothing, the head, the head and every layer of the trunk.
STAGES_DRAWN = ("nothing", "head", "head and trunk")
_SEED_OF_DRAWN = 10_007


class Seen(NamedTuple):
    """Frames of a cell's outer fold with a visible stenosis, tightest first, and what is known of their pixels."""

    rows: pd.DataFrame
    images: UInt8[Tensor, "n s s"]
    lumen: Bool[np.ndarray, "n s s"]
    lesion: Bool[np.ndarray, "n s s"]


class Example(NamedTuple):
    """A frame to show, with its heatmaps without and with redundancy training."""

    title: str
    frame: UInt8[np.ndarray, "s s"]
    without: Float[np.ndarray, "s s"]
    with_: Float[np.ndarray, "s s"]


def activation_mass(
    cohort: Cohort, settings: ClassificationSettings, store: Store
) -> tuple[pd.DataFrame, list[Example]]:
    """Share of each heatmap on lumen, lesion boxes and background, for the leading networks of every fold.

    The frames are of the outer fold, with a visible box of at least the first cut-point. The logits of all
    categories with stenosis are explained together. Heatmap cells are put where the network's unpadded
    convolutions look.

    Returns
    -------
    DataFrame
        ``run_id, patient_id, frame, model_view, fold, training, lumen, lesion, background`` and the shares
        of the image's area, ``lumen_area, lesion_area``.
    list of Example
        The tightest stenosis of each classifier.

    Raises
    ------
    SettingsError
        If the run trains only with or only without redundancy frames.
    LabelError
        If the cohort has no lumen masks (only simulated ones do) or no such frame.
    """
    if len(set(settings.redundancy)) < 2:
        remedy = "Set redundancy to [False, True] and run again"
        raise SettingsError("one training alone cannot be compared", field="redundancy", remedy=remedy)
    rows: list[pd.DataFrame] = []
    examples: dict[str, tuple[float, Example]] = {}
    for cell, seen in _seen_by(cohort, settings):
        maps = {}
        for training in (False, True):
            model = trained_classifier(cell.model_copy(update={"redundancy": training}), cohort, store)
            maps[training] = class_activation(model, scale(seen.images), range(1, cell.n_categories))
            name, shares = "with" if training else "without", shares_of(maps[training], seen.lumen, seen.lesion)
            rows.append(seen.rows.assign(fold=cell.fold, training=name, **shares))
        percent = float(seen.rows["visible"].iloc[0])
        if percent > examples.get(cell.model_view, (0.0, None))[0]:
            title = f"{cell.model_view}\n{percent:.0f} %"
            shown = Example(title, seen.images[0].numpy(), maps[False][0], maps[True][0])
            examples[cell.model_view] = percent, shown
    ordered = sorted(examples.values(), key=lambda entry: -entry[0])
    return pd.concat(rows, ignore_index=True), [example for _, example in ordered]


def randomization_check(cohort: Cohort, settings: ClassificationSettings, store: Store) -> pd.DataFrame:
    """Heatmaps of the leading networks on unseen frames with stenosis, as trained and with weights drawn anew.

    Returns
    -------
    DataFrame
        ``run_id, patient_id, frame, model_view, fold, drawn, correlation`` (Spearman's, between a map and that
        of the trained network on the map's cells) and ``lumen, lesion, background`` (shares of the mass).
        A map without evidence anywhere gives NaN.

    Raises
    ------
    LabelError
        If the cohort has no lumen masks or no such frame.
    """
    drawn = build_trunk("random", _SEED_OF_DRAWN, settings.backbone).eval()
    tables = []
    for cell, seen in _seen_by(cohort, settings):
        trained = trained_classifier(cell, cohort, store)
        coarse = _redrawn_maps(trained, drawn, cell, scale(seen.images))
        for name, maps in coarse.items():
            full = enlarge_activation(maps, settings.image_size, settings.image_size, trained.trunk)
            similar = {"correlation": rank_correlation(coarse["nothing"], maps)}
            shares = shares_of(full, seen.lumen, seen.lesion)
            tables.append(seen.rows.assign(fold=cell.fold, drawn=name, **similar, **shares))
    return pd.concat(tables, ignore_index=True)


def rank_correlation(first: Float[np.ndarray, "n y x"], second: Float[np.ndarray, "n y x"]) -> Float[np.ndarray, " n"]:
    """Spearman's correlation of the cells of each pair of maps; NaN where a map is the same everywhere."""
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    return ratio((a * b).sum(axis=1), np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)))


def seen_frames(cohort: Cohort, cell: CellSettings) -> Seen:
    """Labeled outer frames of a cell with a box of at least its first cut-point, one a run, tightest first.

    Raises
    ------
    LabelError
        If the cohort has no boxes or no lumen masks.
    """
    samples = samples_of(cohort, frames_of(cell), cell.label_rule)
    own = samples[samples["model_view"].eq(cell.model_view) & ~samples["redundant"]]
    own = own[parts_of(cohort, cell, own).eq("outer")]
    boxes = cohort.boxes[cohort.boxes["percent_stenosis"] >= cell.cut_points[0]]
    worst = boxes.groupby(["run_id", "frame"])["percent_stenosis"].max()
    rows = own.merge(worst.rename("visible"), how="left", left_on=["run_id", "frame"], right_index=True)
    rows = rows.dropna(subset=["visible"]).sort_values(["visible", "run_id", "frame"], ascending=[False, True, True])
    rows = rows.drop_duplicates("run_id").head(FRAMES_PER_CELL)
    images = images_of(cohort, frames_of(cell))[torch.as_tensor(rows.index.to_numpy(copy=True))]
    lumen, lesion = np.zeros((2, len(rows), cell.image_size, cell.image_size), dtype=bool)
    for place, (run_id, frame) in enumerate(zip(rows["run_id"], rows["frame"], strict=True)):
        full = cohort.lumen_mask(run_id, [int(frame)])[None].float()
        lumen[place] = torch.nn.functional.adaptive_max_pool2d(full, cell.image_size)[0, 0].bool().numpy()
    for place, corners in enumerate(true_boxes(cohort, rows, cell.image_size, cell.cut_points[0])):
        for x1, y1, x2, y2 in corners:
            lesion[place, int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
    return Seen(rows, images, lumen, lesion)


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


def _seen_by(cohort: Cohort, settings: ClassificationSettings) -> list[tuple[CellSettings, Seen]]:
    """The leading cells that see a frame with stenosis in their outer fold, with these frames."""
    found = [(cell, seen_frames(cohort, cell)) for cell in leading_cells(settings)]
    found = [(cell, seen) for cell, seen in found if len(seen.rows)]
    if not found:
        problem = f"no frame of an outer fold shows a stenosis of at least {settings.disease_from:g} %"
        raise LabelError(problem, field="boxes", remedy="Raise the patients of the cohort")
    return found


def _redrawn_maps(
    trained: StenosisClassifier, drawn: Trunk, cell: CellSettings, images: Tensor
) -> dict[str, Float[np.ndarray, "n y x"]]:
    """Class activation on cells, as trained and at each stage of drawing anew."""
    other = cell.model_copy(update={"seed": cell.seed + _SEED_OF_DRAWN})
    head = new_classifier(other, trained.trunk).head.eval()
    diseased = range(1, cell.n_categories)
    with torch.no_grad():
        own, foreign = trained.maps(images).float(), drawn(images).float()
    return {
        "nothing": activation_from_maps(trained.head, own, diseased),
        "head": activation_from_maps(head, own, diseased),
        "head and trunk": activation_from_maps(head, foreign, diseased),
    }
