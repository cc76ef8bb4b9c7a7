"""Damage thousands of DICOM files and tell what the reader made of each: read, refused by name, or something worse.

``python tests/tools/fuzz_dicom.py --count 5000`` damages the kinds of ``dicom_variants`` and, where ``CAG_DATA``
is set, the real runs in it. Files are read in child processes: one that crashes or takes longer than ten seconds is
found out and the rest goes on. Of each file the growth of memory is measured. Exit status 1 if any file crashed the
reader, made it hang, raised something else than a refusal, or made it grow past a gigabyte. Seconds are those of the
processor, so that a busy machine makes nothing look hung; a child that waits two minutes without using it is hung too.
"""

from __future__ import annotations

import json
import os
import queue
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

LIMIT_SECONDS, LIMIT_WAIT, LIMIT_BYTES = 10.0, 120.0, 2**30
_KEY = b"a key for damaged files only, 32"


def read_slice(folder: Path, first: int, count: int, step: int) -> None:
    """The child: read damaged files one after another, a line before and a line after each."""
    from mutations import mutated

    seeds = sorted(folder.glob("seed_*.dcm"))
    path = folder / f"damaged_{first % step}.dcm"
    resource.setrlimit(resource.RLIMIT_AS, (8 * LIMIT_BYTES, 8 * LIMIT_BYTES))
    for number in range(first, count, step):
        path.write_bytes(mutated(seeds[number % len(seeds)].read_bytes(), number))
        print(json.dumps({"number": number}), flush=True)
        before, start = _memory(reset=True), time.process_time()
        outcome = _outcome(path)
        seconds, grown = time.process_time() - start, _memory() - before
        print(json.dumps({"number": number, **outcome, "seconds": seconds, "bytes": grown}), flush=True)


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


def _memory(*, reset: bool = False) -> int:
    """Peak resident bytes of this process; ``reset`` starts counting from what is resident now."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", lines)
    return int(found[1]) * 1024 if found else 0


def watch(folder: Path, first: int, count: int, step: int, results: list[dict[str, Any]]) -> None:
    """The parent's side of one child: collect its lines; where it dies or hangs, note the file and go on after it."""
    while first < count:
        command = [sys.executable, __file__, "--child", f"{folder}:{first}:{count}:{step}"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_pump, args=(child, lines), daemon=True).start()
        current, hung, heard, used = first, False, time.monotonic(), 0.0
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                hung = _processor(child.pid) - used > 2 * LIMIT_SECONDS or time.monotonic() - heard > LIMIT_WAIT
                if hung:
                    child.kill()
                    break
                continue
            heard, used = time.monotonic(), _processor(child.pid)
            if line is None:
                break
            record = json.loads(line)
            current = record["number"]
            if "outcome" in record:
                results.append(record)
                current += step
        child.wait()
        if current < count:
            outcome = "hung" if hung else "crashed"
            results.append({"number": current, "outcome": outcome, "reason": str(child.returncode)})
        first = current + step if current < count else count


def _processor(pid: int) -> float:
    """Seconds of processor time that a process has used; 0 once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pump(child: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        lines.put(line)
    lines.put(None)


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
    """A Secondary Capture becomes an XA object, so that its pixels are reached; the UID stays as long."""
    capture, angiogram = b"1.2.840.10008.5.1.4.1.1.7\0", b"1.2.840.10008.5.1.4.1.1.12.1"
    place = data.find(b"\x08\x00\x16\x00UI")
    if place < 0 or capture not in data[place : place + 40]:
        return data
    changed = b"\x08\x00\x16\x00UI" + len(angiogram).to_bytes(2, "little") + angiogram
    return data[:place] + changed + data[place + 8 + len(capture) :]


def report(results: list[dict[str, Any]], names: list[str]) -> bool:
    """Print what became of the files; whether all is well."""
    typer.echo(
        f"{len(results)} files: " + ", ".join(f"{n} {o}" for o, n in Counter(r["outcome"] for r in results).items())
    )
    done = [r for r in results if "seconds" in r]
    for name, unit, scale in (("seconds", "s", 1), ("bytes", "MB", 1e6)):
        values = sorted(r[name] / scale for r in done)
        typer.echo(f"{name:8} median {values[len(values) // 2]:.3f} {unit}, largest {values[-1]:.3f} {unit}")
    reasons = Counter(re.sub(r"[\d.]+", "N", r["reason"]) for r in done if r["outcome"] == "refused")
    for reason, count in reasons.most_common(25):
        typer.echo(f"  {count:5} {reason[:110]}")
    fine = {"read", "refused"}
    bad = [r for r in results if r["outcome"] not in fine or r.get("seconds", 0) > LIMIT_SECONDS]
    bad += [r for r in done if r["bytes"] > LIMIT_BYTES]
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
        place, begin, end, step = child.rsplit(":", 3)
        read_slice(Path(place), int(begin), int(end), int(step))
        return
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder, results = Path(name), []
        names = collect_seeds(folder)
        threads = [
            threading.Thread(target=watch, args=(folder, first + n, first + count, workers, results))
            for n in range(workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    fine = report(results, names)
    typer.echo(f"{time.perf_counter() - start:.0f} s with {workers} processes")
    raise typer.Exit(0 if fine else 1)


if __name__ == "__main__":
    typer.run(main)
