"""Detectors across cohorts: trained on simulated and tested on real frames, the reverse, and fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from torch import Tensor

from cag.chapters.localization.comparison import Localization, operating_points
from cag.chapters.localization.data import FrameChoice
from cag.chapters.localization.fpn import detect_rows, detections_table, new_detector, train_fold
from cag.chapters.localization.material import FpnSettings, LocalizationMaterial
from cag.chapters.localization.scores import Scored, scoring_rule
from cag.chapters.localization.settings import LocalizationSettings, fpn_cells
from cag.chapters.store import RunFolder, Store
from cag.chapters.tasks import Task, run_tasks
from cag.data.cohort import Cohort
from cag.settings import InputError, Settings

#: How a detector came to the frames it is scored on: trained on frames of the same cohort (other patients), on
#: the other cohort alone, on the other and then on this one; and the boxes of the place prior.
Way = Literal["home", "applied", "tuned", "prior"]
WAYS: tuple[Way, ...] = ("home", "applied", "tuned", "prior")


class AppliedSettings(Settings):
    """A detector of one cohort on all frames of another: ``source`` trained it, ``choice`` names the frames."""

    source: FpnSettings
    source_cohort: str
    choice: FrameChoice


class TunedSettings(Settings):
    """A fold trained as ``fold`` says, from the weights of a detector that ``source`` trained on another cohort."""

    source: FpnSettings
    source_cohort: str
    fold: FpnSettings


@dataclass(frozen=True)
class Domain:
    """A cohort with its frames and the settings of its folds."""

    name: str
    cohort: Cohort
    material: LocalizationMaterial
    cells: Sequence[FpnSettings]


@dataclass(frozen=True)
class Transfer:
    """What the experiment found.

    Attributes
    ----------
    domains : pair of Domain
        The notebook's own cohort, then the other.
    sides : mapping of (name of the cohort tested on, way) to Scored
        All over the same frames of that cohort.
    """

    domains: tuple[Domain, Domain]
    sides: Mapping[tuple[str, Way], Scored]


def run_transfer(
    found: Localization, cohort: Cohort, other: Cohort, settings: LocalizationSettings, store: Store
) -> Transfer:
    """Train on either cohort, test on both, fine-tune from one to the other; clean arm only.

    The other cohort is split, trained and scored by the same settings. A detector that is applied
    as it is takes its operating score along; one that is fine-tuned sets it on inner images of the
    cohort it is tuned to. Published as ``localization_transfer_detections``.

    Raises
    ------
    InputError
        If both cohorts are the same, or the other has no boxes.
    """
    if cohort.digest() == other.digest():
        remedy = "Name another cohort, or leave it empty"
        raise InputError("is the cohort itself", field="transfer_manifest", remedy=remedy)
    cells = [cell for cell in fpn_cells(settings, None) if cell.arm == "clean"]
    material = LocalizationMaterial(other, cells[0], settings.device)
    names = _names(cohort, other)
    domains = (
        Domain(names[0], cohort, found.material, found.cells),
        Domain(names[1], other, material, cells),
    )
    sides: dict[tuple[str, Way], Scored] = {}
    tables = []
    for target, source in (domains, domains[::-1]):
        for way, boxes in _ways(target, source, settings, store).items():
            frames = target.material.frames
            rule = scoring_rule("clean", "fpn", settings.iou, settings.box_minimum)
            sides[target.name, way] = Scored(frames.images, boxes, frames.truth, rule)
            tables.append(boxes.assign(tested_on=target.name, way=way))
    store.publish("localization_transfer_detections", pd.concat(tables, ignore_index=True))
    return Transfer(domains, sides)


def _names(cohort: Cohort, other: Cohort) -> tuple[str, str]:
    own, second = cohort.simulated_or_real, other.simulated_or_real
    return (own, second) if own != second else (f"{own} (first)", f"{second} (second)")


def _ways(target: Domain, source: Domain, settings: LocalizationSettings, store: Store) -> dict[Way, pd.DataFrame]:
    """Detections on all frames of the target, with ``operating``, by how the detector came to them."""
    home, home_points = _home(target, settings, store)
    start, start_points = source.cells[0], _home(source, settings, store)[1]
    identity = {"source": start, "source_cohort": source.cohort.digest()}
    apply = partial(_apply, source=source, target=target, store=store)
    own_choice = AppliedSettings(**identity, choice=target.cells[0].choice)
    (applied,) = run_tasks([Task("localization_applied", own_choice, apply)], target.cohort, store)
    # A classifier's trunk belongs to its cohort: what is fine-tuned starts from the detector alone.
    folds = [TunedSettings(**identity, fold=cell.model_copy(update={"start": None})) for cell in target.cells]
    tune = partial(_tune, source=source, target=target, store=store)
    tuned = run_tasks([Task("localization_tuned", fold, tune) for fold in folds], target.cohort, store)
    boxes = applied.load_table("detections")
    threshold = float(start_points[(start_points.fold == 0) & (start_points.method == "fpn")].threshold.iloc[0])
    found, points = _outer(target, tuned, settings)
    return {
        "home": _operating(home[home.method == "fpn"], home_points),
        "applied": boxes.assign(operating=boxes.score >= threshold),
        "tuned": _operating(found[found.method == "fpn"], points),
        "prior": _operating(home[home.method == "prior"], home_points),
    }


def _home(domain: Domain, settings: LocalizationSettings, store: Store) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Detections of a cohort's own folds on their scored images, trained where they are not stored yet."""
    work = partial(_train, material=domain.material)
    folders = run_tasks([Task("localization_fpn", cell, work) for cell in domain.cells], domain.cohort, store)
    return _outer(domain, folders, settings)


def _outer(
    domain: Domain, folders: Sequence[RunFolder], settings: LocalizationSettings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Detections on the scored images of all folds, and the folds' operating points from inner images."""
    found = pd.concat([folder.load_table("detections") for folder in folders], ignore_index=True)
    parts = [folder.load_table("parts").assign(arm="clean", fold=fold) for fold, folder in enumerate(folders)]
    seen = pd.concat([part.assign(method=method) for part in parts for method in ("fpn", "prior")])
    seen = seen[seen.part.isin(["inner", "outer"])]
    return found[found.part == "outer"], operating_points(domain.material.frames, found, seen, settings)


def _operating(boxes: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    joined = boxes.merge(points, on=["arm", "method", "fold"])
    return joined.assign(operating=joined.score >= joined.threshold).drop(columns="threshold")


def _train(cohort: Cohort, cell: FpnSettings, folder: RunFolder, *, material: LocalizationMaterial) -> None:
    train_fold(cohort, cell, folder, material=material)


def _apply(
    cohort: Cohort, settings: AppliedSettings, folder: RunFolder, *, source: Domain, target: Domain, store: Store
) -> None:
    detector = new_detector(settings.source, state=_trained(settings.source, source, store))
    frames = target.material.frames
    found = detect_rows(detector, target.material, np.arange(len(frames.images)))
    folder.save_table("detections", detections_table(found, frames.images.image_id, "fpn"))


def _tune(
    cohort: Cohort, settings: TunedSettings, folder: RunFolder, *, source: Domain, target: Domain, store: Store
) -> None:
    initial = _trained(settings.source, source, store)
    train_fold(cohort, settings.fold, folder, material=target.material, initial=initial)


def _trained(cell: FpnSettings, source: Domain, store: Store) -> dict[str, Tensor]:
    return store.folder("localization_fpn", cell, source.cohort.digest()).load_weights("detector")
