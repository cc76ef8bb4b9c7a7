"""Runs that no simulator made, read by the frame selector that was trained on simulated ones."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8

from cag.chapters.frames.reading import FrameFinding, FrameSelector, find_interval
from cag.data.study import study_files
from cag.networks.frame_selector import IntervalRule

#: The variable that names the folder of public sets, and the folder of DICOM runs in it.
VARIABLE, FOLDER = "CAG_DATA", "dicom_xa"
READER = "the authors, from the frames"


@dataclass(frozen=True)
class Reading:
    """Which frames of a run are visibly filled, as read by eye; no reference standard.

    Attributes
    ----------
    name : str
    begin : (earliest, latest)
        Frames between which the proximal and middle artery become opaque, the event that the
        simulator's truth is made of; the width is the reader's uncertainty.
    complete : int
        First frame in which the branches are filled to their ends.
    end : int
        Last filled frame.
    reader : str
    """

    name: str
    begin: tuple[int, int]
    complete: int
    end: int
    reader: str = READER


#: Readings by the SHA-256 of the run's file. The artery of the first run is still full when its recording
#: stops; the others show a static model, full throughout.
READINGS = {
    "ee1fcf71fecb6a8aee3b1219388cc7ded40a804056a7647674ba1a77b797ae8e": Reading("right artery", (20, 25), 35, 95),
    "a08453908ed87f3a1100d19bb1f366d184d97d06a0aa906ee43b00196a14bc82": Reading("static model A", (0, 0), 0, 8),
    "59a105b92a6dce4a51ad4feba7adff363a891ba0cf7899ed54c181294c0c6223": Reading("static model B", (0, 0), 0, 7),
}


@dataclass(frozen=True)
class RealRun:
    """A run, what the selector found in it, and what was read by eye, where that was done.

    Attributes
    ----------
    name : str
        Of the reading, or a running number: file names may identify patients.
    fps : float or None
    frames : array of uint8, shape (t, h, w)
    rule : {'longest', 'mass'}
        How the selector reads an interval.
    """

    name: str
    fps: float | None
    frames: UInt8[np.ndarray, "t h w"]
    finding: FrameFinding
    reading: Reading | None
    rule: IntervalRule


def real_folder() -> Path | None:
    """The folder of real runs that the environment names; None where there is none."""
    named = os.environ.get(VARIABLE)
    folder = Path(named) / FOLDER if named else None
    return folder if folder is not None and folder.is_dir() else None


def read_real_runs(selector: FrameSelector, folder: Path | None) -> list[RealRun]:
    """Read every X-ray angiographic run of a folder by the trained selector; those read by eye come first.

    Files that are no such runs, or that show a single frame, are left out. None gives an empty list.
    """
    if folder is None or not any(folder.iterdir()):
        return []
    runs: list[RealRun] = []
    for file in study_files(folder, secrets.token_bytes(32), progress=False):
        if file.cine is None or file.cine.n_frames < 2:
            continue
        reading = READINGS.get(file.sha256)
        name = reading.name if reading else f"run {len(runs) + 1}"
        finding = find_interval(torch.from_numpy(file.cine.frames), selector)
        runs.append(RealRun(name, file.cine.fps, file.cine.frames, finding, reading, selector.settings.rule))
    order = {reading.name: place for place, reading in enumerate(READINGS.values())}
    return sorted(runs, key=lambda run: order.get(run.name, len(order)))


def real_frames(runs: Sequence[RealRun]) -> pd.DataFrame:
    """Predictions, a row a frame of each run.

    Returns
    -------
    DataFrame
        ``run, fps, frame, probability, frame_probability, sequence_probability, found, candidate`` and
        ``filled`` (frames between the latest begin and the end of the reading), ``complete`` (from its
        first complete frame on); the last two missing where nobody read.
    """
    columns = ["run", "fps", "frame", "probability", "frame_probability", "sequence_probability", "still"]
    columns += ["found", "candidate", "filled", "complete"]
    return pd.concat([_frames_of(run) for run in runs], ignore_index=True)[columns] if runs else pd.DataFrame()


def _frames_of(run: RealRun) -> pd.DataFrame:
    frame, finding = np.arange(len(run.frames)), run.finding
    begin, end = finding.interval or (1, 0)
    curves = {
        name: curve if len(curve) else np.full(len(frame), np.nan)
        for name in ("probability", "frame_probability", "sequence_probability")
        for curve in [getattr(finding, name)]
    }
    filled = complete = np.full(len(frame), None, dtype=object)
    if run.reading is not None:
        filled = (frame >= run.reading.begin[1]) & (frame <= run.reading.end)
        complete = filled & (frame >= run.reading.complete)
    own = {"found": (frame >= begin) & (frame <= end), "candidate": np.isin(frame, finding.candidates)}
    table = pd.DataFrame({"frame": frame, **curves, **own})
    return table.assign(
        run=run.name,
        fps=run.fps,
        still=finding.still,
        filled=pd.array(filled, dtype="boolean"),
        complete=pd.array(complete, dtype="boolean"),
    )
