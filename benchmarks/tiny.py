"""A whole study of a few seconds: every stage on a few simulated patients with small networks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cag.chapters.classification.operating import export_classifiers
from cag.chapters.classification.scores import reference_standard
from cag.chapters.classification.training import ClassificationSettings, run_grid
from cag.chapters.frames.selection import run_frame_selection
from cag.chapters.frames.settings import FrameSelectionSettings
from cag.chapters.localization.comparison import LocalizationSettings, localize
from cag.chapters.store import Store
from cag.simulator.cohort import open_cohort
from cag.simulator.phantom.cohort import CohortSettings
from cag.simulator.write import write_simulated

#: What every stage is told.
SHARED = {"profile": "tiny", "weights": "random", "backbone": "resnet18", "device": "cpu", "bootstrap": 20}
#: The tables by which two studies are compared.
TABLES = (
    *("frame_selection_frames", "frame_selection_runs", "frame_selection_candidates", "classification"),
    *("localization_images", "localization_detections", "localization_truth", "localization_operating"),
)


def write_tiny_cohort(folder: Path, patients: int = 8) -> Path:
    """DICOM files of a few simulated patients; returns the manifest."""
    settings = CohortSettings(patients=patients, size=96, min_frames=40, max_frames=42)
    return write_simulated(settings, folder, progress=False, workers=1)


def run_tiny_study(results: Path, manifest: Path) -> None:
    """Frame selection, classification and localization, each from the store where it is there."""
    cohort, store = open_cohort(manifest), Store(results)
    run_frame_selection(cohort, frame_selection(), store)
    predictions = run_grid(cohort, classification(), store)
    export_classifiers(cohort, classification(), store, predictions, reference_standard(cohort, classification()))
    localize(cohort, localization(), store)


def frame_selection() -> FrameSelectionSettings:
    """Two epochs of either stage."""
    return FrameSelectionSettings(
        **SHARED, image_size=96, train_patients=4, cnn_epochs=2, sequence_epochs=2, trainable="head"
    )


def classification() -> ClassificationSettings:
    """Two folds, two category systems, with redundancy training only."""
    return ClassificationSettings(
        **SHARED, image_size=96, folds=2, epochs=2, redundancy=(True,), frames_per_run=2, trainable="head"
    )


def localization() -> LocalizationSettings:
    """Two folds of a narrow detector, and the CAM of the classifiers."""
    return LocalizationSettings(
        **SHARED, image_size=96, folds=2, epochs=2, channels=8, augmented_copies=0, frames_per_run=1
    )


def load_tables(results: Path) -> dict[str, pd.DataFrame]:
    """The published tables of a study that ended."""
    store = Store(results)
    return {name: pd.read_parquet(store.table(name)) for name in TABLES}
