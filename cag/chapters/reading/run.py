"""Reading one run, step by step: frames, artery and view, probabilities, boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
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
    """What was found in one run."""

    cine: Cine  #: Header and pseudonyms of the run, and its frames, small.
    finding: FrameFinding  #: Contrast probability of every frame, interval, chosen frames.
    frames: UInt8[np.ndarray, "k h w"]  #: The chosen frames.
    images: pd.DataFrame  #: A row a chosen frame: ``frame, p_contrast``, and where classified those of ``classify``.
    boxes: pd.DataFrame  #: See ``find_boxes``.
    artery: Artery | None = None
    p_right: float = float("nan")  #: Probability of the right artery; NaN where the artery was given or not asked.
    view: str = NO_STANDARD_VIEW
    reason: str = ""  #: Why the run does not take part in the result; empty where it does.
    heatmaps: UInt8[np.ndarray, "k s s"] | None = None  #: See ``classify``.
    number: int = 0  #: Place among the study's runs, from 1.
    file: str = ""  #: Pseudonym of the file's name.
    notes: tuple[str, ...] = ()  #: What else a reader must know, such as text found in the picture.


def read_run(cine: Cine, models: ReadingModels, *, fold: int | None = None, artery: Artery | None = None) -> RunReading:
    """Read one run; ``fold`` takes the networks that have not seen this fold's patients, all by default."""
    frames = torch.from_numpy(cine.frames)
    finding = find_interval(frames, models.selector)
    chosen = frames[torch.from_numpy(finding.candidates)]
    images = pd.DataFrame({"frame": finding.candidates, "p_contrast": finding.probability[finding.candidates]})
    no_box = pd.DataFrame(columns=["frame", *CORNERS, "score"], dtype=float).astype({"frame": int})
    small = replace(cine, frames=shrink(frames, SHOWN_SIDE).numpy())
    run = RunReading(small, finding, chosen.numpy(), images, no_box.assign(counts=False), artery, reason=finding.reason)
    if not len(chosen):
        return run
    if artery is None:
        p_right = right_probability(cine, chosen, models, fold)
        run = replace(run, p_right=p_right, artery="RCA" if p_right >= 0.5 else "LCA")
    view = view_from_angles(cine.primary_angle, cine.secondary_angle, run.artery)
    maps = TrunkMaps(chosen, models.device)
    run = replace(run, view=view, boxes=find_boxes(maps, finding.candidates, models, fold))
    classified = classify(maps, view, models, fold)
    if classified is None:
        untrained = view != NO_STANDARD_VIEW
        reason = f"No classifier was trained for {VIEWS[view].model}." if untrained else _no_view(cine, run.artery)
        return replace(run, reason=reason)
    return replace(run, images=images.join(classified[0]), heatmaps=classified[1])


def right_probability(cine: Cine, chosen: UInt8[Tensor, "k h w"], models: ReadingModels, fold: int | None) -> float:
    """Probability, 0 to 1, that a run shows the right artery, by its chosen frames and its C-arm angles."""
    small = shrink(chosen, models.selector.settings.image_size)
    pooled = pooled_features(models.selector.classifier, small, models.device)
    return models.triage.right(pooled, angle_class(cine.primary_angle, cine.secondary_angle), fold)


class TrunkMaps:
    """Feature maps of a run's chosen frames, computed once for each trunk and image size."""

    def __init__(self, frames: UInt8[Tensor, "k h w"], device: str) -> None:
        self._frames, self._runtime = frames, Runtime.choose(device)
        self._stages: dict[tuple[int, int], dict[str, Tensor]] = {}
        self.height, self.width = frames.shape[-2:]

    @torch.no_grad()
    def stages(self, trunk: Trunk, size: int) -> dict[str, Float[Tensor, "k c y x"]]:
        """The trunk's three maps of the frames at ``size`` x ``size`` pixels, in single precision."""
        key = (id(trunk), size)
        if key not in self._stages:
            trunk.eval().to(self._runtime.device)
            images = scale(shrink(self._frames, size).to(self._runtime.device))
            with self._runtime.autocast():
                self._stages[key] = {name: own.float() for name, own in trunk.stages(images).items()}
        return self._stages[key]


