"""Detectors across cohorts: trained on simulated and tested on real frames, the reverse, and fine-tuned; clean arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cag.chapters.localization.comparison import Localization, gather, train_detectors
from cag.chapters.localization.frames import FrameChoice, choose_frames
from cag.chapters.localization.scores import Scored
from cag.chapters.localization.settings import LocalizationSettings
from cag.chapters.localization.training import (
    FpnSettings,
    detect,
    detections_table,
    detector_inputs,
    new_detector,
    train_from,
)
from cag.chapters.store import RunFolder, Store, run_tasks
from cag.data.cohort import Cohort
from cag.metrics.intervals import bootstrap_many, paired_difference
from cag.metrics.tables import estimate_rows
from cag.settings import InputError, Settings

#: How a detector came to the frames it is scored on, and the boxes of the place prior.
WAYS = {
    "home": "this cohort, other folds",
    "applied": "the other cohort alone",
    "tuned": "the other cohort, then these frames",
    "prior": "place prior of these frames",
}


class AppliedSettings(Settings):
    """A detector of one cohort on all frames of another.

    ``source`` are its settings, ``trained`` the name of its folder, ``choice`` and ``own`` say what it is shown.
    """

    source: FpnSettings
    trained: str
    choice: FrameChoice


class TunedSettings(Settings):
    """A fold trained as ``fold`` says, from the weights of the detector of another cohort in folder ``trained``."""

    trained: str
    fold: FpnSettings


def apply_detector(cohort: Cohort, settings: AppliedSettings, folder: RunFolder) -> None:
    """Store the detections of a detector on all frames."""
    own = settings.source.model_copy(update={"choice": settings.choice})
    frames, (inputs, _) = choose_frames(cohort, own.choice), detector_inputs(cohort, own.shared, folder.store.device)
    detector = new_detector(settings.source, state=_trained(settings.trained, folder))
    rows = np.arange(len(frames.images))
    found = detect(detector, inputs, rows, own.choice.image_size, folder.store.device)
    folder.save_table("detections", detections_table(found, frames.images.image_id, "fpn"))


def tune_fold(cohort: Cohort, settings: TunedSettings, folder: RunFolder) -> None:
    """Fine-tune a detector on a fold's training images; stores what ``train_from`` does."""
    train_from(new_detector(settings.fold, state=_trained(settings.trained, folder)), cohort, settings.fold, folder)


def _trained(name: str, folder: RunFolder) -> Mapping:
    return RunFolder(folder.store.root / "localization_fpn" / name, folder.store).load_weights("detector")


@dataclass(frozen=True)
class Transfer:
    """What the experiment found.

    Attributes
    ----------
    cohorts : mapping of name to Cohort
        The notebook's own, then the other.
    sides : mapping of (name of the cohort tested on, key of ``WAYS``) to Scored
        All over the same frames of that cohort.
    """

    cohorts: Mapping[str, Cohort]
    sides: Mapping[tuple[str, str], Scored]


def run_transfer(
    found: Localization, cohort: Cohort, other: Cohort, settings: LocalizationSettings, store: Store
) -> Transfer:
    """Train on either cohort, test on both, fine-tune from one to the other; the other is split and scored alike.

    A detector that is applied as it is takes its operating score along; one that is fine-tuned sets it on inner
    images of the cohort it is tuned to. Published as ``localization_transfer_detections``.

    Raises
    ------
    InputError
        If both cohorts are the same, or the other has no boxes.
    """
    if cohort.digest() == other.digest():
        remedy = "Name another cohort, or leave it empty"
        raise InputError("is the cohort itself", field="transfer_manifest", remedy=remedy)
    settings = settings.model_copy(update={"arms": ("clean",)})
    far = gather(other, train_detectors(other, settings, None, store), settings)
    names = [cohort.simulated_or_real, other.simulated_or_real]
    if names[0] == names[1]:
        names = [f"{name} ({place})" for name, place in zip(names, ("first", "second"), strict=True)]
    sides: dict[tuple[str, str], Scored] = {}
    for name, target, at, source in ((names[0], found, cohort, far), (names[1], far, other, found)):
        home = target.sides["clean", "fpn"]
        boxes = {"home": home.detections, **_carried(source, target, at, settings, store)}
        boxes["prior"] = target.sides["clean", "prior"].detections
        sides |= {(name, way): Scored(home.images, own, home.truth, home.rule) for way, own in boxes.items()}
    tables = [side.detections.assign(tested_on=name, way=way) for (name, way), side in sides.items()]
    store.publish("localization_transfer_detections", pd.concat(tables, ignore_index=True))
    return Transfer(dict(zip(names, (cohort, other), strict=True)), sides)


def _carried(
    source: Localization, target: Localization, cohort: Cohort, settings: LocalizationSettings, store: Store
) -> dict[str, pd.DataFrame]:
    """Detections of the source's first detector on the target's frames: as it is, and fine-tuned there."""
    cell, folder = source.detectors()[0]
    cells = [own for own, _ in target.detectors()]
    shown = AppliedSettings(source=cell, trained=folder.path.name, choice=cells[0].choice)
    (applied,) = run_tasks("localization_applied", apply_detector, [shown], cohort, store)
    boxes = applied.load_table("detections")
    points = source.operating.query("arm == 'clean' and method == 'fpn' and fold == 0")
    # A classifier's trunk belongs to its cohort: what is fine-tuned starts from the detector alone.
    folds = [own.model_copy(update={"start": None}) for own in cells]
    tuned = [TunedSettings(trained=folder.path.name, fold=own) for own in folds]
    done = run_tasks("localization_tuned", tune_fold, tuned, cohort, store)
    again = gather(cohort, [("fpn", own, at) for own, at in zip(folds, done, strict=True)], settings)
    applied_boxes = boxes.assign(operating=boxes.score >= float(points.threshold.iloc[0]))
    return {"applied": applied_boxes, "tuned": again.sides["clean", "fpn"].detections}


def transfer_scores(transfer: Transfer, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Metrics of every cohort tested on and way to it, and their differences from the detector trained at home.

    Returns
    -------
    DataFrame
        ``estimate_rows`` by ``tested_on, way, against, n_images, n_lesions``; ``against`` is empty for the metrics
        themselves, ``home`` for differences on the same resampled patients.
    """
    frames = []
    for (name, way), side in transfer.sides.items():
        label = {"tested_on": name, "way": way, "n_images": len(side.images), "n_lesions": len(side.truth)}
        rng = np.random.default_rng([seed, 68])
        own = bootstrap_many(side.metrics, side.patients, n=bootstrap, rng=rng)
        frames.append(estimate_rows(own, **label, against=""))
        home, rng = transfer.sides[name, "home"], np.random.default_rng([seed, 69])
        if way != "home":
            pair = (side.metrics, side.patients, home.metrics, home.patients)
            frames.append(estimate_rows(paired_difference(*pair, n=bootstrap, rng=rng), **label, against="home"))
    return pd.concat(frames, ignore_index=True)
