"""Simulated cohorts, rendered on demand or from files, and the one place that opens a cohort of any kind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from pathlib import Path

import pandas as pd
import yaml
from jaxtyping import Bool, UInt8
from torch import Tensor

from cag.data.cohort import Cohort, FileFrames, FrameSource
from cag.data.tables import CohortTables, inside
from cag.settings import LabelError, SettingsError, write_atomically
from cag.simulator.phantom.cohort import CohortSettings, plan_cohort
from cag.simulator.phantom.plan import PatientPlan, RunPlan
from cag.simulator.phantom.run import RunRenderer, render_runs
from cag.simulator.tables import plan_tables, present, simulator_digest

#: Beside simulated files: how they were simulated.
PLAN_FILE = "cohort.json"


@dataclass(frozen=True)
class PhantomFrames(FrameSource):
    """Frames of a planned cohort, rendered on demand; the last runs asked for stay ready."""

    #: Plans by their ids.
    patients: dict[str, PatientPlan]
    runs: dict[str, RunPlan]
    device: str = "cpu"  # ``auto`` takes the card of whichever machine the frames are asked for on

    @classmethod
    def planned(cls, settings: CohortSettings, device: str = "cpu") -> PhantomFrames:
        """The frames of these settings' cohort."""
        plan = plan_cohort(settings)
        return cls({p.patient_id: p for p in plan.patients}, {r.run_id: r for r in plan.runs}, device)

    def frames(self, run: pd.Series, indices: Sequence[int] | None) -> UInt8[Tensor, "t h w"]:
        """Render frames of one run, on the CPU afterwards."""
        return self._renderer(run).render(indices).cpu()

    def frames_of_runs(
        self, requests: Iterable[tuple[pd.Series, Sequence[int] | None]]
    ) -> Iterator[UInt8[Tensor, "t h w"]]:
        """Frames of several runs, drawn together; on the CPU afterwards."""
        wanted = ((self._renderer(run), indices) for run, indices in requests)
        return (frames.cpu() for frames in render_runs(wanted))

    def lumen_mask(self, run: pd.Series, indices: Sequence[int]) -> Bool[Tensor, "t h w"]:
        """Where contrast-filled lumen is projected, on the CPU."""
        return self._renderer(run).lumen_mask(indices).cpu()

    def _renderer(self, run: pd.Series) -> RunRenderer:
        plan = self.runs[str(run["run_id"])]
        return _renderer(self.patients[plan.patient_id], plan, present(self.device))


@lru_cache(maxsize=2)
def _renderer(patient: PatientPlan, run: RunPlan, device: str) -> RunRenderer:
    return RunRenderer(patient, run, device)


@dataclass(frozen=True)
class SimulatedFiles(FrameSource):
    """Frames of simulated DICOM files, and masks rendered from the record that stands beside them."""

    folder: Path

    def frames(self, run: pd.Series, indices: Sequence[int] | None) -> UInt8[Tensor, "t h w"]:
        """Decode the frames asked for; see ``FileFrames``."""
        return FileFrames(self.folder).frames(run, indices)

    def lumen_mask(self, run: pd.Series, indices: Sequence[int]) -> Bool[Tensor, "t h w"]:
        """Where contrast-filled lumen is projected.

        Raises
        ------
        LabelError
            If the run is not simulated, or its simulation is not on record.
        """
        if run.source != "simulated":
            return FileFrames(self.folder).lumen_mask(run, indices)
        return plan_of_files(inside(self.folder / "data_manifest.csv", run.path), self.folder).lumen_mask(run, indices)


def save_plan(settings: CohortSettings, folder: Path) -> None:
    """Keep beside the files how they were simulated, so that masks can be rendered for them later."""
    record = {"settings": settings.model_dump(mode="json"), "simulator": simulator_digest()}
    write_atomically(folder / PLAN_FILE, lambda path: path.write_text(json.dumps(record, indent=1)))


def plan_of_files(file: Path, top: Path) -> PhantomFrames:
    """The plan of a cohort of simulated files, from the record in a folder above one of them.

    Raises
    ------
    LabelError
        If there is no record up to ``top``, or the files come from another version of the simulator.
    """
    top = top.resolve()
    folder = next((place for place in file.parents if (place / PLAN_FILE).is_file() or place == top), top)
    remedy = "Simulate the cohort again: python -m cag simulate"
    if not (folder / PLAN_FILE).is_file():
        raise LabelError("there is no record of how these files were simulated", file=PLAN_FILE, remedy=remedy)
    record = json.loads((folder / PLAN_FILE).read_text())
    if record["simulator"] != simulator_digest():
        raise LabelError("these files come from another version of the simulator", file=PLAN_FILE, remedy=remedy)
    return _planned(CohortSettings.checked(record["settings"]))


@lru_cache(maxsize=2)
def _planned(settings: CohortSettings) -> PhantomFrames:
    return PhantomFrames.planned(settings)


def simulated_cohort(settings: CohortSettings, device: str = "cpu", cache: Path | None = None) -> Cohort:
    """A simulated cohort whose frames are rendered when they are asked for; only its tables go to ``cache``."""
    tables, origin = _cached_tables(settings, device, cache) if cache else plan_tables(settings, device)
    return Cohort(**vars(tables), folder=None, source=PhantomFrames.planned(settings, device), origin=origin)


def _cached_tables(settings: CohortSettings, device: str, cache: Path) -> tuple[CohortTables, str]:
    """``plan_tables``, or the tables that the same simulator made before, in a folder of ``cache``."""
    origin = f"{settings.digest()}:{simulator_digest()}"
    folder = cache / hashlib.sha256(origin.encode()).hexdigest()[:16]
    files = {field.name: folder / f"{field.name}.parquet" for field in fields(CohortTables)}
    # Each file is whole or not there; all of them are there once the last was written.
    if all(file.exists() for file in files.values()):
        return CohortTables(**{name: pd.read_parquet(file) for name, file in files.items()}), origin
    tables, origin = plan_tables(settings, device)
    for name, file in files.items():
        write_atomically(file, partial(getattr(tables, name).to_parquet, index=False))
    return tables, origin


def open_cohort(path: Path, device: str = "cpu", cache: Path | None = None) -> Cohort:
    """A cohort by its manifest, by the folder of a public set, or by the settings of a simulated one.

    Parameters
    ----------
    path : Path
        A ``data_manifest.csv``, the folder of a public set, or a ``.yaml`` file with ``CohortSettings``.
    cache : Path, optional
        Where the tables of a simulated cohort are kept.

    Raises
    ------
    InputError
        If it is missing or not what it should be.
    """
    if path.suffix == ".yaml":
        if not path.exists():
            raise SettingsError(f"there is no file {path.name}", field="manifest", remedy="Correct the path")
        settings = CohortSettings.checked(yaml.safe_load(path.read_text()) or {})
        return simulated_cohort(settings, device, cache)
    cohort = Cohort.from_manifest(path)
    simulated = (cohort.manifest["source"] == "simulated").any() if "source" in cohort.manifest else False
    return replace(cohort, source=SimulatedFiles(cohort.folder)) if simulated and cohort.folder else cohort
