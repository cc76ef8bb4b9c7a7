"""Execute the numbered notebooks of a profile."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path
from typing import Any, TextIO

import nbformat
import papermill
from dask.system import cpu_count as cores
from nbstripout import strip_output
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from cag.book.lanes import lanes_for, side_by_side
from cag.book.machine import describe_machine, end_children, longest_before, peak_memory_of_children_gb
from cag.book.plan import run_leading
from cag.book.profiles import NOTEBOOKS, SECTIONS, load_profile
from cag.book.reuse import inputs_digest
from cag.chapters.progress import DEADLINE_VARIABLE, OutOfTime
from cag.chapters.tasks import SCHEDULER_VARIABLE, USED_VARIABLE, tasks_used
from cag.settings import ROOT, InputError, SettingsError, write_atomically

#: Notebook -> the notebooks whose results it reads, in the order in which they best start: longest way first.
READS_FROM: dict[str, tuple[str, ...]] = {
    "03_stenosis_classification": (),
    "02_frame_selection": (),
    "06_cam_vs_fpn": ("03_stenosis_classification",),
    "07_reading_a_study": ("02_frame_selection", "03_stenosis_classification", "06_cam_vs_fpn"),
    "05_redundancy_ablation": ("03_stenosis_classification",),
    "04_two_vs_three_categories": ("03_stenosis_classification",),
    "01_cohort": (),
    "09_explore": ("02_frame_selection", "03_stenosis_classification", "06_cam_vs_fpn"),
    "08_scorecard": tuple(name for name in SECTIONS if name < "08"),
}

#: The kernel of a notebook speaks of its connection, and of the interrupt that ends it; what a notebook itself says,
#: or a kernel that dies, is told all the same.
QUIET = ["--log-level=CRITICAL"]

#: Memory that a notebook of the demo may need (GB).
NOTEBOOK_GB = 4.0

#: The order of a study that was given hours.
BY_VALUE = [
    *("01_cohort", "02_frame_selection", "06_cam_vs_fpn", "03_stenosis_classification", "07_reading_a_study"),
    *("05_redundancy_ablation", "04_two_vs_three_categories", "08_scorecard", "09_explore"),
]
#: The notebook that needs the leading part of the classifiers' grid, and not the rest.
LEADING_BEFORE = "06_cam_vs_fpn"


@dataclass(frozen=True)
class Execution:
    """How one notebook of the study ended."""

    notebook: str
    seconds: float
    reused: bool


def run_study(
    profile: str,
    *,
    only: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
    scheduler: str | None = None,
    hours: float | None = None,
) -> list[Execution]:
    """Execute the notebooks of a profile in order; those executed before with the same inputs are kept.

    Parameters
    ----------
    profile : str
        Name of a file in ``notebooks/parameters``.
    only : iterable of str
        Beginnings of notebook names (``03``); all when empty.
    overrides : mapping, optional
        Parameters set over the profile's, for the notebooks in ``only``.
    scheduler : str, optional
        Where fold tasks run: see ``local_cluster.open_scheduler``; in the notebooks' own processes by default.
    hours : float, optional
        Stop before a task that would not end in time. The most valuable tasks then come first: the classifiers
        that localization and reading stand on, then localization, then the rest of the grid.

    Raises
    ------
    InputError
        With the notebook's own sentence when one of its cells fails.
    OutOfTime
        When the hours are over; what is done is stored.
    """
    parameters = load_profile(profile)
    chosen = _chosen(only)
    executions = []
    with contextlib.ExitStack() as stack:
        if scheduler is not None:
            from cag.book.local_cluster import open_scheduler  # a study of one process needs no cluster

            address = stack.enter_context(open_scheduler(scheduler))
            stack.enter_context(_environment(SCHEDULER_VARIABLE, address))
        if hours is not None:
            stack.enter_context(_environment(DEADLINE_VARIABLE, str(time.time() + 3600 * hours)))
            chosen = sorted(chosen, key=BY_VALUE.index)

        stack.enter_context(_environment("TQDM_MININTERVAL", "1"))  # each step of a bar is a message to this process
        lanes = lanes_for(len(chosen), NOTEBOOK_GB) if hours is None and scheduler is None else 1

        def execute(name: str, shown: TextIO | TextIOBase) -> Execution:
            values = {"profile": profile, **parameters[SECTIONS[name]], **(overrides or {})}
            return _execute(name, values, ROOT / "results" / profile, overrides or {}, shown, lanes)

        if lanes > 1:
            stack.enter_context(_environment("OMP_NUM_THREADS", str(max(1, cores() // lanes))))
            needs = {name: [one for one in READS_FROM[name] if one in chosen] for name in READS_FROM if name in chosen}
            stack.enter_context(contextlib.chdir(ROOT))  # papermill changes the folder of the whole process
            found = side_by_side(needs, execute, lanes, end_children)
            return [found[name] for name in chosen]
        for name in chosen:
            if hours is not None and name == LEADING_BEFORE and "03_stenosis_classification" in chosen:
                run_leading(parameters, profile)
            executions.append(execute(name, sys.stderr))
    return executions


def _chosen(only: Iterable[str]) -> list[str]:
    starts = tuple(only)
    chosen = [name for name in SECTIONS if not starts or name.startswith(starts)]
    if not chosen:
        raise SettingsError("no notebook begins so", field=", ".join(starts), remedy=f"Known: {', '.join(SECTIONS)}")
    return chosen


def _execute(
    name: str,
    values: Mapping[str, Any],
    results: Path,
    overrides: Mapping[str, Any],
    shown: TextIO | TextIOBase,
    lanes: int,
) -> Execution:
    """Run one notebook unless its executed copy was made from the same inputs; ``lanes`` share the cores."""
    executed, stamp = results / "notebooks" / f"{name}.ipynb", results / "notebooks" / f"{name}.json"
    key = inputs_digest(NOTEBOOKS / f"{name}.ipynb", values, ROOT)
    if executed.exists() and stamp.exists() and json.loads(stamp.read_text())["inputs"] == key:
        return Execution(name, 0.0, reused=True)
    with tempfile.TemporaryDirectory() as folder:
        notes, source, start = Path(folder) / "tasks", NOTEBOOKS / f"{name}.ipynb", time.monotonic()
        write_atomically(executed, lambda path: _run_notebook(source, path, values, shown, notes))
        seconds, tasks = time.monotonic() - start, tasks_used(notes)
    record = {"inputs": key, "profile": values["profile"], "seconds": round(seconds, 1), "overrides": _shown(overrides)}
    record |= describe_machine() | {"lanes": lanes, "peak_memory_gb": peak_memory_of_children_gb(), "tasks": tasks}
    record |= longest_before(stamp, record)
    write_atomically(stamp, lambda path: path.write_text(json.dumps(record, indent=1)))
    return Execution(name, seconds, reused=False)


def _shown(overrides: Mapping[str, Any]) -> dict[str, str]:
    """Overrides as the book prints them; paths stay private."""
    return {
        name: "PATH" if "/" in str(value) or "\\" in str(value) else str(value) for name, value in overrides.items()
    }


def _run_notebook(
    source: Path, target: Path, values: Mapping[str, Any], shown: TextIO | TextIOBase, notes: Path
) -> None:
    tqdm.write(f"{source.stem} starts", file=sys.stderr)
    alone = shown is sys.stderr
    try:
        papermill.execute_notebook(
            source,
            target,
            parameters=dict(values),
            cwd=ROOT,
            progress_bar=alone,
            stderr_file=shown,
            extra_arguments=[*QUIET, _kernel_environment(USED_VARIABLE, str(notes))],
        )
    except PapermillExecutionError as error:
        if error.ename == OutOfTime.__name__:
            raise OutOfTime(str(error.evalue), file=source.name) from None
        remedy = "What was already computed is kept; mend the cause and run again"
        problem = f"cell {error.exec_count} stopped with {error.ename}: {error.evalue}"
        raise InputError(problem, file=source.name, remedy=remedy) from None
    notebook = nbformat.read(target, as_version=4)
    extra = ["metadata.papermill", "cell.metadata.papermill", "cell.metadata.execution"]
    for cell in notebook.cells:
        if cell.cell_type == "code":  # progress and notes of libraries, which may name folders of this machine
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream"]
    strip_output(notebook, keep_output=True, keep_count=True, keep_id=True, extra_keys=extra)
    nbformat.write(notebook, target)


def _kernel_environment(name: str, value: str) -> str:
    """An argument that sets a variable in one kernel alone; those of lanes share this process's environment."""
    return f"--IPKernelApp.exec_lines=__import__('os').environ[{name!r}] = {value!r}"


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
