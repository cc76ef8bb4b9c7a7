"""Do heatmaps depend on what the network learned? Weights are drawn anew, head first (Adebayo et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from cag.chapters.classification.settings import leading_cells
from cag.chapters.classification.training import (
    CellSettings,
    ClassificationSettings,
    Material,
    load_classifier,
    new_classifier,
)
from cag.chapters.redundancy.redundancy import masks_of, shares_of, visible_frames
from cag.chapters.store import Store
from cag.data.cohort import Cohort
from cag.metrics.tables import bootstrap_table, weighted_mean
from cag.metrics.weighted import ratio
from cag.networks.cam import activation_from_maps, enlarge_activation
from cag.networks.classifier import StenosisClassifier
from cag.networks.inception import build_trunk
from cag.networks.transforms import scale
from cag.networks.trunk import Trunk
from cag.settings import LabelError

#: What is drawn anew: nothing, the head, the head and every layer of the trunk.
STAGES_DRAWN = ("nothing", "head", "head and trunk")
_SEED_OF_DRAWN = 10_007


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
    cells = leading_cells(settings)
    material = Material(cohort, cells[0], settings.device)
    drawn = build_trunk("random", _SEED_OF_DRAWN, settings.backbone).eval()
    tables = []
    for cell in cells:
        chosen = visible_frames(cohort, material, cell, settings.disease_from)
        if len(chosen):
            images = scale(material.images[torch.as_tensor(chosen.index.to_numpy(copy=True))])
            trained = load_classifier(store, cohort.digest(), cell, material.trunk)
            coarse = _maps(trained, drawn, cell, images)
            masks = masks_of(cohort, chosen, settings.image_size, settings.disease_from)
            for name, maps in coarse.items():
                full = enlarge_activation(maps, images.shape[-2], images.shape[-1], trained.trunk)
                similar = {"correlation": rank_correlation(coarse["nothing"], maps)}
                tables.append(chosen.assign(fold=cell.fold, drawn=name, **similar, **shares_of(full, *masks)))
    if not tables:
        remedy = "Raise the patients of the cohort"
        raise LabelError("no frame of an outer fold shows a stenosis", field="boxes", remedy=remedy)
    return pd.concat(tables, ignore_index=True)


def randomization_summary(check: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Mean correlation and mean share on the lumen for each stage, with patient-bootstrap intervals."""
    metrics = {name: weighted_mean(name) for name in ("correlation", "lumen", "lesion")}
    table = check.assign(drawn=pd.Categorical(check["drawn"], STAGES_DRAWN, ordered=True))
    return bootstrap_table(table, metrics, n=bootstrap, rng=np.random.default_rng(seed), by=("drawn",))


def rank_correlation(first: Float[np.ndarray, "n y x"], second: Float[np.ndarray, "n y x"]) -> Float[np.ndarray, " n"]:
    """Spearman's correlation of the cells of each pair of maps; NaN where a map is the same everywhere."""
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    return ratio((a * b).sum(axis=1), np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)))


def _maps(
    trained: StenosisClassifier, drawn: Trunk, cell: CellSettings, images: Tensor
) -> Mapping[str, Float[np.ndarray, "n y x"]]:
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
