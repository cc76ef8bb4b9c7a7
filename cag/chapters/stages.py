"""What each stage of a study was trained with and on, recorded so that its networks can be found again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from cag.chapters.store import RunFolder, Store
from cag.data.cohort import Cohort
from cag.settings import InputError, Settings

#: Stage -> the notebook that trains it.
NOTEBOOKS = {"classification": "03", "localization": "06"}
_RUNS = ["run_id", "patient_id", "source", "sha256"]


@dataclass(frozen=True)
class Stage:
    """A stage's record.

    Attributes
    ----------
    settings : dict
        The experiment's settings, as given to its model's ``checked``.
    cohort_digest : str
        Names the stage's folders in the store together with the settings.
    cohort : str
        What the cohort shows, as a piece of a sentence.
    patients, runs : int
    """

    settings: dict[str, Any]
    cohort_digest: str
    cohort: str
    patients: int
    runs: int


def record_stage(store: Store, stage: str, settings: Settings, cohort: Cohort) -> None:
    """Write ``models/<stage>.json`` and, once a cohort, the list of its runs with their digests."""
    models, digest, runs = _models(store), cohort.digest(), cohort.manifest
    if not models.has(f"cohort_{digest}.parquet"):
        models.save_table(f"cohort_{digest}", runs.reindex(columns=_RUNS))
    record = {
        "settings": settings.model_dump(mode="json"),
        "cohort_digest": digest,
        "cohort": cohort.simulated_or_real,
        "patients": int(runs.patient_id.nunique()),
        "runs": len(runs),
    }
    models.save_json(stage, record)


def load_stage(store: Store, stage: str) -> Stage:
    """The record of a stage.

    Raises
    ------
    InputError
        If the stage was not trained in this results folder.
    """
    if not _models(store).has(f"{stage}.json"):
        remedy = f"Execute notebook {NOTEBOOKS.get(stage, '')} with this profile first, or name another results folder"
        raise InputError(f"holds no trained {stage} networks", file=store.root.name, remedy=remedy)
    return Stage(**_models(store).load_json(stage))


def training_runs(store: Store, stage: Stage) -> pd.DataFrame:
    """Runs of the cohort a stage was trained on: ``run_id, patient_id, source, sha256``."""
    return _models(store).load_table(f"cohort_{stage.cohort_digest}")


def _models(store: Store) -> RunFolder:
    return RunFolder(store.root / "models")
