"""Execute a profile's numbered notebooks: after those they read from, two at a time, each when its inputs changed."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import multiprocessing
import os
import platform
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from datetime import date
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pandas as pd
import papermill
import yaml
from nbstripout import strip_output
from papermill.exceptions import PapermillExecutionError

from cag.settings import ROOT, InputError, SettingsError, write_atomically

NOTEBOOKS = ROOT / "notebooks"
#: Memory that a notebook of the demo may need (GB): with less than twice as much, one runs after another.
NOTEBOOK_GB = 4.0


class Chapter(NamedTuple):
    """A notebook of the study."""

    section: str  # In a profile file, and the folder of its figures and tables
    reads: tuple[str, ...] = ()  # Notebooks whose results it reads
    #: Files and folders that it shows besides its cohort, from the project's root. Where the environment names none,
    #: the notebook says so in their place.
    shows: tuple[str, ...] = ()


class Execution(NamedTuple):
    """How one notebook of the study ended: executed anew, or found again."""

    notebook: str
    seconds: float
    reused: bool


_TRAINED = ("02_frame_selection", "03_stenosis_classification", "06_cam_vs_fpn")
_ARCADE, _ACCEPTANCE = "$CAG_DATA/arcade", "results/published/simulator_acceptance.csv"
#: Every notebook of the study, in the book's order.
CHAPTERS = {
    "01_cohort": Chapter("cohort", shows=(_ARCADE, _ACCEPTANCE)),
    "02_frame_selection": Chapter("frame_selection", shows=("$CAG_DATA/dicom_xa",)),
    "03_stenosis_classification": Chapter("classification"),
    "04_two_vs_three_categories": Chapter("two_vs_three", reads=("03_stenosis_classification",)),
    "05_redundancy_ablation": Chapter("ablation", reads=("03_stenosis_classification",)),
    "06_cam_vs_fpn": Chapter("localization", reads=("03_stenosis_classification",)),
    "07_reading_a_study": Chapter("reading", reads=_TRAINED),
    "08_scorecard": Chapter("scorecard", reads=("01_cohort", *_TRAINED)),
    "09_explore": Chapter("explore", reads=_TRAINED),
    "10_patients_needed": Chapter("patients_needed"),
    "11_real_angiograms": Chapter("angiograms", shows=(_ARCADE,)),
}


def require_executed(results: Path) -> None:
    """Refuse, by `InputError`, a profile of which a notebook was not executed yet."""
    missing = [name for name in CHAPTERS if not (results / "notebooks" / f"{name}.json").exists()]
    if missing:
        remedy = f"Run `make study PROFILE={results.name}` to its end first"
        raise InputError(f"not executed yet: {', '.join(missing)}", file=f"results/{results.name}", remedy=remedy)


def load_profile(profile: str) -> dict[str, dict[str, Any]]:
    """Parameters of each notebook in ``notebooks/parameters/<profile>.yaml``, by section.

    No such profile, or a section of no notebook, is a `SettingsError`.
    """
    path = NOTEBOOKS / "parameters" / f"{profile}.yaml"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise SettingsError("no such profile", field=profile, remedy=f"Known: {known}")
    try:
        given = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        problem = f"not readable as YAML ({str(error).splitlines()[0]})"
        raise SettingsError(problem, file=path.name, remedy="Mend the file") from None
    sections = [chapter.section for chapter in CHAPTERS.values()]
    for name in given:
        if name not in sections:
            remedy = f"Known sections: {', '.join(sections)}"
            raise SettingsError("belongs to no notebook", file=path.name, field=name, remedy=remedy)
    return {section: dict(given.get(section) or {}) for section in sections}


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """Parameters written as ``NAME=VALUE``, their values read as YAML; one without a value is a `SettingsError`."""
    for pair in pairs:
        if "=" not in pair:
            raise SettingsError(f"{pair!r} is not NAME=VALUE", field="-p", remedy="Write it as -p epochs=3")
    return {name: yaml.safe_load(value) for name, _, value in (pair.partition("=") for pair in pairs)}


def run_study(
    profile: str, *, only: Iterable[str] = (), overrides: Mapping[str, Any] | None = None, scheduler: str = ""
) -> Iterator[Execution]:
    """Execute the notebooks of a profile and tell of each as it ends; those executed from the same inputs are kept.

    ``only`` are beginnings of notebook names (``03``), all when empty; ``overrides`` are set over the profile's
    parameters in all of them; ``scheduler`` says whose workers train (see ``open_scheduler``), where it is not empty.
    A cell that fails is an `InputError` with its own sentence; the notebooks under way are let finish.
    """
    from cag.chapters.mapped import open_scheduler

    given, starts, extra = load_profile(profile), tuple(only), dict(overrides or {})
    chosen = [name for name in CHAPTERS if not starts or name.startswith(starts)]
    if not chosen:
        raise SettingsError("no notebook begins so", field=", ".join(starts), remedy=f"Known: {', '.join(CHAPTERS)}")
    results, machine = ROOT / "results" / str(extra.get("profile", profile)), describe_machine()
    lanes = _lanes(len(chosen), machine)
    spawn = multiprocessing.get_context("spawn")
    processes = ProcessPoolExecutor(lanes, spawn, end_with_parent, max_tasks_per_child=1)  # a process for each notebook
    with open_scheduler(scheduler) if scheduler else contextlib.nullcontext("") as address, processes:

        def start(name: str) -> Future[Execution]:
            values = {"profile": profile, **given[CHAPTERS[name].section], **extra}
            stamp = results / "notebooks" / f"{name}.json"
            keys = input_keys(name, values, ROOT, results)
            if stamp.with_suffix(".ipynb").exists() and _told(stamp).get("inputs") == keys["inputs"]:
                done: Future[Execution] = Future()
                done.set_result(Execution(name, 0.0, reused=True))
                return done
            record = {**keys, "profile": profile, "overrides": _shown(extra), "lanes": lanes, **machine}
            values |= {"scheduler": address} if address else {}
            return processes.submit(execute_notebook, NOTEBOOKS / f"{name}.ipynb", stamp, values, record, ROOT)

        needs = {name: [one for one in CHAPTERS[name].reads if one in chosen] for name in chosen}
        yield from _in_order(needs, start, lanes)


def _in_order(
    needs: Mapping[str, list[str]], start: Callable[[str], Future[Execution]], lanes: int
) -> Iterator[Execution]:
    """Start each notebook when those it reads from have ended, first those that most others wait for."""
    order, ready, running = TopologicalSorter(needs), list[str](), dict[Future[Execution], str]()
    order.prepare()
    failure: BaseException | None = None
    while running or (order.is_active() and failure is None):
        ready = sorted([*ready, *order.get_ready()], key=lambda name: -sum(name in one for one in needs.values()))
        while ready and len(running) < lanes and failure is None:
            name = ready.pop(0)
            running[start(name)] = name
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            name, failure = running.pop(future), failure or future.exception()
            if future.exception() is None:
                yield future.result()
                order.done(name)
    if failure is not None:
        raise failure


def _lanes(notebooks: int, machine: Mapping[str, Any]) -> int:
    """Notebooks that run at once: two, where there are cores and memory for them and no card they would share."""
    small = machine["card"] or machine["memory_gb"] < 2 * NOTEBOOK_GB
    return 1 if small else min(2, machine["cores"], notebooks)


def end_with_parent() -> None:
    """End this process, and with it its kernel, when the study that started it was killed."""

    def watch() -> None:
        multiprocessing.parent_process().join()  # type: ignore[union-attr]
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def execute_notebook(
    source: Path, stamp: Path, values: dict[str, Any], record: dict[str, Any], root: Path
) -> Execution:
    """Execute one notebook by papermill in this process; its copy and its record ``stamp`` are whole or not there."""
    print(f"{source.stem} starts", file=sys.stderr, flush=True)
    shared = {"OMP_NUM_THREADS": str(max(1, record["cores"] // record["lanes"]))} if record["lanes"] > 1 else {}
    os.environ |= {"TQDM_MININTERVAL": "1", **shared}
    start = time.monotonic()
    write_atomically(stamp.with_suffix(".ipynb"), lambda path: _by_papermill(source, path, values, root))
    seconds = round(time.monotonic() - start, 1)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e9, 2)
    record |= {"seconds": seconds, "peak_memory_gb": peak, "stored_work": stored_work(stamp.parent.parent)}
    write_atomically(stamp, lambda path: path.write_text(json.dumps(record, indent=1)))
    return Execution(source.stem, seconds, reused=False)


def _by_papermill(source: Path, target: Path, values: dict[str, Any], root: Path) -> None:
    quiet = ["--log-level=CRITICAL"]  # a kernel speaks of its connection, and of the interrupt that ends it
    options: dict[str, Any] = {"progress_bar": False, "stderr_file": sys.stderr, "extra_arguments": quiet}
    try:
        papermill.execute_notebook(source, target, parameters=values, cwd=root, **options)
    except PapermillExecutionError as error:
        remedy = "What was already computed is kept; mend the cause and run again"
        problem = f"cell {error.exec_count} stopped with {error.ename}: {error.evalue}"
        raise InputError(problem, file=source.name, remedy=remedy) from None
    notebook = nbformat.read(target, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":  # progress and notes of libraries, which may name folders of this machine
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream"]
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source = "\n".join(line for line in cell.source.splitlines() if not line.startswith("scheduler = "))
    extra = ["metadata.papermill", "cell.metadata.papermill", "cell.metadata.execution"]
    strip_output(notebook, keep_output=True, keep_count=True, keep_id=True, extra_keys=extra)
    nbformat.write(notebook, target)


def input_keys(name: str, values: Mapping[str, Any], root: Path, results: Path) -> dict[str, str]:
    """Two keys of what a notebook's output depends on.

    ``work`` changes with what decides its tables: code cells, parameters, cohort, weights, the package's code that
    they reach, and the ``work`` of the notebooks it reads from. ``inputs`` changes with its prose, figures and pages
    as well. Docstrings and comments of modules count for neither. A folder of real data counts by the names and
    sizes of its files, and not by where it lies: public sets are large and do not change.
    """
    from cag.data.fingerprint import code_digest, imported_modules

    source = root / "notebooks" / f"{name}.ipynb"
    cells = [cell.source for cell in nbformat.read(source, as_version=4).cells if cell.cell_type == "code"]
    tree = ast.parse("\n".join(cells))
    modules = sorted(module for module in imported_modules(tree) if module.split(".")[0] == "cag")
    places = (values.get("manifest", "data_manifest.csv"), values.get("transfer_manifest"), *CHAPTERS[name].shows)
    parts = [json.dumps(dict(values), sort_keys=True), ast.dump(tree), *_contents(root / "weights", whole=True)]
    parts += [line for place in filter(None, places) for line in _contents(root / os.path.expandvars(str(place)))]
    parts += [_told(results / "notebooks" / f"{other}.json").get("work", "") for other in CHAPTERS[name].reads]
    work = [*parts, *(code_digest(one, ("cag",), ("cag.book",)) for one in modules if not one.startswith("cag.book"))]
    pages = [*parts, source.read_text(), *(code_digest(one, ("cag",), ()) for one in modules)]
    pages += _contents(root / "cag", whole=True)
    return {key: hashlib.sha256("\0".join(of).encode()).hexdigest() for key, of in (("work", work), ("inputs", pages))}


def _told(stamp: Path) -> dict[str, Any]:
    """What the record of an execution says; nothing where there was none."""
    return json.loads(stamp.read_text()) if stamp.exists() else {}


def _contents(place: Path, *, whole: bool = False) -> Iterator[str]:
    """What is there, line by line, Python aside; of a folder names and sizes, or ``whole`` the files' bytes."""
    paths = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    for path in paths:
        if path.suffix not in (".py", ".pyc"):
            told = hashlib.sha256(path.read_bytes()).hexdigest() if whole or path == place else path.stat().st_size
            yield f"{path.relative_to(place.parent).as_posix() if path != place else ''} {told}"


