"""A simulated population for pre-training, disjoint from the study's patients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, UInt8
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from cag.anatomy import ARTERIES, VIEWS
from cag.data.frames import shrink
from cag.settings import Settings
from cag.simulator.phantom.cohort import CohortSettings, plan_cohort
from cag.simulator.phantom.plan import PatientPlan, RunPlan
from cag.simulator.phantom.run import RunRenderer

#: Lesions kept for one frame, worst first.
MAX_BOXES = 8

#: Resolution of the stored lumen mask, as a share of the image's.
LUMEN_SHARE = 2

_PREFIX = "pre-"
_CHUNK_PATIENTS = 10


class PopulationSettings(Settings):
    """Whom to simulate for pre-training and which frames to keep.

    Attributes
    ----------
    patients : int
    seed : int, >= 1000
        The study's own cohorts are drawn with seeds below 1000, so that no patient is in both.
    image_size : int
        Pixels of the stored frames.
    runs_per_patient : int
        Drawn from the runs that the patient's plan holds.
    contrast_frames, background_frames : int
        Frames of a run inside and outside its contrast interval.
    """

    patients: int = Field(default=350, ge=4)
    seed: int = Field(default=20_000, ge=1000)
    image_size: int = Field(default=256, ge=80, multiple_of=16)
    runs_per_patient: int = Field(default=4, ge=1)
    contrast_frames: int = Field(default=3, ge=1)
    background_frames: int = Field(default=1, ge=0)


@dataclass(frozen=True)
class Population:
    """Frames with their targets, one entry a frame.

    Attributes
    ----------
    frames : UInt8 [n, s, s]
    lumen : UInt8 [n, s/2, s/2]
        Share of lumen, 0 to 255.
    boxes, percent : Float [n, MAX_BOXES, 4] and [n, MAX_BOXES]
        Visible lesions in pixels of ``frames``, worst first, NaN where there are fewer; percent stenosis.
    contrast : Bool [n]
        Whether the frame lies in the contrast interval.
    artery, view : Int [n]
        Index into ``ARTERIES`` and ``VIEWS``; -1 for no standard view.
    patient : Int [n]
        Number of the patient.
    """

    frames: UInt8[Tensor, "n s s"]
    lumen: UInt8[Tensor, "n m m"]
    boxes: Float[Tensor, "n k 4"]
    percent: Float[Tensor, "n k"]
    contrast: Bool[Tensor, " n"]
    artery: Int[Tensor, " n"]
    view: Int[Tensor, " n"]
    patient: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.frames)

    def tensors(self) -> dict[str, Tensor]:
        """All fields by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def take(self, rows: Tensor) -> Population:
        """The entries at these indices, or where this mask is true."""
        return Population(**{name: tensor[rows] for name, tensor in self.tensors().items()})

    @classmethod
    def join(cls, parts: Sequence[Population]) -> Population:
        """Parts one after another."""
        return cls(**{item.name: torch.cat([getattr(part, item.name) for part in parts]) for item in fields(cls)})

    def split(self, share: float, seed: int) -> tuple[Population, Population]:
        """Training and validation part; patients are split, never frames."""
        patients = self.patient.unique()
        order = torch.randperm(len(patients), generator=torch.Generator().manual_seed(seed))
        held = torch.isin(self.patient, patients[order[: max(1, round(share * len(patients)))]])
        return self.take(~held), self.take(held)


