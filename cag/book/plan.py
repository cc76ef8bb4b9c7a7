"""What a study has to do before it does it: its tasks, what is stored of them, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cag.book.calibration import Work, images_per_second
from cag.book.notebook import open_study
from cag.chapters.classification.samples import classification_samples
from cag.chapters.classification.training import ClassificationSettings, grid, run_grid
from cag.chapters.frames.settings import ARMS, FrameSelectionSettings
from cag.chapters.localization.data import choose_frames
from cag.chapters.localization.settings import (
    LocalizationSettings,
    cam_cells,
    find_classifiers,
    fpn_cells,
    frame_choice,
)
from cag.chapters.store import Store
from cag.data.cohort import Cohort
from cag.settings import InputError, Settings

Sections = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class PlannedStage:
    """Tasks of one kind, most valuable first, and what each costs.

    Attributes
    ----------
    name : str
    cells : sequence of (kind, Settings)
        The tasks' names in the store.
    images : mapping of Work to float
        Images that one task sends through each kind of work, all epochs together, at most.
    shared : mapping of Work to float
        Images that are worked on once for all of them.
    """

    name: str
    cells: Sequence[tuple[str, Settings]]
    images: Mapping[Work, float]
    shared: Mapping[Work, float]

    def stored(self, store: Store, digest: str) -> int:
        """Tasks that are complete in the store."""
        return sum(store.folder(kind, settings, digest).complete for kind, settings in self.cells)


def plan_study(
    sections: Sections,
    profile: str,
    *,
    measure: Callable[[Work, Cohort | None], float] = images_per_second,
    workers: int = 1,
) -> pd.DataFrame:
    """The tasks of a profile in the order of their value, with an estimate from a short calibration.

    Parameters
    ----------
    sections : mapping
        A profile's parameters by notebook section (``profiles.load_profile``).
    measure : callable
        Images a second of a kind of work on this machine.
    workers : int
        Tasks that run side by side.

    Returns
    -------
    DataFrame
        ``stage, tasks, stored, minutes_each, hours_open``; an epoch count is an upper bound where patience
        may end a training earlier.
    """
    settings = ClassificationSettings.checked({"profile": profile, **sections["classification"]})
    cohort, store = open_study(settings)
    digest, rates, rows = cohort.digest(), {}, []
    for stage in study_stages(sections, profile, cohort, store):
        stored, count = stage.stored(store, digest), len(stage.cells)
        for work in (*stage.images, *stage.shared):
            if work not in rates:
                rates[work] = measure(work, cohort)
        each = sum(images / rates[work] for work, images in stage.images.items())
        once = sum(images / rates[work] for work, images in stage.shared.items()) if stored < count else 0.0
        rows.append((stage.name, count, stored, each / 60, (each * (count - stored) / workers + once) / 3600))
    return pd.DataFrame(rows, columns=["stage", "tasks", "stored", "minutes_each", "hours_open"])


def study_stages(sections: Sections, profile: str, cohort: Cohort, store: Store) -> list[PlannedStage]:
    """The stages that train, in the order of their value: what the later ones and the report stand on comes first."""
    named = {"profile": profile}
    frames = FrameSelectionSettings.checked(named | dict(sections["frame_selection"]))
    classes = ClassificationSettings.checked(named | dict(sections["classification"]))
    boxes = LocalizationSettings.checked(named | dict(sections["localization"]))
    leading, rest = _classification(cohort, classes)
    return [_frame_selection(cohort, frames), leading, *_localization(cohort, boxes, store), rest]


def leading_system(settings: ClassificationSettings) -> ClassificationSettings:
    """The part of the grid that localization and reading need: two categories, with redundancy training."""
    fewest = min(settings.cut_points, key=len)
    return settings.model_copy(update={"cut_points": (fewest,), "redundancy": (max(settings.redundancy),)})


def run_leading(sections: Sections, profile: str) -> None:
    """Train the leading part of the grid, so that what stands on it need not wait for the rest."""
    settings = ClassificationSettings.checked({"profile": profile, **sections["classification"]})
    cohort, store = open_study(settings)
    run_grid(cohort, leading_system(settings), store)


def _frame_selection(cohort: Cohort, settings: FrameSelectionSettings) -> PlannedStage:
    cells: dict[tuple[str, str], tuple[str, Settings]] = {}
    for arm in ARMS:
        for kind, own in (("frame_cnn", settings.cnn(arm)), ("frame_features", settings.features(arm))):
            cells[kind, own.digest()] = (kind, own)
        for model in ("cnn_lstm", "tcn") if arm == "clean" else ("cnn_lstm",):
            sequence = settings.sequence(arm, model)
            cells["frame_sequence", sequence.digest()] = ("frame_sequence", sequence)
    every = float(cohort.manifest.n_frames.sum())
    place = (settings.image_size, settings.cnn_batch, settings.backbone)
    infer, train = Work("infer", *place), Work("train", *place)
    passes = sum(kind == "frame_features" for kind, _ in cells.values())
    shared = {infer: every * passes, Work("frames"): every * passes}
    if settings.trainable == "all":
        share = (
            1.0 if settings.train_patients is None else settings.train_patients / cohort.manifest.patient_id.nunique()
        )
        drawn = len(cohort.manifest) * min(1.0, share) * 3 * settings.frames_per_part
        shared[train] = drawn * (1 - settings.inner_share) * settings.cnn_epochs * len(ARMS)
    return PlannedStage("frame selection", list(cells.values()), {}, shared)


def _classification(cohort: Cohort, settings: ClassificationSettings) -> tuple[PlannedStage, PlannedStage]:
    """The leading system, and the rest of the grid."""
    samples = len(classification_samples(cohort, settings.frames_per_run, settings.label_rule))
    each = samples / len(settings.model_views)
    size, batch, backbone = settings.image_size, settings.batch_size, settings.backbone
    infer, shared = Work("infer", size, batch, backbone), {Work("frames"): float(samples)}
    kept = each * (1 - 1 / settings.folds)
    if settings.trainable == "all":
        images = {
            Work("train", size, batch, backbone): kept * settings.epochs,
            infer: each / settings.folds * settings.epochs,
        }
    else:
        images, shared[infer] = {Work("head", size, batch, backbone): each * settings.epochs}, float(samples)
    first = grid(leading_system(settings))
    known = {cell.digest() for cell in first}
    rest = [cell for cell in grid(settings) if cell.digest() not in known]
    return (
        PlannedStage("classification, leading system", [("classification", cell) for cell in first], images, shared),
        PlannedStage("classification, rest of the grid", [("classification", cell) for cell in rest], images, {}),
    )


def _localization(cohort: Cohort, settings: LocalizationSettings, store: Store) -> list[PlannedStage]:
    try:
        classifiers = find_classifiers(cohort, settings, store)
    except InputError:
        classifiers = None  # not trained yet: then nothing of this stage is stored either
    found = len(choose_frames(cohort, frame_choice(settings, classifiers)).images)
    size, batch, backbone = settings.image_size, settings.batch_size, settings.backbone
    detect, infer = Work("detect", size, batch, backbone), Work("infer", size, batch, backbone)
    cells = [("localization_fpn", cell) for cell in fpn_cells(settings, classifiers)]
    shared: dict[Work, float] = {Work("frames"): float(found)}
    # With a frozen trunk the pyramid and the heads are still the larger part of a step.
    images = {detect: found * (1 - 1 / settings.folds) * settings.epochs}
    if settings.trainable == "head":
        shared[infer] = float(found * (1 + settings.augmented_copies))
    stages = [PlannedStage("localization, FPN", cells, images, shared)]
    if cohort.manifest["view"].notna().any():
        cams = cam_cells(settings, classifiers) if classifiers else []
        stages.append(
            PlannedStage("localization, CAM", [("localization_cam", cell) for cell in cams], {infer: float(found)}, {})
        )
    return stages


def describe_plan(sections: Sections, profile: str, scheduler: str | None) -> str:
    """The planned tasks as text, for as many workers as ``scheduler`` starts here (``local:N``), else one."""
    kind, _, count = (scheduler or "").partition(":")
    workers = int(count) if kind == "local" and count.isdigit() else 1
    table = plan_study(sections, profile, workers=max(1, workers))
    shown = table.to_string(index=False, float_format=lambda value: f"{value:.2f}")
    hours, stored = table.hours_open.sum(), table.stored.sum()
    return f"{shown}\nat most {hours:.1f} hours on this machine; {stored} tasks are stored"
