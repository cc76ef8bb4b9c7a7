"""Reading one run: interval and frames, artery and view, probabilities, heatmaps, boxes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from cag.anatomy import NO_STANDARD_VIEW, VIEWS, Artery, view_from_angles
from cag.chapters.frames.reading import FrameFinding, find_interval
from cag.chapters.frames.training import pooled_features
from cag.chapters.reading.models import ReadingModels
from cag.chapters.reading.triage import angle_class
from cag.data.dicom import Cine
from cag.data.frames import shrink
from cag.metrics.boxes import CORNERS
from cag.metrics.classification import scored
from cag.networks.cam import activation_from_maps, enlarge_activation
from cag.networks.classifier import StenosisClassifier
from cag.networks.training import Runtime
from cag.networks.transforms import scale
from cag.networks.trunk import STAGES, Trunk

#: Side, in pixels, of the small copy of a run that is kept for looking through it.
SHOWN_SIDE = 192


@dataclass(frozen=True)
class RunReading:
    """What was found in one run.

    Attributes
    ----------
    number : int
        Place among the study's runs, from 1.
    file : str
        Pseudonym of the file's name.
    patient_id, study_id, run_id : str
        Pseudonyms.
    n_frames, fps, primary_angle, secondary_angle
        From the header; None where it does not tell.
    finding : FrameFinding
        Contrast probability of every frame, interval, chosen frames.
    artery : Artery or None
    p_right : float
        Probability that the run shows the right artery; NaN where it was given or not asked.
    view : str
        A standard view, or ``NO_STANDARD_VIEW``.
    reason : str
        Why the run does not take part in the result; empty where it does.
    images : DataFrame
        A row a chosen frame: ``frame, p_contrast``, and where classified ``score, p_redundant``, ``p3_0 .. p3_2``.
    boxes : DataFrame
        ``frame, x1, y1, x2, y2, score`` in pixels of the stored frame, and ``counts``: whether the score
        reaches the operating point. Of a frame without such a box the best one is kept.
    frames : UInt8[k, h, w]
        The chosen frames.
    heatmaps : UInt8[k, s, s] or None
        Class activation of a stenosis, 0-255, mean of the classifiers.
    cine : UInt8[t, SHOWN_SIDE, SHOWN_SIDE]
        The whole run, small, for looking through it.
    plane : str
        ``A`` or ``B`` of a biplane run, else empty.
    notes : tuple of str
        What else a reader must know, such as text found in the picture.
    """

    number: int
    file: str
    patient_id: str
    study_id: str
    run_id: str
    n_frames: int
    fps: float | None
    primary_angle: float | None
    secondary_angle: float | None
    finding: FrameFinding
    artery: Artery | None
    p_right: float
    view: str
    reason: str
    images: pd.DataFrame
    boxes: pd.DataFrame
    frames: UInt8[np.ndarray, "k h w"]
    heatmaps: UInt8[np.ndarray, "k s s"] | None
    cine: UInt8[np.ndarray, "t s s"]
    plane: str = ""
    notes: tuple[str, ...] = ()


def read_run(cine: Cine, models: ReadingModels, *, fold: int | None = None, artery: Artery | None = None) -> RunReading:
    """Read one run: interval and frames, artery and view, probabilities, heatmaps, boxes.

    Parameters
    ----------
    fold : int, optional
        Use the networks that have not seen this fold's patients; all by default.
    """
    frames = torch.from_numpy(cine.frames)
    with ThreadPoolExecutor(max_workers=1) as beside:  # while the networks work
        small = beside.submit(shrink, frames, SHOWN_SIDE)
        finding = find_interval(frames, models.selector)
    chosen = frames[torch.from_numpy(finding.candidates)]
    empty = pd.DataFrame(columns=["frame", *CORNERS, "score"], dtype=float).astype({"frame": int}).assign(counts=False)
    blank = RunReading(
        number=0,
        file="",
        patient_id=str(cine.patient_id),
        study_id=str(cine.study_id),
        run_id=str(cine.run_id),
        n_frames=cine.n_frames,
        fps=cine.fps,
        primary_angle=cine.primary_angle,
        secondary_angle=cine.secondary_angle,
        finding=finding,
        artery=artery,
        p_right=float("nan"),
        view=NO_STANDARD_VIEW,
        reason=finding.reason,
        images=pd.DataFrame({"frame": finding.candidates, "p_contrast": finding.probability[finding.candidates]}),
        boxes=empty,
        frames=chosen.numpy(),
        heatmaps=None,
        cine=small.result().numpy(),
        plane=cine.plane,
    )
    return _analyzed(blank, chosen, models, fold) if len(chosen) else blank


def _analyzed(run: RunReading, chosen: UInt8[Tensor, "k h w"], models: ReadingModels, fold: int | None) -> RunReading:
    """The run with artery, view, boxes and, in a standard view, probabilities and heatmaps."""
    p_right, artery = float("nan"), run.artery
    if artery is None:
        selector = models.selector
        small = shrink(chosen, selector.settings.image_size)
        pooled = pooled_features(selector.classifier, small, models.device)
        p_right = models.triage.right(pooled, angle_class(run.primary_angle, run.secondary_angle), fold)
        artery = "RCA" if p_right >= 0.5 else "LCA"
    view = view_from_angles(run.primary_angle, run.secondary_angle, artery)
    maps = TrunkMaps(chosen, models.device)
    run = replace(run, artery=artery, p_right=p_right, view=view, boxes=_boxes(run, maps, models, fold))
    if view == NO_STANDARD_VIEW:
        return replace(run, reason=_no_view(run))
    two = models.classifiers(2, VIEWS[view].model, fold)
    if not two:
        return replace(run, reason=f"No classifier was trained for {VIEWS[view].model}.")
    size = models.image_size
    score, redundant = probabilities(two, maps, size)
    images = run.images.assign(score=score[:, 1], p_redundant=redundant)
    three = models.classifiers(3, VIEWS[view].model, fold)
    if three:
        occluded, _ = probabilities(three, maps, size)
        images = images.assign(**{f"p3_{category}": occluded[:, category] for category in range(3)})
    return replace(run, images=images, heatmaps=_heatmaps(two, maps, size))


class TrunkMaps:
    """Feature maps of a run's chosen frames, computed once for each trunk and image size."""

    def __init__(self, frames: UInt8[Tensor, "k h w"], device: str) -> None:
        self._frames, self._runtime = frames, Runtime.choose(device)
        self._stages: dict[tuple[int, int], dict[str, Tensor]] = {}

    @torch.no_grad()
    def stages(self, trunk: Trunk, size: int) -> dict[str, Float[Tensor, "k c y x"]]:
        """The trunk's three maps of the frames at ``size`` x ``size`` pixels."""
        key = (id(trunk), size)
        if key not in self._stages:
            trunk.eval().to(self._runtime.device)
            images = scale(shrink(self._frames, size).to(self._runtime.device))
            with self._runtime.autocast():
                self._stages[key] = trunk.stages(images)
        return self._stages[key]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the stored frames."""
        return self._frames.shape[-2], self._frames.shape[-1]


def probabilities(
    classifiers: Sequence[StenosisClassifier], maps: TrunkMaps, size: int
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, " n"]]:
    """Mean probabilities of the categories, the redundant class dropped, and that class's own mean."""
    clean, redundant = [], []
    for model in classifiers:
        last = maps.stages(model.trunk, size)[STAGES[-1]].float()
        with torch.no_grad():
            outputs = model.head.eval().to(last.device)(last).softmax(dim=1).double().cpu().numpy()
        clean.append(scored(outputs[:, :-1], outputs[:, -1], "clean").probabilities)
        redundant.append(outputs[:, -1])
    return np.mean(clean, axis=0), np.mean(redundant, axis=0)


