"""Kill a study at random moments, start it again each time, and compare it with an undisturbed one.

Run ``python -m benchmarks.kill_study --kills 20``. A tiny study of all three trained stages runs in a process
of its own, which gets SIGKILL at a random moment of its work; the next start must go on from what is stored. When a
study ends by itself, its tables must equal the undisturbed run's, cell by cell, and a new study is begun,
until there were ``--kills`` kills. After every kill each finished folder is read whole, and none that was
finished before may have changed. The outcome is one table, and exit status 1 where anything was lost.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from safetensors.torch import load_file

from benchmarks.tiny import load_tables, write_tiny_cohort

#: What the process says when everything is imported and its work begins; seconds count from there.
READY = b"ready"

COMMAND = """
import os, sys, torch
from pathlib import Path
from benchmarks.tiny import run_tiny_study
torch.set_num_threads(1)
print("ready", flush=True)
sys.stdout = open(os.devnull, "w")
run_tiny_study(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@dataclass(frozen=True)
class Kill:
    """What one kill left.

    Attributes
    ----------
    after_s : float
        Seconds of the process's work.
    finished, torn, changed : int
        Folders of the store that are complete; of these, with a file that cannot be read; and of those
        finished before the start, with a file of another time.
    """

    study: int
    after_s: float
    finished: int
    torn: int
    changed: int


def start(results: Path, manifest: Path) -> subprocess.Popen[bytes]:
    """A study as a process of its own, whose work has just begun."""
    command = [sys.executable, "-c", COMMAND, str(results), str(manifest)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if process.stdout is None or process.stdout.readline().strip() != READY:
        raise RuntimeError(f"the study did not begin; exit status {process.wait()}")
    process.stdout.close()
    return process


def finished(results: Path) -> dict[Path, int]:
    """Files of the tasks' complete folders with the time they were written."""
    folders = [marker.parent for marker in results.glob("[!.]*/*/complete.json")]
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.iterdir()}


def torn(files: dict[Path, int]) -> int:
    """Folders among these files' with one that cannot be read."""
    readers = {".parquet": pd.read_parquet, ".safetensors": load_file, ".json": Path.read_text}
    bad = set()
    for path in files:
        try:
            readers[path.suffix](path)
        except Exception:  # whatever a torn file raises
            bad.add(path.parent)
    return len(bad)


def disturb(
    results: Path, manifest: Path, study: int, longest: float, kills: int, rng: np.random.Generator
) -> Iterator[Kill]:
    """Start and kill a study until it ends by itself, or until there were so many kills: then let it end."""
    done = 0
    while True:
        before = finished(results)
        process, begun = start(results, manifest), time.monotonic()
        limit = float(rng.uniform(0, longest)) if done < kills else None
        try:
            if process.wait(timeout=limit):
                raise RuntimeError(f"the study stopped with exit status {process.returncode}")
            return
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        after = finished(results)
        changed = sum(after.get(path) != stamp for path, stamp in before.items())
        done += 1
        yield Kill(study, time.monotonic() - begun, len({path.parent for path in after}), torn(after), changed)


def same(first: dict[str, pd.DataFrame], second: dict[str, pd.DataFrame]) -> bool:
    """Whether all tables are equal, to the last bit."""
    return all(first[name].equals(second[name]) for name in first)


def main(
    kills: Annotated[int, typer.Option(help="kills in all")] = 20,
    seed: Annotated[int, typer.Option(help="draws the moments")] = 0,
    out: Annotated[Path | None, typer.Option(help="CSV of the kills")] = None,
) -> None:
    """Print a line a kill, and whether the studies ended alike."""
    rng, alike, study = np.random.default_rng(seed), True, 0
    rows: list[Kill] = []
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_tiny_cohort(Path(folder) / "cohort")
        process, begun = start(Path(folder) / "undisturbed", manifest), time.monotonic()
        if process.wait():
            raise typer.BadParameter("the undisturbed study did not end well")
        longest = time.monotonic() - begun
        expected = load_tables(Path(folder) / "undisturbed")
        typer.echo(f"undisturbed: {longest:.0f} s")
        while len(rows) < kills:
            study += 1
            results = Path(folder) / f"study-{study}"
            for kill in disturb(results, manifest, study, longest, kills - len(rows), rng):
                rows.append(kill)
                typer.echo(str(kill))
            alike &= same(expected, load_tables(results))
            typer.echo(f"study {study}: tables {'equal' if alike else 'NOT EQUAL'}")
    table = pd.DataFrame(rows)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        table.round(1).to_csv(out, index=False)
    lost = int(table.torn.sum() + table.changed.sum())
    typer.echo(f"{len(table)} kills, {study} studies: {lost} folders torn or changed; tables equal: {alike}")
    raise typer.Exit(0 if alike and not lost else 1)


if __name__ == "__main__":
    typer.run(main)
