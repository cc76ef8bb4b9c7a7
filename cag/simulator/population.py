"""A simulated population for pre-training, disjoint from the study's patients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from dask.system import cpu_count as cores
from jaxtyping import Bool, Float, Int, UInt8
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from cag.anatomy import ARTERIES, VIEWS, Artery
from cag.data.frames import shrink
from cag.settings import Settings, write_atomically
from cag.simulator.phantom.cohort import CohortPlan, CohortSettings, plan_cohort
from cag.simulator.phantom.plan import PatientPlan, RunPlan
from cag.simulator.phantom.run import RunRenderer
from cag.simulator.tables import in_processes, simulator_digest

#: Lesions kept for one frame, worst first.
MAX_BOXES = 8

#: Resolution of the stored lumen mask, as a share of the image's.
LUMEN_SHARE = 2

_PREFIX = "pre-"
_CHUNK_PATIENTS = 10


class PopulationSettings(Settings):
    """Whom to simulate for pre-training and which frames to keep."""

    patients: int = Field(default=350, ge=4)
    #: The study's own cohorts are drawn with seeds below 1000, so that no patient is in both, >= 1000.
    seed: int = Field(default=20_000, ge=1000)
    image_size: int = Field(default=256, ge=80, multiple_of=16)  # Pixels of the stored frames
    runs_per_patient: int = Field(default=4, ge=1)  # Drawn from the runs that the patient's plan holds
    artery: Artery | None = None  # Only runs of this one
    #: Frames of a run inside and outside its contrast interval.
    contrast_frames: int = Field(default=3, ge=1)
    background_frames: int = Field(default=1, ge=0)

    @property
    def frames(self) -> int:
        """Frames kept, where no run is short of them."""
        return self.patients * self.runs_per_patient * (self.contrast_frames + self.background_frames)


@dataclass(frozen=True)
class Population:
    """Frames with their targets, one entry a frame."""

    frames: UInt8[Tensor, "n s s"]
    lumen: UInt8[Tensor, "n m m"]  # Share of lumen, 0 to 255
    #: Visible lesions in pixels of ``frames``, worst first, NaN where there are fewer; percent stenosis.
    boxes: Float[Tensor, "n k 4"]
    percent: Float[Tensor, "n k"]
    contrast: Bool[Tensor, " n"]  # Whether the frame lies in the contrast interval
    #: Worst percent stenosis of the segments that label the view (NaN for no standard view), of the artery, and of
    #: the patient: what a reader of the whole study writes down, with no place.
    severity: Float[Tensor, "n 3"]
    #: Index into ``ARTERIES`` and ``VIEWS``; -1 for no standard view.
    artery: Int[Tensor, " n"]
    view: Int[Tensor, " n"]
    patient: Int[Tensor, " n"]  # Number of the patient

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
    """Render the population over all cores, or go on where an earlier call was stopped.

    ``cache`` keeps chunks of ten patients; those of another simulator are not taken.
    """
    folder = cache / f"population-{settings.digest()}-{simulator_digest()}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings.model_dump(mode="json"), indent=2) + "\n")
    first = range(0, settings.patients, _CHUNK_PATIENTS)
    files = [folder / f"{_PREFIX}{number:05d}.safetensors" for number in first]
    jobs = [(settings, number, path, device) for number, path in zip(first, files, strict=True) if not path.is_file()]
    workers = cores() if device == "cpu" and settings.patients > _CHUNK_PATIENTS else 1
    done = in_processes(_render_chunk, jobs, workers, ordered=False)
    for _ in tqdm(done, desc="Population", unit="chunk", total=len(jobs), disable=not progress):
        pass
    return Population.join([Population(**load_file(path)) for path in files])


def _render_chunk(settings: PopulationSettings, first: int, path: Path, device: str) -> None:
    """Render the frames of ten patients and write them."""
    last = min(first + _CHUNK_PATIENTS, settings.patients)
    plan = plan_cohort(CohortSettings(patients=settings.patients, seed=settings.seed), range(first + 1, last + 1))
    parts = [
        _render_patient(settings, first + place, patient, plan, device) for place, patient in enumerate(plan.patients)
    ]
    write_atomically(path, partial(save_file, Population.join(parts).tensors()))


def _render_patient(
    settings: PopulationSettings, number: int, patient: PatientPlan, plan: CohortPlan, device: str
) -> Population:
    """The frames kept of one patient; ``number`` counts from 0."""
    own = (run for run in plan.runs if run.patient_id == patient.patient_id)
    runs = [run for run in own if settings.artery in (None, run.artery)]
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
    """The frames kept of one run, inside and outside its contrast interval."""
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
    assigned = patient.view_severity(run.view) if run.view in VIEWS else np.nan
    severity = [assigned, patient.severity(run.artery), patient.severity()]
    return Population(
        frames=shrink(renderer.render(wanted).cpu(), size),
        lumen=shrink(mask, size // LUMEN_SHARE),
        boxes=boxes,
        percent=percent,
        contrast=torch.from_numpy(inside[indices]),
        severity=torch.tensor(severity, dtype=torch.float32).expand(count, 3).contiguous(),
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
