"""What a simulated cohort's plan says of each run, and its frames rendered when they are asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor
from tqdm import tqdm

from cag.data.labels import CohortTables
from cag.data.tables import COLUMNS, CORNERS
from cag.settings import LabelError, write_atomically
from cag.simulator.phantom.cohort import CohortPlan, CohortSettings, lesions_table, patients_table, plan_cohort
from cag.simulator.phantom.plan import PatientPlan, RunPlan
from cag.simulator.phantom.run import RunRenderer, render_runs

_BOX_COLUMNS = list(COLUMNS["boxes"])
_PHANTOM = Path(__file__).parent / "phantom"


@dataclass(frozen=True)
class PhantomFrames:
    """Frames of a planned cohort, rendered on demand; the last runs asked for stay ready.

    Attributes
    ----------
    patients, runs : plans by their ids
    device : str
        ``auto`` takes the card of whichever machine the frames are asked for on.
    """

    patients: dict[str, PatientPlan]
    runs: dict[str, RunPlan]
    device: str = "cpu"

    @classmethod
    def planned(cls, settings: CohortSettings, device: str = "cpu") -> PhantomFrames:
        """The frames of these settings' cohort."""
        plan = plan_cohort(settings)
        return cls({p.patient_id: p for p in plan.patients}, {r.run_id: r for r in plan.runs}, device)

    def frames(self, run: pd.Series, indices: Sequence[int] | None) -> UInt8[Tensor, "t h w"]:
        """Render frames of one run, on the CPU afterwards."""
        return self._renderer(run).render(None if indices is None else list(indices)).cpu()

    def frames_of_runs(
        self, requests: Iterable[tuple[pd.Series, Sequence[int] | None]]
    ) -> Iterator[UInt8[Tensor, "t h w"]]:
        """Frames of several runs, drawn together; on the CPU afterwards."""
        wanted = ((self._renderer(run), indices) for run, indices in requests)
        return (frames.cpu() for frames in render_runs(wanted))

    def lumen_mask(self, run: pd.Series, indices: Sequence[int]) -> Bool[Tensor, "t h w"]:
        """Where contrast-filled lumen is projected, on the CPU."""
        return self._renderer(run).lumen_mask(list(indices)).cpu()

    def _renderer(self, run: pd.Series) -> RunRenderer:
        plan = self.runs[str(run["run_id"])]
        return _renderer(self.patients[plan.patient_id], plan, _present(self.device))


def _present(device: str) -> str:
    """The device by its name here and now."""
    return device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


PLAN_FILE = "cohort.json"


def save_plan(settings: CohortSettings, folder: Path) -> None:
    """Keep beside the files how they were simulated, so that masks can be rendered for them later."""
    record = {"settings": settings.model_dump(mode="json"), "simulator": simulator_digest()}
    write_atomically(folder / PLAN_FILE, lambda path: path.write_text(json.dumps(record, indent=1)))


def plan_of_files(file: Path, top: Path) -> PhantomFrames:
    """The plan of a cohort of simulated files, from the record in a folder above one of them.

    Raises
    ------
    LabelError
        If there is no record up to ``top``, or the files come from another version of the simulator.
    """
    top = top.resolve()
    folder = next((place for place in file.parents if (place / PLAN_FILE).is_file() or place == top), top)
    remedy = "Simulate the cohort again: python -m cag simulate"
    if not (folder / PLAN_FILE).is_file():
        raise LabelError("there is no record of how these files were simulated", file=PLAN_FILE, remedy=remedy)
    record = json.loads((folder / PLAN_FILE).read_text())
    if record["simulator"] != simulator_digest():
        raise LabelError("these files come from another version of the simulator", file=PLAN_FILE, remedy=remedy)
    return _planned(CohortSettings.checked(record["settings"]))


@lru_cache(maxsize=2)
def _planned(settings: CohortSettings) -> PhantomFrames:
    return PhantomFrames.planned(settings)


@lru_cache(maxsize=2)
def _renderer(patient: PatientPlan, run: RunPlan, device: str) -> RunRenderer:
    return RunRenderer(patient, run, device)


def plan_tables(settings: CohortSettings, device: str = "cpu") -> tuple[CohortTables, str]:
    """Tables of a simulated cohort without rendering it, and what identifies it.

    In place of a file's digest stands that of the run's plan; there are no fingerprints.
    """
    plan = plan_cohort(settings)
    patients = {patient.patient_id: patient for patient in plan.patients}  # looked up once a run: not by a search
    rows, boxes = [], []
    for run in tqdm(plan.runs, desc="Planning", unit="run"):
        renderer = RunRenderer(patients[run.patient_id], run, _present(device))
        rows.append(run_row(run, renderer, plan_digest(patients[run.patient_id], run), None))
        boxes.append(run_boxes(run, renderer))
    return cohort_tables(plan, rows, boxes), f"{settings.digest()}:{simulator_digest()}"


def simulator_digest() -> str:
    """Digest of the simulator's own source and data, and of what is told of a box: else it is another cohort."""
    whole = hashlib.sha256(",".join(_BOX_COLUMNS).encode())
    for file in sorted((*_PHANTOM.glob("*.py"), *_PHANTOM.glob("*.csv"))):
        whole.update(f"{file.name}\0".encode() + file.read_bytes())
    return whole.hexdigest()[:16]


def run_row(run: RunPlan, renderer: RunRenderer, digest: str, picture: str | None) -> dict[str, object]:
    truth = renderer.truth
    return {
        "run_id": run.run_id,
        "patient_id": run.patient_id,
        "path": relative_path(run).as_posix(),
        "sha256": digest,
        "source": "simulated",
        "n_frames": run.n_frames,
        "rows": run.rows,
        "columns": run.columns,
        "fps": run.fps,
        "primary_angle": rounded_angle(run.primary_angle),
        "secondary_angle": rounded_angle(run.secondary_angle),
        "artery": run.artery,
        "view": run.view,
        "contrast_begin": None if truth.contrast_begin is None else int(truth.contrast_begin),
        "contrast_end": None if truth.contrast_end is None else int(truth.contrast_end),
        "end_censored": bool(truth.end_censored),
        "fingerprint": picture,
    }


def run_boxes(run: RunPlan, renderer: RunRenderer) -> pd.DataFrame:
    """Boxes of every frame, to a hundredth of a pixel."""
    boxes = renderer.boxes(None).assign(run_id=run.run_id)[_BOX_COLUMNS]
    return boxes.astype({corner: float for corner in (*CORNERS, "percent_stenosis")}).round(2)


def cohort_tables(plan: CohortPlan, rows: Iterable[dict[str, object]], boxes: Iterable[pd.DataFrame]) -> CohortTables:
    filled = [table for table in boxes if len(table)]
    joined = pd.concat(filled, ignore_index=True) if filled else None
    return CohortTables.checked(pd.DataFrame(list(rows)), patients_table(plan), lesions_table(plan), joined)


def relative_path(run: RunPlan) -> Path:
    return Path(run.patient_id) / f"{run.run_id}.dcm"


def rounded_angle(angle: float) -> float:
    """Degrees to a hundredth, as file and manifest hold them."""
    return round(float(angle), 2)


def plan_digest(patient: PatientPlan, run: RunPlan) -> str:
    return hashlib.sha256(f"{patient!r}\0{run!r}".encode()).hexdigest()
