"""Detectors across cohorts: trained on simulated and tested on real frames, the reverse, and fine-tuned; clean arm."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cag.chapters.localization.comparison import Localization, gather, train_detectors
from cag.chapters.localization.frames import choose_frames, detections_table
from cag.chapters.localization.scores import Scored
from cag.chapters.localization.settings import LocalizationSettings, fpn_cells
from cag.chapters.localization.training import detect, detector_inputs, new_detector
from cag.chapters.store import Store
from cag.data.cohort import Cohort
from cag.settings import InputError

#: How a detector came to the frames it is scored on, and the boxes of the place prior.
WAYS = {
    "home": "this cohort, other folds",
    "applied": "the other cohort alone",
    "tuned": "the other cohort, then these frames",
    "prior": "place prior of these frames",
}
#: Name of the cohort tested on, and key of ``WAYS``; all of one cohort over the same frames.
Ways = Mapping[tuple[str, str], Scored]


def run_transfer(
    found: Localization, cohort: Cohort, other: Cohort, settings: LocalizationSettings, store: Store
) -> Ways:
    """Train on either cohort, test on both, fine-tune from one to the other; the other is split and scored alike.

    A detector that is applied as it is takes its operating score along; one that is fine-tuned sets it on inner images
    of the cohort it is tuned to. Published as ``localization_transfer_detections``.
    """
    if cohort.digest() == other.digest():
        raise InputError("is the cohort itself", field="transfer_manifest", remedy="Name another one, or none")
    settings = settings.model_copy(update={"arms": ("clean",)})
    far = gather(other, train_detectors(fpn_cells(settings, None), other, store), settings)
    names = [cohort.simulated_or_real, other.simulated_or_real]
    if names[0] == names[1]:
        names = [f"{name} ({place})" for name, place in zip(names, ("first", "second"), strict=True)]
    sides: dict[tuple[str, str], Scored] = {}
    for name, target, at, source in ((names[0], found, cohort, far), (names[1], far, other, found)):
        home = target.sides["clean", "fpn"]
        boxes = {
            "home": home.detections,
            "applied": applied(source, target, at, store.device),
            "tuned": tuned(source, target, at, settings, store),
            "prior": target.sides["clean", "prior"].detections,
        }
        sides |= {(name, way): Scored(home.images, own, home.truth, home.rule) for way, own in boxes.items()}
    tables = [side.detections.assign(tested_on=name, way=way) for (name, way), side in sides.items()]
    store.publish("localization_transfer_detections", pd.concat(tables, ignore_index=True))
    return sides


def applied(source: Localization, target: Localization, cohort: Cohort, device: str) -> pd.DataFrame:
    """Boxes of the source's first detector on the target's frames, as it is, with ``operating``."""
    (cell, folder), (there, _) = source.detectors()[0], target.detectors()[0]
    own = cell.model_copy(update={"choice": there.choice})
    frames, (inputs, _) = choose_frames(cohort, own.choice), detector_inputs(cohort, own.shared, device)
    detector = new_detector(cell, state=folder.load_weights("detector"))
    rows = np.arange(len(frames.images))
    found = detect(detector, inputs, rows, own.choice.image_size, device)
    boxes = detections_table(found, frames.images.image_id, "fpn")
    points = source.operating.query("arm == 'clean' and method == 'fpn' and fold == @cell.fold")
    return boxes.assign(operating=boxes.score >= points.threshold.item())


def tuned(
    source: Localization, target: Localization, cohort: Cohort, settings: LocalizationSettings, store: Store
) -> pd.DataFrame:
    """Boxes of the source's first detector, fine-tuned on each fold of the target."""
    start = source.detectors()[0][1].path.name
    cells = [cell.model_copy(update={"start": start}) for cell, _ in target.detectors()]
    return gather(cohort, train_detectors(cells, cohort, store), settings).sides["clean", "fpn"].detections
