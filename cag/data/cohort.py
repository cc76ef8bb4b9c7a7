"""A cohort: its tables, and its frames, wherever they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd
from jaxtyping import Bool, UInt8
from torch import Tensor

from cag.anatomy import VIEWS
from cag.data.frame_sources import FileFrames, FrameSource
from cag.data.labels import CohortTables, load_cohort_tables, subset_tables
from cag.data.public import is_public, read_public
from cag.settings import LabelError, ManifestError

Label = Literal["contrast", "lesions", "boxes", "view", "artery"]

_SOURCES = {
    "arcade": "real angiograms (ARCADE)",
    "cadica": "real angiograms (CADICA)",
    "danilov": "real angiograms (Danilov et al.)",
    "dicom": "real angiograms (DICOM files)",
    "simulated": "simulated patients",
}
#: What of a run's row tells one cohort from another. The bytes' digest counts for real files only:
#: simulated ones may differ in their last bits between processors, and have a fingerprint instead.
_IDENTITY = [
    *("run_id", "patient_id", "source", "n_frames", "rows", "columns", "fps", "primary_angle", "secondary_angle"),
    *("artery", "view", "contrast_begin", "contrast_end", "end_censored", "fingerprint"),
]


@dataclass(frozen=True, eq=False)
class Cohort:
    """Runs, patients, labels and frames.

    Attributes
    ----------
    manifest, patients, lesions, boxes : DataFrame
        Columns of ``cag.data.tables.COLUMNS``; labels may be missing.
    folder : Path or None
        Folder the manifest's paths start from; None where frames are rendered on demand.
    source : FrameSource or None
        Where frames come from: the files of ``folder`` by default.
    origin : str
        What identifies a cohort without files: the digest of its settings and of the simulator.
    counts : mapping of str to int
        How often each known quirk of a public set was met when it was read; empty for other cohorts.
    """

    manifest: pd.DataFrame
    patients: pd.DataFrame
    lesions: pd.DataFrame
    boxes: pd.DataFrame
    folder: Path | None
    source: FrameSource | None = field(default=None, repr=False)
    origin: str = ""
    counts: Mapping[str, int] = field(default_factory=dict, repr=False)

    @classmethod
    def from_manifest(cls, path: Path) -> Cohort:
        """Open a cohort of files by its manifest, or a public set by its folder.

        Parameters
        ----------
        path : Path
            A ``data_manifest.csv``, or the unpacked folder of ARCADE, CADICA or the Danilov set.

        Raises
        ------
        ManifestError
        """
        if is_public(path):
            found = read_public(path)
            return replace(cls.from_tables(found.tables, found.folder), counts=found.counts)
        return cls.from_tables(load_cohort_tables(path), path.parent)

    @classmethod
    def from_tables(cls, tables: CohortTables, folder: Path) -> Cohort:
        """A cohort of files from tables already checked."""
        return cls(**vars(tables), folder=folder, source=FileFrames(folder))

    def run(self, run_id: str) -> pd.Series:
        """The manifest's row of a run.

        Raises
        ------
        ManifestError
            If there is no such run.
        """
        place = self._places.get(run_id)
        if place is None:
            raise ManifestError(f"there is no run {run_id!r}", field="run_id", remedy="See data_manifest.csv")
        return self.manifest.iloc[place]

    @cached_property
    def _places(self) -> dict[str, int]:
        """Row of each run: to search the manifest for every run would take its length squared."""
        return {run_id: place for place, run_id in reversed(list(enumerate(self.manifest.run_id)))}

    def frames(self, run_id: str, indices: Sequence[int] | None = None) -> UInt8[Tensor, "t h w"]:
        """Frames of a run as grey levels 0..255, in the order asked for; all by default.

        Raises
        ------
        DicomError, ManifestError
            If the run, its file or a frame is not there or not what the manifest says.
        """
        return self._frame_source.frames(self.run(run_id), indices)

    def frames_of_runs(self, requests: Iterable[tuple[str, Sequence[int] | None]]) -> Iterator[UInt8[Tensor, "t h w"]]:
        """Frames of several runs, one after another; runs rendered on demand are drawn together."""
        return self._frame_source.frames_of_runs((self.run(run_id), indices) for run_id, indices in requests)

    @property
    def _frame_source(self) -> FrameSource:
        source = self.source or (FileFrames(self.folder) if self.folder else None)
        if source is None:
            raise ManifestError("this cohort has tables only, no frames", remedy="Open it from its manifest")
        return source

    def lumen_mask(self, run_id: str, indices: Sequence[int]) -> Bool[Tensor, "t h w"]:
        """Where contrast-filled lumen is projected in these frames: known for simulated runs only.

        Raises
        ------
        LabelError
            If the run is not simulated, or its simulation is not on record.
        """
        if self.source is None:
            raise LabelError("this cohort has tables only, no masks", remedy="Open it from its manifest")
        return self.source.lumen_mask(self.run(run_id), indices)

    def subset(self, patient_ids: Collection[str] | None = None, *, run_ids: Collection[str] | None = None) -> Cohort:
        """The runs of these patients, or these runs, or those that are both."""
        kept = pd.Series(True, index=self.manifest.index)
        if patient_ids is not None:
            kept &= self.manifest.patient_id.isin(list(patient_ids))
        if run_ids is not None:
            kept &= self.manifest.run_id.isin(list(run_ids))
        return replace(self, **vars(subset_tables(self.tables, set(self.manifest.run_id[kept]))))

    @property
    def tables(self) -> CohortTables:
        """The four tables together."""
        return CohortTables(self.manifest, self.patients, self.lesions, self.boxes)

    def require(self, *labels: Label) -> None:
        """Refuse by name a cohort in which no run or patient has one of these labels.

        Raises
        ------
        LabelError
        """
        runs = self.manifest.reindex(columns=["contrast_begin", "view", "artery"])
        there = {
            "contrast": ("data_manifest.csv", runs["contrast_begin"].notna().any()),
            "view": ("data_manifest.csv", runs["view"].isin(list(VIEWS)).any()),
            "artery": ("data_manifest.csv", runs["artery"].notna().any()),
            "lesions": ("lesions.csv", len(self.lesions) > 0),
            "boxes": ("boxes.csv", len(self.boxes) > 0),
        }
        for label in labels:
            file, found = there[label]
            if not found:
                remedy = "Add these labels, or run this experiment on a cohort that has them"
                raise LabelError("this cohort has no such labels", file=file, field=label, remedy=remedy)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cohort) and self.digest() == other.digest()

    def __hash__(self) -> int:
        """By its digest: a cohort that a worker was sent serves the caches of the one it was before."""
        return hash(self.digest())

    def digest(self) -> str:
        """Sixteen hexadecimal digits that identify the cohort: runs, what they show and how they are labeled."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        columns = [column for column in _IDENTITY if column in self.manifest]
        runs = self.manifest.sort_values("run_id")
        real = runs[runs["source"] != "simulated"] if "source" in runs else runs.iloc[:0]
        digests = real[["run_id", "sha256"]] if "sha256" in real else real.iloc[:0]
        # A column that says nothing identifies nothing, so that a new label leaves older cohorts what they are.
        boxes = self.boxes.dropna(axis="columns", how="all").round()
        quality = self.patients.reindex(columns=["patient_id", "low_quality"]).dropna()
        parts = [self.origin, _text(runs[columns]), _text(self.lesions), _text(boxes), _text(digests), _text(quality)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    @property
    def simulated_or_real(self) -> str:
        """What the cohort shows, as a piece of a sentence."""
        return " and ".join(text for source, text in _SOURCES.items() if (self.manifest.source == source).any())


def _text(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
