"""The trained detector on any frames: what reading a study needs of this experiment."""

from __future__ import annotations

import pandas as pd
from jaxtyping import UInt8
from torch import Tensor

from cag.chapters.localization.fpn import detect_images, detections_table, new_detector
from cag.chapters.localization.settings import LocalizationSettings, find_classifiers, fpn_cells
from cag.chapters.store import Store
from cag.data.cohort import Cohort
from cag.data.frames import shrink
from cag.metrics.boxes import CORNERS
from cag.networks.detector import StenosisDetector
from cag.settings import InputError


def load_detector(
    cohort: Cohort, settings: LocalizationSettings, store: Store, fold: int = 0
) -> tuple[StenosisDetector, float]:
    """The trained detector of a clean fold, in evaluation mode on the CPU, and its operating score.

    Raises
    ------
    InputError
        If that fold was not trained yet.
    """
    cells = fpn_cells(settings, find_classifiers(cohort, settings, store))
    cell = next(cell for cell in cells if (cell.arm, cell.fold) == ("clean", fold))
    folder = store.folder("localization_fpn", cell, cohort.digest())
    if not folder.complete:
        raise InputError(f"the detector of fold {fold + 1} is not trained yet", remedy="Run notebook 06 first")
    detector = new_detector(cell)
    detector.load_state_dict(folder.load_weights("detector"), strict=cell.trainable == "all")
    points = pd.read_parquet(store.table("localization_operating"))
    chosen = points[(points.arm == "clean") & (points.method == "fpn") & (points.fold == fold)]
    return detector.eval(), float(chosen.threshold.iloc[0])


def detect(
    frames: UInt8[Tensor, "n h w"], detector: StenosisDetector, settings: LocalizationSettings, threshold: float = 0.0
) -> pd.DataFrame:
    """Boxes on any frames, in pixels of those frames: ``frame`` (row of ``frames``), x1, y1, x2, y2, score.

    Parameters
    ----------
    frames : grey levels 0-255
    detector : from ``load_detector``
    settings : those the detector was trained with
    threshold : float, 0-1
        Boxes of a lower score are left out.
    """
    found = detect_images(detector, shrink(frames, settings.image_size), settings.device)
    table = detections_table(found, [str(row) for row in range(len(frames))], "fpn")
    height, width = frames.shape[-2:]
    table[["x1", "x2"]] *= width / settings.image_size
    table[["y1", "y2"]] *= height / settings.image_size
    table = table[table.score >= threshold].reset_index(drop=True)
    return table.assign(frame=table.image_id.astype(int))[["frame", *CORNERS, "score"]]
