"""Where a cohort's frames come from: files, or whatever renders them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from cag.data.dicom import read_frames
from cag.data.fingerprint import path_digest
from cag.data.images import image_files, read_images
from cag.data.labels import inside
from cag.settings import LabelError, ManifestError


class FrameSource(Protocol):
    """Where a cohort's frames come from."""

    def frames(self, run: pd.Series, indices: Sequence[int] | None) -> UInt8[Tensor, "t h w"]:
        """Frames of one run of the manifest, all by default."""

    def lumen_mask(self, run: pd.Series, indices: Sequence[int]) -> Bool[Tensor, "t h w"]:
        """Where lumen is projected in these frames."""

    def frames_of_runs(
        self, requests: Iterable[tuple[pd.Series, Sequence[int] | None]]
    ) -> Iterator[UInt8[Tensor, "t h w"]]:
        """Frames of several runs, one after another; a source that draws runs together has its own way."""
        return (self.frames(run, indices) for run, indices in requests)


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, modified: int) -> str:
    return path_digest(path, image_files(path))


@dataclass(frozen=True)
class FileFrames(FrameSource):
    """Frames from DICOM files, images and folders of images below one folder."""

    folder: Path

    def frames(self, run: pd.Series, indices: Sequence[int] | None) -> UInt8[Tensor, "t h w"]:
        """Decode the frames asked for; a real file whose bytes are not the manifest's is refused.

        Raises
        ------
        DicomError, ManifestError
        """
        file = inside(self.folder / "data_manifest.csv", run.path)
        if not file.exists():
            remedy = "Put it back, or make the simulated files again with: python -m cag simulate"
            raise ManifestError("this file is missing", file=run.path, remedy=remedy)
        if run.source != "simulated":
            status = file.stat()
            if _digest(file, status.st_size, status.st_mtime_ns) != run.sha256:
                problem, remedy = "its bytes are not those of the manifest", "Put it back, or build the manifest anew"
                raise ManifestError(problem, file=run.path, field="sha256", remedy=remedy)
        read = read_frames if run.source in ("simulated", "dicom") else read_images
        return torch.from_numpy(read(file, indices))

    def lumen_mask(self, run: pd.Series, indices: Sequence[int]) -> Bool[Tensor, "t h w"]:
        """Refused: files hold no masks; see ``cag.simulator.cohort`` for those of simulated files.

        Raises
        ------
        LabelError
        """
        raise LabelError(
            "there are no lumen masks for this run", field=str(run.run_id), remedy="Use a simulated cohort"
        )