def _shown(overrides: Mapping[str, Any]) -> dict[str, str]:
    """Overrides as the book prints them; paths stay private."""
    return {name: "PATH" if "/" in str(x) or "\\" in str(x) else str(x) for name, x in overrides.items()}


def stored_work(results: Path) -> dict[Any, Any]:
    """Of each kind of stored work of a profile: how many ``pieces`` there are and the ``seconds`` that they took."""
    rows = [(marker.parts[-3], _told(marker).get("seconds", 0.0)) for marker in results.glob("*/*/complete.json")]
    kinds = pd.DataFrame(rows, columns=["kind", "seconds"]).groupby("kind")["seconds"]
    return pd.DataFrame({"pieces": kinds.size(), "seconds": kinds.sum().round(1)}).to_dict("index")


def describe_machine() -> dict[str, Any]:
    """Date, processor, cores, memory, card and versions; nothing that names the machine or its user."""
    import torch  # the processes that execute notebooks import this module too, and need neither
    from dask.system import cpu_count
    from distributed.system import memory_limit

    table = Path("/proc/cpuinfo")
    lines = table.read_text(errors="replace").splitlines() if table.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        **{"date": date.today().isoformat(), "python": platform.python_version()},
        "processor": names[0] if names else platform.processor() or platform.machine(),
        **{"cores": cpu_count(), "memory_gb": round(memory_limit() / 1e9, 1)},
        "card": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "",
        "versions": {name: version(name) for name in ("cag", "torch", "torchvision", "scikit-learn", "pydicom")},
    }
