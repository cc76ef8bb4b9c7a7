"""The bundle: a profile's trained networks and what must be known of them, in one folder that can be handed on.

``results/<profile>/bundle/<part>`` holds ``part.json``, weights and tables. A trunk that stayed frozen is not stored:
the settings name it (``weights``, ``seed``, ``backbone``). Facts of each part:

* ``frames``: ``tested``, patients that no stage was trained on. Weights ``head``, ``sequence``; ``trunk`` if trained.
* ``classification``: ``cells``, weights file -> settings of its cell; ``operating``, fields of the operating point;
  ``folds``, patient -> fold whose networks have not seen him.
* ``localization``: ``cells``, weights file -> settings of the clean arm's detector of a fold; ``thresholds``, the same
  files -> score from which its boxes count.
* ``triage``: none. Weights ``triage``.

Table ``runs`` of each part, by which a patient is recognized: ``run_id, patient_id, source, sha256``.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from cag.chapters.store import RunFolder, Store, move_into_place, trunk_digest
from cag.data.cohort import Cohort
from cag.settings import InputError, Settings

Weights = Mapping[str, Mapping[str, Tensor]]

#: Part -> what it holds, and the notebook that exports it.
PARTS = {
    "frames": ("frame selector", "02"),
    "classification": ("classifiers", "03"),
    "localization": ("detectors", "06"),
    "triage": ("artery triage", "07"),
}


@dataclass(frozen=True)
class Part:
    """One part of a bundle: ``folder`` loads weights and tables, settings and facts are plain values."""

    folder: RunFolder
    settings: dict[str, Any]
    facts: dict[str, Any]
    cohort: str  #: What it was trained on, as a piece of a sentence.
    cohort_digest: str
    patients: int
    runs: int
    profile: str
    version: str
    trunk: str  #: Digest of a frozen trunk of the study's own weights, else empty.


def export_part(
    store: Store, name: str, *, settings: Settings, cohort: Cohort, weights: Weights, facts: Mapping[str, Any]
) -> None:
    """Write a part of the profile's bundle, in place of an earlier one; ``weights`` by file name."""
    draft = RunFolder(store.working / f"bundle-{name}", store)
    shutil.rmtree(draft.path, ignore_errors=True)
    for file, state in weights.items():
        draft.save_weights(file, state)
    runs = cohort.manifest.reindex(columns=["run_id", "patient_id", "source", "sha256"])
    draft.save_table("runs", runs)
    values = settings.model_dump(mode="json")
    record = {
        **{"settings": values, "facts": dict(facts), "trunk": _frozen_trunk(values)},
        **{"cohort": cohort.simulated_or_real, "cohort_digest": cohort.digest()},
        **{"patients": runs["patient_id"].nunique(), "runs": len(runs)},
        **{"profile": store.root.name, "version": version("cag")},
    }
    draft.save_json("part", record)
    move_into_place(draft, store.root / "bundle" / name)


def load_part(folder: Path, name: str) -> Part:
    """A part of a bundle, by a profile's results folder or by the bundle's own folder.

    Raises `InputError`, with the notebook that exports it, if it is not there or its frozen trunk is another one now.
    """
    what, notebook = PARTS[name]
    root = folder / "bundle" if (folder / "bundle").is_dir() else folder
    own = RunFolder(root / name, Store(root))
    if not (own.path / "part.json").is_file():
        remedy = f"Execute notebook {notebook} with this profile first, or name another results folder"
        raise InputError(f"holds no trained {what}", file=folder.name, remedy=remedy)
    part = Part(own, **own.load_json("part"))
    if part.trunk != _frozen_trunk(part.settings):
        problem, remedy = "was trained on other weights", f"Execute notebook {notebook} with this profile again"
        raise InputError(f"{problem} ({part.settings['weights']})", file=folder.name, field=what, remedy=remedy)
    return part


def _frozen_trunk(settings: Mapping[str, Any]) -> str:
    return trunk_digest(settings) if settings.get("trainable") == "head" else ""
