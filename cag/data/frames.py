"""Frames of a table's rows as one tensor of squares."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor
from tqdm import tqdm

from cag.data.cohort import Cohort


def load_frames(cohort: Cohort, samples: pd.DataFrame, size: int, progress: bool = True) -> UInt8[Tensor, "n s s"]:
    """Frames of the samples as squares, antialiased, in the order of the samples.

    ``samples`` has ``run_id`` and ``frame`` (0-based), one image a row, repetitions allowed. Each run is opened once.
    Frames that are not square are stretched; boxes follow by scaling x by ``size / columns`` and y by ``size / rows``.
    """
    images = torch.empty(len(samples), size, size, dtype=torch.uint8)
    positions = samples.reset_index(drop=True).groupby("run_id", sort=False).indices
    wanted = samples["frame"].to_numpy()
    chosen = {str(run_id): np.unique(wanted[rows], return_inverse=True) for run_id, rows in positions.items()}
    stored = cohort.frames_of_runs((run_id, frames.tolist()) for run_id, (frames, _) in chosen.items())
    bar = tqdm(positions.values(), desc="Frames", unit="run", disable=not progress)
    for rows, (_, place), frames in zip(bar, chosen.values(), stored, strict=True):
        images[torch.as_tensor(rows)] = shrink(frames, size)[torch.as_tensor(place)]
    return images


def shrink(frames: UInt8[Tensor, "t h w"], size: int) -> UInt8[Tensor, "t s s"]:
    """Resize to ``size`` x ``size`` pixels with antialiasing; the pixel grid's edges stay where they are."""
    if frames.shape[-2:] == (size, size):
        return frames.cpu()
    resized = F.interpolate(frames[:, None].float(), size=(size, size), mode="bilinear", antialias=True)
    return resized[:, 0].round().clamp(0, 255).to(torch.uint8).cpu()