def classify(
    maps: TrunkMaps, view: str, models: ReadingModels, fold: int | None
) -> tuple[pd.DataFrame, UInt8[np.ndarray, "k s s"]] | None:
    """Probabilities of each chosen frame, and where the classifiers see a stenosis; None where the view has none.

    Returns
    -------
    images, heatmaps
        ``score`` (a stenosis of 25 % or more), ``p_redundant`` (no contrast) and ``p3_0 .. p3_2`` (three categories,
        where trained), 0 to 1; class activation, 0-255. Means of the classifiers.
    """
    if view == NO_STANDARD_VIEW:
        return None
    name, size = VIEWS[view].model, models.image_size
    two, three = (models.classifiers(count, name, fold) for count in (2, 3))
    if not two:
        return None
    clean, redundant = probabilities(two, maps, size)
    images = pd.DataFrame({"score": clean[:, 1], "p_redundant": redundant})
    if three:
        images[["p3_0", "p3_1", "p3_2"]] = probabilities(three, maps, size)[0]
    cells = [activation_from_maps(own.head, maps.stages(own.trunk, size)[STAGES[-1]], [1]) for own in two]
    heatmaps = enlarge_activation(np.mean(cells, axis=0), size, size, two[0].trunk)
    return images, (heatmaps * 255).round().astype(np.uint8)


def probabilities(
    classifiers: Sequence[StenosisClassifier], maps: TrunkMaps, size: int
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, " n"]]:
    """Mean probabilities of the categories, the redundant class dropped, and that class's own mean."""
    clean, redundant = [], []
    for model in classifiers:
        last = maps.stages(model.trunk, size)[STAGES[-1]]
        with torch.no_grad():
            outputs = model.head.eval().to(last.device)(last).softmax(dim=1).double().cpu().numpy()
        clean.append(scored(outputs[:, :-1], outputs[:, -1], "clean").probabilities)
        redundant.append(outputs[:, -1])
    return np.mean(clean, axis=0), np.mean(redundant, axis=0)


def find_boxes(maps: TrunkMaps, frames: Int[np.ndarray, " k"], models: ReadingModels, fold: int | None) -> pd.DataFrame:
    """Boxes at or above the detector's operating score, else the best one of a frame.

    Returns
    -------
    DataFrame
        ``frame, x1, y1, x2, y2, score`` in pixels of the stored frame, and ``counts``: whether the score reaches
        the operating point.
    """
    detector, threshold = models.detector(fold)
    size = models.parts["localization"].settings["image_size"]
    stages = maps.stages(detector.trunk, size)
    found = detector.eval().to(next(iter(stages.values())).device).detect(stages, size)
    factor = np.array([maps.width, maps.height] * 2) / size
    tables = [
        pd.DataFrame(own["boxes"].float().numpy() * factor, columns=CORNERS).assign(
            frame=frame, score=own["scores"].float().numpy()
        )
        for frame, own in zip(frames, found, strict=True)
    ]
    table = pd.concat(tables, ignore_index=True)[["frame", *CORNERS, "score"]]
    table = table.assign(counts=table.score >= threshold)
    best = table.groupby("frame").score.rank(ascending=False, method="first") == 1
    return table[table.counts | best].reset_index(drop=True)


def _no_view(cine: Cine, artery: Artery | None) -> str:
    if cine.primary_angle is None or cine.secondary_angle is None:
        return "The file gives no C-arm angles, so no view and no classifier can be assigned."
    other: Artery = "LCA" if artery == "RCA" else "RCA"
    view = view_from_angles(cine.primary_angle, cine.secondary_angle, other)
    hint = f" (for the {other} it would be {view})" if view != NO_STANDARD_VIEW else ""
    angles = f"{cine.primary_angle:g}/{cine.secondary_angle:g} degrees"
    return f"C-arm angles {angles} are no standard view of the {artery}{hint}, so no classifier reads it."
