"""Reading speed: a study end to end against the bare networks on the same frames.

Run ``python benchmarks/reading.py STUDY --models results/demo``. It prints frames a second and seconds for
(a) ``cag.chapters.reading.read_study``: finding, decoding, burned-in text, resizing, image quality, networks,
heatmaps, boxes, results; and (b), the floor, the networks alone on the same frames, already decoded and resized:
features of every frame, sequence model, artery triage, trunk maps, classifiers and detector of the chosen ones, of the
same folds. The heatmaps' backward pass is not part of the floor. Both take turns, so that a busy machine slows both,
and the fastest round of each counts; processor time is what a busy machine disturbs least. Then each part of (a) is
timed by itself.
The aim is at most 1.25 times (b).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from cag.anatomy import NO_STANDARD_VIEW, VIEWS
from cag.chapters.frames.baselines import frame_curves
from cag.chapters.frames.reading import frame_probability, sequence_probability
from cag.chapters.frames.training import pooled_features
from cag.chapters.reading.models import ReadingModels, load_models
from cag.chapters.reading.run import SHOWN_SIDE, RunReading, TrunkMaps, classify, find_boxes, probabilities
from cag.chapters.reading.study import StudyReading, read_study
from cag.data.frames import shrink
from cag.data.study import study_files

_KEY = b"a key for measurements only, 32b"


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of a call, the device's work included."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


class Prepared:
    """A run's frames at the networks' sizes."""

    def __init__(self, run: RunReading, frames: Tensor, models: ReadingModels, fold: int | None) -> None:
        self.run, self.frames, self.fold = run, frames, fold
        self.chosen = frames[torch.from_numpy(run.finding.candidates)]
        self.selected = shrink(frames, models.selector.settings.image_size)
        self.triaged = shrink(self.chosen, models.selector.settings.image_size)
        self.classified = shrink(self.chosen, models.image_size)
        self.localized = shrink(self.chosen, models.parts["localization"].settings["image_size"])


def networks(prepared: Prepared, models: ReadingModels) -> None:
    """Every network that reading the run asks, and nothing else."""
    run, selector, device = prepared.run, models.selector, models.device
    if not len(run.finding.probability):
        return
    pooled = pooled_features(selector.classifier, prepared.selected, device)
    sequence_probability(selector.sequence, pooled, device)
    frame_probability(selector.head, pooled, device)
    if not len(prepared.chosen):
        return
    pooled_features(selector.classifier, prepared.triaged, device)
    maps = TrunkMaps(prepared.localized, device)
    detector, _ = models.detector(prepared.fold)
    size = models.parts["localization"].settings["image_size"]
    detector.detect(maps.stages(detector.trunk, size), size)
    if run.view != NO_STANDARD_VIEW:
        maps = maps if size == models.image_size else TrunkMaps(prepared.classified, device)
        for system in (2, 3):
            classifiers = models.classifiers(system, VIEWS[run.view].model, prepared.fold)
            if classifiers:
                probabilities(classifiers, maps, models.image_size)


def all_networks(prepared: list[Prepared], models: ReadingModels) -> None:
    """The networks of every run."""
    for own in prepared:
        networks(own, models)


def parts(study: Path, prepared: list[Prepared], models: ReadingModels) -> dict[str, float]:
    """Seconds of each part of reading by itself."""
    heated = [own for own in prepared if own.run.heatmaps is not None]
    maps = {id(own): TrunkMaps(own.chosen, models.device) for own in prepared if len(own.chosen)}
    for own in prepared:
        if len(own.chosen):
            find_boxes(maps[id(own)], own.run.finding.candidates, models, own.fold)
            if own in heated:
                classify(maps[id(own)], own.run.view, models, own.fold)
    return {
        "find, decode, burned-in text": seconds(lambda: list(study_files(study, _KEY, progress=False))),
        "resize for the frame selector": seconds(
            lambda: [shrink(own.frames, models.selector.settings.image_size) for own in prepared]
        ),
        "image quality": seconds(lambda: [frame_curves(own.frames) for own in prepared]),
        "small copy for looking": seconds(lambda: [shrink(own.frames, SHOWN_SIDE) for own in prepared]),
        "networks": seconds(lambda: all_networks(prepared, models)),
        "detector's head and boxes": seconds(
            lambda: [
                find_boxes(maps[id(own)], own.run.finding.candidates, models, own.fold)
                for own in prepared
                if id(own) in maps
            ]
        ),
        "classifiers' heads and heatmaps": seconds(
            lambda: [classify(maps[id(own)], own.run.view, models, own.fold) for own in heated]
        ),
    }


def main(
    study: Annotated[Path, typer.Argument(help="folder with DICOM files")],
    models: Annotated[Path, typer.Option(help="results folder of a study that was run")],
    rounds: Annotated[int, typer.Option(help="rounds; the fastest of each counts")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Print rates, the ratio, and the breakdown."""
    opened = load_models(models, device=device)
    reading: StudyReading = read_study(study, opened, key=_KEY, progress=False)
    cines = {str(file.cine.run_id): file.cine for file in study_files(study, _KEY, progress=False) if file.cine}
    folds = {patient: own.fold if own else None for patient, own in reading.known.items()}
    prepared = [
        Prepared(run, torch.from_numpy(cines[str(run.cine.run_id)].frames), opened, folds[str(run.cine.patient_id)])
        for run in reading.runs
    ]
    count = sum(len(own.frames) for own in prepared)
    whole, bare, processor = [], [], []
    for _ in range(rounds):
        start = time.process_time()
        whole.append(seconds(lambda: read_study(study, opened, key=_KEY, progress=False)))
        middle = time.process_time()
        bare.append(seconds(lambda: all_networks(prepared, opened)))
        processor.append((middle - start, time.process_time() - middle))
    typer.echo(f"{len(prepared)} runs, {count} frames, {torch.get_num_threads()} threads, device {device}")
    typer.echo(f"end to end {min(whole):6.2f} s, {count / min(whole):6.1f} frames/s")
    typer.echo(f"networks   {min(bare):6.2f} s, {count / min(bare):6.1f} frames/s")
    busy = min(one for one, _ in processor) / min(one for _, one in processor)
    typer.echo(f"ratio      {min(whole) / min(bare):6.2f}, of processor time {busy:.2f}")
    for name, value in parts(study, prepared, opened).items():
        typer.echo(f"  {name:32} {value:6.2f} s")


if __name__ == "__main__":
    typer.run(main)
