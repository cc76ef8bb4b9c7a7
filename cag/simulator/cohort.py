"""Simulated cohorts, rendered on demand or written as files, and the one place that opens a cohort of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import yaml
from jaxtyping import Bool, UInt8
from torch import Tensor

from cag.data.cohort import Cohort
from cag.data.frame_sources import FileFrames, FrameSource
from cag.data.labels import inside
from cag.settings import SettingsError
from cag.simulator.phantom.cohort import CohortSettings
from cag.simulator.plan_cache import cached_tables
from cag.simulator.rendered import PhantomFrames, plan_of_files, plan_tables


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


def simulated_cohort(settings: CohortSettings, device: str = "cpu", cache: Path | None = None) -> Cohort:
    """A simulated cohort whose frames are rendered when they are asked for; only its tables go to ``cache``."""
    tables, origin = cached_tables(settings, device, cache) if cache else plan_tables(settings, device)
    return Cohort(**vars(tables), folder=None, source=PhantomFrames.planned(settings, device), origin=origin)


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
