"""A cohort: its tables, and its frames, wherever they come from."""

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, Protocol, Self

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from cag.anatomy import VIEWS
from cag.data.dicom import read_cine, read_frames
from cag.data.dicom_pixels import POOR
from cag.data.fingerprint import joint_digest, known_digest
from cag.data.images import chosen_files, read_images
from cag.data.public import is_public, read_public
from cag.data.tables import COLUMNS, SIDECARS, SOURCES, CohortTables, run_files
from cag.settings import LabelError, ManifestError

Label = Literal["contrast", "lesions", "boxes", "view", "artery"]
Request = tuple[pd.Series, Sequence[int] | None]

#: What of a run's row tells one cohort from another. The bytes' digest counts for real files only:
#: simulated ones may differ in their last bits between processors, and have a fingerprint instead.
_IDENTITY = [column for column in COLUMNS["data_manifest"] if column not in ("path", "sha256")]


class FrameSource(Protocol):
    """Where a cohort's frames come from."""

    def frames(self, run: pd.Series, indices: Sequence[int] | None) -> UInt8[Tensor, "t h w"]:
        """Frames of one run of the manifest, all by default."""

    def lumen_mask(self, run: pd.Series, indices: Sequence[int]) -> Bool[Tensor, "t h w"]:
        """Where lumen is projected in these frames; a `LabelError` where nobody knows it."""
        problem = "there are no lumen masks for this run"
        raise LabelError(problem, field=str(run.run_id), remedy="Use a simulated cohort")

    def frames_of_runs(self, requests: Iterable[Request]) -> Iterator[UInt8[Tensor, "t h w"]]:
        """Frames of several runs, one after another; a source that draws runs together has its own way."""
        return (self.frames(run, indices) for run, indices in requests)


@dataclass(frozen=True)
class FileFrames(FrameSource):
    """Frames from DICOM files, images and folders of images below one folder."""

    folder: Path

    def frames(self, run: pd.Series, indices: Sequence[int] | None) -> UInt8[Tensor, "t h w"]:
        """Decode the frames asked for; a real file whose bytes are not the manifest's is a `ManifestError`."""
        files = run_files(self.folder / "data_manifest.csv", run.path)
        if missing := [file.name for file in files if not file.exists()]:
            remedy = "Put it back, or make the simulated files again with: python -m cag simulate"
            raise ManifestError("this file is missing", file=missing[0], field=str(run.run_id), remedy=remedy)
        if run.source != "simulated" and joint_digest([known_digest(file) for file in files]) != run.sha256:
            problem, remedy = "its bytes are not those of the manifest", "Put it back, or build the manifest anew"
            raise ManifestError(problem, file=run.path, field="sha256", remedy=remedy)
        if len(files) > 1:  # a frame each, and one grey range
            bits, chosen = _bits(*files, sha256=run.sha256), chosen_files(files, indices, str(run.run_id))
            cines = [read_cine(file, allow_non_xa=True, grey_bits=bits) for file in chosen]
            found = np.concatenate([cine.frames for cine in cines])
        else:
            read = read_frames if run.source in ("simulated", "dicom") else read_images
            found = read(files[0], indices)
        said = (run.n_frames if indices is None else len(indices), run.rows, run.columns)
        if found.shape != said:
            held, told = (" x ".join(map(str, own)) for own in (found.shape, said))
            problem, remedy = f"holds {held} where the manifest says {told}", "Build the manifest anew"
            raise ManifestError(problem, file=run.path, field="n_frames, rows, columns", remedy=remedy)
        return torch.from_numpy(found)


@lru_cache(maxsize=4096)
def _bits(*files: Path, sha256: str) -> int:
    """Bits of the grey range that the single frames of a run share; ``sha256`` tells these bytes from others."""
    return max(read_cine(file, allow_non_xa=True).grey_bits for file in files)


