"""Frames, maps and folds that the cells of a classification grid share in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from cag.chapters.classification.samples import classification_samples
from cag.chapters.classification.settings import CellSettings
from cag.data.cohort import Cohort
from cag.data.severity import low_quality, patient_severity
from cag.data.splits import inner_split, patient_folds
from cag.networks.inception import build_trunk
from cag.networks.training import predict
from cag.networks.transforms import load_frames, scale
from cag.networks.trunk import Trunk


@dataclass(frozen=True)
class Material:
    """Frames of the experiment, held in memory and shared by the cells of one process.

    Attributes
    ----------
    cell : CellSettings
        Any of the cells; they differ in nothing that counts here.
    views : tuple of str
        Classifiers whose frames are held; all of them when empty.
    parent : Material, optional
        Frames, and the maps of the same trunk, are taken from it instead of being computed again.
    """

    cohort: Cohort
    cell: CellSettings
    device: str
    views: tuple[str, ...] = ()
    parent: Material | None = None

    @cached_property
    def samples(self) -> pd.DataFrame:
        """The frames, a row each; see ``classification_samples``."""
        samples = classification_samples(self.cohort, self.cell.frames_per_run, self.cell.label_rule)
        return samples[samples["model_view"].isin(self.views)].reset_index(drop=True) if self.views else samples

    @cached_property
    def images(self) -> UInt8[Tensor, "n s s"]:
        """Grey levels of the frames."""
        if self.parent is not None:
            return self.parent.images[self._rows_of_parent]
        return load_frames(self.cohort, self.samples, self.cell.image_size)

    @cached_property
    def trunk(self) -> Trunk:
        """The trunk as it starts; frozen, it serves every cell.

        Raises
        ------
        InputError
            If its weights cannot be had.
        """
        if self.parent is not None and self._start == self.parent._start:
            return self.parent.trunk
        return build_trunk(self.cell.weights, self.cell.seed, self.cell.backbone)

    @cached_property
    def maps(self) -> Float[Tensor, "n c h w"]:
        """What the frozen trunk makes of the frames."""
        if self.parent is not None and self._start == self.parent._start:
            return self.parent.maps[self._rows_of_parent]
        task = "Maps of the frozen trunk"
        return predict(self.trunk, self.images, device=self.device, prepare=scale, progress=True, description=task)

    @cached_property
    def severity(self) -> dict[str, int]:
        """Severity stratum of each patient; see ``patient_severity``."""
        return patient_severity(self.cohort)

    @cached_property
    def folds(self) -> pd.DataFrame:
        """Fold of each patient: the same in every view, category system and stage."""
        return patient_folds(self.severity, self.cell.folds, self.cell.seed)

    def parts(self, samples: pd.DataFrame, fold: int) -> pd.Series:
        """``outer``, ``inner`` or ``train`` for each frame; studies of low quality are scored, never trained on."""
        split = inner_split(self.folds, self.severity, fold, seed=self.cell.seed).set_index("patient_id")["part"]
        parts = samples["patient_id"].map(split)
        return parts.mask(samples["patient_id"].isin(low_quality(self.cohort)) & parts.ne("outer"), "left out")

    @property
    def _start(self) -> tuple[object, ...]:
        """What decides the trunk's initial weights; the seed does so for random ones only."""
        cell = self.cell
        return cell.weights, cell.trunk, cell.backbone, cell.seed if cell.weights == "random" else None

    @property
    def _rows_of_parent(self) -> Tensor:
        assert self.parent is not None
        keys = ["run_id", "frame"]
        place = self.parent.samples[keys].reset_index().merge(self.samples[keys], on=keys, how="right")["index"]
        return torch.from_numpy(place.to_numpy(copy=True))
