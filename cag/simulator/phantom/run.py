"""Renders a simulated run: any frame by itself, with its ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from cag.settings import SettingsError
from cag.simulator.phantom.background import Background
from cag.simulator.phantom.detector import IODINE, Detector
from cag.simulator.phantom.plan import PatientPlan, RunPlan
from cag.simulator.phantom.projection import Disks, splat_mask
from cag.simulator.phantom.scene import Scene
from cag.simulator.phantom.truth import RunTruth, lesion_boxes

#: Contrast, as a share of the plateau, from which a vessel belongs to the lumen mask.
MASK_CONTRAST = 0.25


class RunRenderer:
    """One cine run of a simulated patient.

    Nothing is rendered before it is asked for; a frame alone equals that frame of the whole run,
    bit for bit, and the same plans give the same bytes on the same platform.

    Parameters
    ----------
    patient : PatientPlan
    run : RunPlan
        Of this patient.
    device : torch.device or str

    Raises
    ------
    SettingsError
        If the run belongs to another patient, or the plans contradict the anatomy.
    """

    def __init__(self, patient: PatientPlan, run: RunPlan, device: torch.device | str = "cpu") -> None:
        if run.patient_id != patient.patient_id:
            problem = f"run {run.run_id!r} is not of patient {patient.patient_id!r}"
            raise SettingsError(problem, field="patient_id", remedy="Give a run the plan of its own patient")
        self.patient, self.run, self.device = patient, run, torch.device(device)

    @cached_property
    def scene(self) -> Scene:
        """Geometry, motion and contrast of the run."""
        return Scene(self.patient, self.run, self.device)

    @cached_property
    def truth(self) -> RunTruth:
        """Contrast interval, censoring and visible segments; nothing is rendered for it."""
        return RunTruth.of(self.scene)

    @cached_property
    def background(self) -> Background:
        """What lies behind the vessels in this view."""
        every = torch.arange(self.run.n_frames, device=self.device)
        pan = self.scene.panning(every).abs().amax(0)
        down = float(self.scene.descent(every).abs().max() + pan[1])
        return Background(self.patient, self.scene.carm, (down, float(pan[0])), self.run.panning_mm > 0)

    @cached_property
    def detector(self) -> Detector:
        """Exposure and display of the run."""
        rest = torch.zeros(1, device=self.device)
        reference = self.background.attenuation(rest, rest, torch.zeros(1, 2, device=self.device))[0]
        return Detector(self.patient, self.run, reference)

    def chosen(self, indices: Sequence[int] | None) -> Int[Tensor, " f"]:
        """Frame indices as a tensor; refuses those outside the run."""
        chosen = range(self.run.n_frames) if indices is None else [int(index) for index in indices]
        for index in chosen:
            if not 0 <= index < self.run.n_frames:
                remedy = f"Frames of run {self.run.run_id} are 0 to {self.run.n_frames - 1}"
                raise SettingsError(f"frame {index} is outside the run", field="indices", remedy=remedy)
        return torch.tensor(list(chosen), dtype=torch.long, device=self.device)

    def _batches(self, indices: Sequence[int] | None, batch: int) -> Iterator[Int[Tensor, " f"]]:
        """The frames asked for, ``batch`` at a time."""
        if batch < 1:
            raise SettingsError(f"{batch} is no batch size", field="batch", remedy="Choose 1 or more")
        return iter(self.chosen(indices).split(batch))

    def render(
        self, indices: Sequence[int] | None = None, batch: int = 16, *, vessels: bool = True
    ) -> UInt8[Tensor, "t h w"]:
        """Gray levels of frames, dark vessels on a bright ground.

        Parameters
        ----------
        indices : sequence of int, optional
            Frames of the run in any order; default all.
        batch : int
            Frames computed at once: bounds the memory, changes nothing else.
        vessels : bool
            False erases the tree and leaves everything else as it is: the probe of shortcuts needs such frames.

        Returns
        -------
        uint8 [t, rows, columns]
            On the renderer's device.

        Raises
        ------
        SettingsError
            Naming a frame outside the run.
        """
        frames = [self._expose(part, vessels) for part in self._batches(indices, batch) if len(part)]
        empty = torch.empty(0, self.run.rows, self.run.columns, dtype=torch.uint8, device=self.device)
        return torch.cat(frames) if frames else empty

    def _expose(self, frames: Int[Tensor, " f"], vessels: bool) -> UInt8[Tensor, "f h w"]:
        """One batch of frames."""
        return self.expose(frames, self.scene.disks(frames, vessels).drawn((self.run.rows, self.run.columns)))

    def expose(self, frames: Int[Tensor, " f"], thickness: Float[Tensor, "f h w"]) -> UInt8[Tensor, "f h w"]:
        """Gray levels of frames whose contrast and metal (mm, overwritten) are drawn already."""
        scene = self.scene
        veil = scene.faint(frames).mul_(IODINE)
        attenuation = self.background.attenuation(
            scene.motion.contraction[frames], scene.descent(frames), scene.panning(frames), veil
        )
        return self.detector.expose(attenuation, thickness, frames.cpu().numpy())

    def boxes(self, indices: Sequence[int] | None = None, batch: int = 16) -> pd.DataFrame:
        """Boxes of the visible lesions of frames (``cag.simulator.phantom.truth.lesion_boxes``)."""
        return lesion_boxes(self.scene, self.chosen(indices), batch)

    def lumen_mask(self, indices: Sequence[int] | None = None, batch: int = 16) -> Bool[Tensor, "t h w"]:
        """Where a vessel filled to a quarter of the plateau or more is projected."""
        return torch.cat([self._filled(part) for part in self._batches(indices, batch)])

    def _filled(self, frames: Int[Tensor, " f"]) -> Bool[Tensor, "f h w"]:
        """The mask of one batch of frames."""
        scene, where = self.scene, self.scene.vessels(frames)
        filled = (scene.contrast[frames] > MASK_CONTRAST * self.run.mixing) & (scene.step > 0)
        return splat_mask(where.x, where.y, where.scale * scene.radius, filled, (self.run.rows, self.run.columns))


def render_runs(
    requests: Iterable[tuple[RunRenderer, Sequence[int] | None]], batch: int = 16
) -> Iterator[UInt8[Tensor, "t h w"]]:
    """Frames of several runs, drawn together: what one run leaves of a batch, the next ones fill.

    Parameters
    ----------
    requests : iterable of (RunRenderer, frames)
        Runs of one size on one device, asked for as they are needed: never more than fill a batch are held.
    batch : int
        Frames drawn at once: bounds the memory, changes no pixel.

    Yields
    ------
    uint8 [t, rows, columns]
        For each request in turn, the bytes that ``RunRenderer.render`` gives.

    Raises
    ------
    SettingsError
        If runs differ in size, or a frame is outside its run.
    """
    waiting: list[tuple[RunRenderer, Int[Tensor, " f"]]] = []
    for renderer, indices in requests:
        shape = renderer.run.rows, renderer.run.columns
        if waiting and shape != (waiting[0][0].run.rows, waiting[0][0].run.columns):
            raise SettingsError("runs of different sizes", field="requests", remedy="Render each size by itself")
        waiting.append((renderer, renderer.chosen(indices)))
        if sum(len(frames) for _, frames in waiting) >= batch:
            yield from _drawn_together(waiting, batch)
            waiting = []
    yield from _drawn_together(waiting, batch)


def _drawn_together(
    waiting: Sequence[tuple[RunRenderer, Int[Tensor, " f"]]], batch: int
) -> Iterator[UInt8[Tensor, "t h w"]]:
    """Exposed frames of each run; runs longer than a batch are drawn by themselves."""
    small = [(renderer, frames) for renderer, frames in waiting if 0 < len(frames) < batch]
    drawn: dict[int, Float[Tensor, "f h w"]] = {}
    if small:
        shape = (small[0][0].run.rows, small[0][0].run.columns)
        whole = Disks.stacked([renderer.scene.disks(frames) for renderer, frames in small]).drawn(shape)
        parts = whole.split([len(frames) for _, frames in small])
        drawn = {id(frames): part for (_, frames), part in zip(small, parts, strict=True)}
    for renderer, frames in waiting:
        if id(frames) in drawn:
            yield renderer.expose(frames, drawn[id(frames)].contiguous())
        else:
            yield renderer.render(frames.tolist(), batch)