def render_population(
    settings: PopulationSettings, cache: Path, device: str = "cpu", progress: bool = True
) -> Population:
    """Render the population, or go on where an earlier call was stopped.

    Parameters
    ----------
    cache : Path
        Folder for chunks of ten patients; each is written under a temporary name and renamed.
    """
    folder = cache / f"population-{settings.digest()}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings.model_dump(mode="json"), indent=2) + "\n")
    plan = plan_cohort(CohortSettings(patients=settings.patients, seed=settings.seed))
    numbers = range(len(plan.patients))
    chunks = [numbers[first : first + _CHUNK_PATIENTS] for first in numbers[::_CHUNK_PATIENTS]]
    bar = tqdm(total=len(numbers), desc="Population", unit="patient", disable=not progress)
    for chunk in chunks:
        path = folder / f"{_PREFIX}{chunk[0]:05d}.safetensors"
        if not path.is_file():
            parts = []
            for number in chunk:
                patient = plan.patients[number]
                runs = [run for run in plan.runs if run.patient_id == patient.patient_id]
                parts.append(_render_patient(settings, number, patient, runs, device))
                bar.update()
            _write(path, Population.join(parts))
        else:
            bar.update(len(chunk))
    bar.close()
    return load_population(folder)


def load_population(folder: Path) -> Population:
    """All chunks of a rendered population, in the order of the patients."""
    return Population.join([Population(**load_file(path)) for path in sorted(folder.glob(f"{_PREFIX}*.safetensors"))])


def _write(path: Path, part: Population) -> None:
    temporary = path.with_suffix(".tmp")
    save_file(part.tensors(), temporary)
    temporary.replace(path)


def _render_patient(
    settings: PopulationSettings, number: int, patient: PatientPlan, runs: Sequence[RunPlan], device: str
) -> Population:
    rng = np.random.default_rng([settings.seed, number])
    chosen = rng.permutation(len(runs))[: settings.runs_per_patient]
    return Population.join([_render_run(settings, number, patient, runs[index], rng, device) for index in chosen])


def _render_run(
    settings: PopulationSettings,
    number: int,
    patient: PatientPlan,
    run: RunPlan,
    rng: np.random.Generator,
    device: str,
) -> Population:
    renderer = RunRenderer(patient, run, device)
    begin, end = renderer.truth.contrast_begin, renderer.truth.contrast_end
    frames = np.arange(run.n_frames)
    inside = np.zeros(run.n_frames, dtype=bool) if begin is None or end is None else (frames >= begin) & (frames <= end)
    drawn = [
        rng.permutation(frames[part])[:count]
        for part, count in ((inside, settings.contrast_frames), (~inside, settings.background_frames))
    ]
    indices = np.sort(np.concatenate(drawn))
    wanted, size = [int(index) for index in indices], settings.image_size
    mask = renderer.lumen_mask(wanted).to(torch.uint8) * 255
    boxes, percent = _stack_boxes(renderer.boxes(wanted), wanted, size / run.columns, size / run.rows)
    count = len(wanted)
    return Population(
        frames=shrink(renderer.render(wanted).cpu(), size),
        lumen=shrink(mask, size // LUMEN_SHARE),
        boxes=boxes,
        percent=percent,
        contrast=torch.from_numpy(inside[indices]),
        artery=torch.full((count,), ARTERIES.index(run.artery)),
        view=torch.full((count,), list(VIEWS).index(run.view) if run.view in VIEWS else -1),
        patient=torch.full((count,), number),
    )


def _stack_boxes(
    table: pd.DataFrame, frames: Sequence[int], scale_x: float, scale_y: float
) -> tuple[Float[Tensor, "n k 4"], Float[Tensor, "n k"]]:
    """Boxes of each frame scaled to the stored image, worst first, padded with NaN."""
    boxes = np.full((len(frames), MAX_BOXES, 4), np.nan, dtype=np.float32)
    percent = np.full((len(frames), MAX_BOXES), np.nan, dtype=np.float32)
    for row, frame in enumerate(frames):
        own = table[table["frame"] == frame].sort_values("percent_stenosis", ascending=False).head(MAX_BOXES)
        boxes[row, : len(own)] = own[["x1", "y1", "x2", "y2"]].to_numpy() * [scale_x, scale_y, scale_x, scale_y]
        percent[row, : len(own)] = own["percent_stenosis"].to_numpy()
    return torch.from_numpy(boxes), torch.from_numpy(percent)
