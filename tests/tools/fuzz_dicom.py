"""Damage thousands of DICOM files and tell what the reader made of each: read, refused by name, or something worse.

``python tests/tools/fuzz_dicom.py --count 5000`` damages the kinds of ``dicom_variants`` and, where ``CAG_DATA``
is set, the real runs in it. Files are read in child processes: a file that crashes one, or takes more than ten seconds
of the processor or two minutes of waiting, is found out and the rest goes on. Exit status 1 if any did, raised
something else than a refusal, or made the process grow past a gigabyte.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

LIMIT_SECONDS, LIMIT_WAIT, LIMIT_BYTES = 10, 120, 2**30
_KEY = b"a key for damaged files only, 32"


def read_slice(folder: Path, numbers: range) -> None:
    """The child: read damaged files one after another, a line before and a line after each; limits end the process."""
    from mutations import mutated

    seeds = sorted(folder.glob("seed_*.dcm"))
    path = folder / f"damaged_{numbers.start % numbers.step}.dcm"
    resource.setrlimit(resource.RLIMIT_AS, (8 * LIMIT_BYTES, 8 * LIMIT_BYTES))
    for number in numbers:
        path.write_bytes(mutated(seeds[number % len(seeds)].read_bytes(), number))
        print(json.dumps({"number": number}), flush=True)
        signal.setitimer(signal.ITIMER_PROF, LIMIT_SECONDS)
        signal.alarm(LIMIT_WAIT)
        Path("/proc/self/clear_refs").write_text("5")  # the peak of memory counts from here
        before, start = _peak_bytes(), time.process_time()
        outcome = _outcome(path)
        measured = {"seconds": time.process_time() - start, "bytes": _peak_bytes() - before}
        print(json.dumps({"number": number, **outcome, **measured}), flush=True)


def _outcome(path: Path) -> dict[str, str]:
    from cag.data.dicom import read_cine
    from cag.settings import DicomError

    try:
        read_cine(path, key=_KEY)
    except DicomError as error:
        named = str(error).startswith(path.name) and "\n" not in str(error)
        return {"outcome": "refused" if named else "unnamed", "reason": str(error.problem)}
    except BaseException as error:
        return {"outcome": "escaped", "reason": f"{type(error).__name__}: {error}"}
    return {"outcome": "read", "reason": ""}


def _peak_bytes() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def watch(folder: Path, numbers: range) -> list[dict[str, Any]]:
    """What became of each file; where a child dies, its last file is noted and another goes on after it."""
    results: list[dict[str, Any]] = []
    while numbers:
        place = f"{folder}:{numbers.start}:{numbers.stop}:{numbers.step}"
        child = subprocess.run([sys.executable, __file__, "--child", place], capture_output=True, text=True)
        records = [json.loads(line) for line in child.stdout.splitlines()]
        results += [record for record in records if "outcome" in record]
        if child.returncode == 0:
            break
        dead = records[-1]["number"] if records else numbers.start
        outcome = "hung" if -child.returncode in (signal.SIGPROF, signal.SIGALRM) else "crashed"
        results.append({"number": dead, "outcome": outcome, "reason": str(child.returncode)})
        numbers = range(dead + numbers.step, numbers.stop, numbers.step)
    return results


def collect_seeds(folder: Path) -> list[str]:
    """Put the files to damage into a folder; returns their names."""
    from dicom_variants import write_all

    files = [*write_all(folder / "made")]
    if "CAG_DATA" in os.environ:
        files += sorted((Path(os.environ["CAG_DATA"]) / "dicom_xa").glob("*.dcm"))
    for number, file in enumerate(files):
        (folder / f"seed_{number:03d}.dcm").write_bytes(_as_angiogram(file.read_bytes()))
    return [file.stem for file in files]


def _as_angiogram(data: bytes) -> bytes:
    """A Secondary Capture becomes an XA object, so that its pixels are reached."""
    capture, angiogram = b"\x1a\x001.2.840.10008.5.1.4.1.1.7\0", b"\x1c\x001.2.840.10008.5.1.4.1.1.12.1"
    return data.replace(b"\x08\x00\x16\x00UI" + capture, b"\x08\x00\x16\x00UI" + angiogram, 1)


def report(results: list[dict[str, Any]], names: list[str]) -> bool:
    """Print what became of the files; whether all is well."""
    outcomes = Counter(record["outcome"] for record in results)
    typer.echo(f"{len(results)} files: " + ", ".join(f"{count} {name}" for name, count in outcomes.items()))
    done = [record for record in results if "seconds" in record]
    for name, unit, scale in (("seconds", "s", 1), ("bytes", "MB", 1e6)):
        values = sorted(record[name] / scale for record in done)
        typer.echo(f"{name:8} median {values[len(values) // 2]:.3f} {unit}, largest {values[-1]:.3f} {unit}")
    reasons = Counter(re.sub(r"[\d.]+", "N", record["reason"]) for record in done if record["outcome"] == "refused")
    for reason, count in reasons.most_common(25):
        typer.echo(f"  {count:5} {reason[:110]}")
    bad = [r for r in results if r["outcome"] not in ("read", "refused") or r["bytes"] > LIMIT_BYTES]
    for record in bad:
        typer.echo(f"BAD {names[record['number'] % len(names)]}, seed {record['number']}: {record}")
    return not bad


def main(
    count: Annotated[int, typer.Option(help="damaged files")] = 5000,
    workers: Annotated[int, typer.Option(help="child processes")] = 2,
    first: Annotated[int, typer.Option(help="first seed")] = 0,
    child: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Damage, read and count."""
    if child:
        place, *numbers = child.rsplit(":", 3)
        return read_slice(Path(place), range(*map(int, numbers)))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        names = collect_seeds(Path(folder))
        slices = [range(first + n, first + count, workers) for n in range(workers)]
        results = [record for found in pool.map(watch, [Path(folder)] * workers, slices) for record in found]
    fine = report(results, names)
    typer.echo(f"{time.perf_counter() - start:.0f} s with {workers} processes")
    raise typer.Exit(0 if fine else 1)


if __name__ == "__main__":
    typer.run(main)