def _heatmaps(classifiers: Sequence[StenosisClassifier], maps: TrunkMaps, size: int) -> UInt8[np.ndarray, "k s s"]:
    """Mean class activation of the stenosis category, put where the trunk's cells look."""
    trunk = classifiers[0].trunk
    cells = [
        activation_from_maps(model.head, maps.stages(model.trunk, size)[STAGES[-1]].float(), 1) for model in classifiers
    ]
    return (enlarge_activation(np.mean(cells, axis=0), size, size, trunk) * 255).round().astype(np.uint8)


def _boxes(run: RunReading, maps: TrunkMaps, models: ReadingModels, fold: int | None) -> pd.DataFrame:
    """Boxes at or above the detector's operating score, else the best of a frame, in pixels of the stored frame."""
    detector, threshold = models.detector(fold)
    size = models.localization.image_size
    stages = maps.stages(detector.trunk, size)
    detector.eval().to(next(iter(stages.values())).device)
    found = detector.detect_from_maps({name: value.float() for name, value in stages.items()}, size)
    height, width = maps.shape
    factor = np.array([width, height, width, height]) / size
    tables = [
        pd.DataFrame(own["boxes"].float().numpy() * factor, columns=CORNERS).assign(
            frame=frame, score=own["scores"].float().numpy()
        )
        for frame, own in zip(run.finding.candidates, found, strict=True)
    ]
    table = pd.concat(tables, ignore_index=True)[["frame", *CORNERS, "score"]]
    table = table.assign(counts=table.score >= threshold)
    best = table.groupby("frame").score.rank(ascending=False, method="first") == 1
    return table[table.counts | best].reset_index(drop=True)


def _no_view(run: RunReading) -> str:
    if run.primary_angle is None or run.secondary_angle is None:
        return "The file gives no C-arm angles, so no view and no classifier can be assigned."
    other: Artery = "LCA" if run.artery == "RCA" else "RCA"
    view = view_from_angles(run.primary_angle, run.secondary_angle, other)
    hint = f" (for the {other} it would be {view})" if view != NO_STANDARD_VIEW else ""
    angles = f"{run.primary_angle:g}/{run.secondary_angle:g} degrees"
    return f"C-arm angles {angles} are no standard view of the {run.artery}{hint}, so no classifier reads it."