@dataclass(frozen=True, eq=False)
class Cohort(CohortTables):
    """Runs, patients and labels, and the frames of the runs."""

    folder: Path | None  #: Where the manifest's paths start from; None where frames are rendered on demand.
    source: FrameSource | None = field(default=None, repr=False)  #: None for tables alone.
    origin: str = ""  #: What identifies a cohort without files: the digest of its settings and of the simulator.
    #: How often each known quirk of a public set was met when it was read; empty for other cohorts.
    counts: Mapping[str, int] = field(default_factory=dict, repr=False)

    @classmethod
    def from_manifest(cls, path: Path) -> Self:
        """Open a cohort by its ``data_manifest.csv``, or by the unpacked folder of a public set; poor pictures warn."""
        if is_public(path):
            found = read_public(path)
            return cls(**vars(found.tables), folder=path, source=FileFrames(path), counts=found.counts)
        tables = CohortTables.load(path)
        if poor := int(tables.manifest.reindex(columns=["note"])["note"].astype(str).str.contains(POOR).sum()):
            said = f"{poor} of {len(tables.manifest)} runs have few {POOR}, or are nearly all black and white"
            warnings.warn(f"{path.name}, note: {said}. Look at them before you trust a result", stacklevel=2)
        return cls(**vars(tables), folder=path.parent, source=FileFrames(path.parent))

    def run(self, run_id: str) -> pd.Series:
        """The manifest's row of a run; an unknown one is a `ManifestError`."""
        if run_id not in self._rows:
            raise ManifestError(f"there is no run {run_id!r}", field="run_id", remedy="See data_manifest.csv")
        return self.manifest.iloc[self._rows[run_id]]

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Row of each run: to search the manifest for every run would take its length squared."""
        return dict(zip(self.manifest.run_id, range(len(self.manifest)), strict=True))

    def frames(self, run_id: str, indices: Sequence[int] | None = None) -> UInt8[Tensor, "t h w"]:
        """Frames of a run, 0..255, in the order asked for, all by default; `InputError` unless as the manifest says."""
        return self._source.frames(self.run(run_id), indices)

    def frames_of_runs(self, requests: Iterable[tuple[str, Sequence[int] | None]]) -> Iterator[UInt8[Tensor, "t h w"]]:
        """Frames of several runs, one after another; runs rendered on demand are drawn together."""
        return self._source.frames_of_runs((self.run(run_id), indices) for run_id, indices in requests)

    def lumen_mask(self, run_id: str, indices: Sequence[int]) -> Bool[Tensor, "t h w"]:
        """Where contrast-filled lumen is projected in these frames; a `LabelError` where no simulation is on record."""
        return self._source.lumen_mask(self.run(run_id), indices)

    @property
    def _source(self) -> FrameSource:
        if self.source is None:
            raise ManifestError("this cohort has tables only, no frames", remedy="Open it from its manifest")
        return self.source

    def require(self, *labels: Label) -> None:
        """Refuse by `LabelError` a cohort in which no run or patient has one of these labels."""
        runs = self.manifest.reindex(columns=["contrast_begin", "view", "artery"])
        there = {
            **{"contrast": runs.contrast_begin.notna().any(), "view": runs["view"].isin(list(VIEWS)).any()},
            **{"artery": runs.artery.notna().any(), "lesions": len(self.lesions), "boxes": len(self.boxes)},
        }
        for label in labels:
            if not there[label]:
                file = f"{label if label in SIDECARS else 'data_manifest'}.csv"
                remedy = "Add these labels, or run this experiment on a cohort that has them"
                out = [f"{n} {why}" for why, n in self.counts.items() if n and why.endswith(("out", "dropped"))]
                problem = "; ".join(["this cohort has no such labels", *out])
                raise LabelError(problem, file=file, field=label, remedy=remedy)

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
        runs = self.manifest.sort_values("run_id")
        real = runs[runs.source != "simulated"].reindex(columns=["run_id", "sha256"])
        # A column that says nothing identifies nothing, so that a new label leaves older cohorts what they are.
        boxes = self.boxes.dropna(axis="columns", how="all").round()
        quality = self.patients.reindex(columns=["patient_id", "low_quality"]).dropna()
        tables = (runs[[column for column in _IDENTITY if column in runs]], self.lesions, boxes, real, quality)
        texts = [table.to_csv(index=False, float_format="%.6g", lineterminator="\n") for table in tables]
        return hashlib.sha256("\0".join([self.origin, *texts]).encode()).hexdigest()[:16]

    @property
    def simulated_or_real(self) -> str:
        """What the cohort shows, as a piece of a sentence."""
        return " and ".join(text for source, text in SOURCES.items() if (self.manifest.source == source).any())
