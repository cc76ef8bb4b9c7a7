"""Runs that no simulator made, read by the frame selector that was trained on simulated ones.

``real_runs.csv`` holds which frames are visibly filled, as read by eye; no reference standard. ``begin_earliest`` and
``begin_latest`` are frames between which the proximal and middle artery become opaque, the event that the simulator's
truth is made of; ``complete`` is the first frame with filled branches, ``end`` the last filled one.
"""

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
from cag.metrics.frame_selection import ACCEPTED_FRAMES
from cag.networks.frame_selector import interval_from_probabilities

#: The variable that names the folder of public sets, and the folder of DICOM runs in it.
VARIABLE, FOLDER = "CAG_DATA", "dicom_xa"


@dataclass(frozen=True)
class RealRun:
    """A run, what the selector found in it, and its row of ``real_runs.csv``, None where nobody read it."""

    name: str
    fps: float | None
    frames: UInt8[np.ndarray, "t h w"]
    finding: FrameFinding
    reading: pd.Series | None


def eye_readings() -> pd.DataFrame:
    """The readings by eye, by the SHA-256 of the run's file."""
    return pd.read_csv(Path(__file__).with_suffix(".csv"), index_col="sha256")


def real_folder() -> Path | None:
    """The folder of real runs that the environment names; None where there is none."""
    named = os.environ.get(VARIABLE)
    folder = Path(named) / FOLDER if named else None
    return folder if folder is not None and folder.is_dir() else None


def read_real_runs(selector: FrameSelector, folder: Path | None) -> list[RealRun]:
    """Read every X-ray angiographic run of a folder by the trained selector; those read by eye come first.

    Files that are no such runs, or that show a single frame, are left out. A run that nobody read has a running number
    for a name, since file names may identify patients. None gives an empty list.
    """
    readings = {str(row.name): row for _, row in eye_readings().iterrows()}
    runs: list[RealRun] = []
    files = study_files(folder, secrets.token_bytes(32), progress=False) if folder and any(folder.iterdir()) else ()
    for file in files:
        if file.cine is not None and file.cine.n_frames > 1:
            reading = readings.get(file.sha256)
            name = f"run {len(runs) + 1}" if reading is None else str(reading["name"])
            finding = find_interval(torch.from_numpy(file.cine.frames), selector)
            runs.append(RealRun(name, file.cine.fps, file.cine.frames, finding, reading))
    order = {name: place for place, name in enumerate(str(row["name"]) for row in readings.values())}
    return sorted(runs, key=lambda run: order.get(run.name, len(order)))


def real_summary(runs: Sequence[RealRun], selector: FrameSelector) -> pd.DataFrame:
    """One row a run: what was read by eye, what the selector and the biLSTM by itself found, and how they agree.

    Returns
    -------
    DataFrame
        ``run, frames, filled_by_eye, found, bilstm_alone`` (texts), ``still``, ``begin_off, end_off`` (found minus read
        in frames, 0 within the reader's uncertainty), ``agrees`` (both within 3 frames), ``candidates`` and how many of
        them are ``filled`` and ``complete``; missing where nobody read or nothing was found.
    """
    return pd.DataFrame([_summary(run, selector) for run in runs])


def _summary(run: RealRun, selector: FrameSelector) -> dict[str, object]:
    finding, reading = run.finding, run.reading
    curve = finding.sequence_probability
    alone = interval_from_probabilities(curve, selector.settings.rule) if len(curve) else None
    texts = {"filled_by_eye": "not read", "found": _text(finding.interval), "bilstm_alone": _text(alone)}
    off: dict[str, object] = {"still": finding.still, "begin_off": np.nan, "end_off": np.nan, "agrees": None}
    chosen = finding.candidates
    inside: dict[str, object] = {"candidates": len(chosen), "filled": np.nan, "complete": np.nan}
    if reading is not None:
        first, last = int(reading.begin_earliest), int(reading.begin_latest)
        texts["filled_by_eye"] = f"{first if first == last else f'{first}-{last}'} to {reading.end}"
        in_time = chosen[(chosen >= last) & (chosen <= reading.end)]
        inside |= {"filled": len(in_time), "complete": int((in_time >= reading.complete).sum())}
        off["agrees"] = False
        if finding.interval is not None:
            begin, end = finding.interval
            off |= {"begin_off": begin - int(np.clip(begin, first, last)), "end_off": end - int(reading.end)}
            off["agrees"] = max(abs(off[name]) for name in ("begin_off", "end_off")) <= ACCEPTED_FRAMES  # type: ignore[arg-type]
    return {"run": run.name, "frames": len(run.frames), **texts, **off, **inside}


def _text(interval: tuple[int, int] | None) -> str:
    return "none" if interval is None else f"{interval[0]} to {interval[1]}"
