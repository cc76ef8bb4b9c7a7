"""Damage thousands of DICOM files and tell what the reader made of each: read, refused by name, or something worse.

``PYTHONPATH=tests/tools python -m benchmarks.fuzz_reader --count 5000`` damages the kinds of ``dicom_variants`` and,
where ``CAG_DATA`` is set, the real runs in it. Files are read in child processes: a file that crashes one, or takes
more than ten seconds of the processor or two minutes of waiting, is found out and the rest goes on. Exit status 1 if
any did, raised something else than a refusal, or made the process grow by a gigabyte.
"""

import argparse
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

from dicom_variants import write_all
from fuzz_dicom import mutated

from cag.data.dicom import read_cine
from cag.settings import DicomError

LIMIT_SECONDS, LIMIT_WAIT, LIMIT_BYTES = 10, 120, 2**30


def read_files(seeds: list[Path], numbers: range, told: Connection) -> None:
    """The child: read damaged files and tell what became of each; limits end the process."""
    path = seeds[0].with_name("damaged.dcm")
    for number in numbers:
        path.write_bytes(mutated(seeds[number % len(seeds)].read_bytes(), number))
        signal.setitimer(signal.ITIMER_PROF, LIMIT_SECONDS)
        signal.alarm(LIMIT_WAIT)
        before, outcome, reason = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "read", ""
        try:
            read_cine(path, key=b"a key for damaged files only, 32")
        except DicomError as error:
            named = str(error).startswith(path.name) and "\n" not in str(error)
            outcome, reason = "refused" if named else "unnamed", error.problem
        except BaseException as error:
            outcome, reason = "escaped", f"{type(error).__name__}: {error}"
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        told.send(("swollen" if grown > LIMIT_BYTES else outcome, reason))


def watch(seeds: list[Path], count: int) -> list[tuple[int, str, str]]:
    """What became of each file; where a child dies, its last file is noted and another goes on after it."""
    results: list[tuple[int, str, str]] = []
    while len(results) < count:
        here, there = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.Process(target=read_files, args=(seeds, range(len(results), count), there))
        child.start()
        there.close()
        try:
            while True:
                results.append((len(results), *here.recv()))
        except EOFError:
            child.join()
        if len(results) < count:
            hung = -(child.exitcode or 0) in (signal.SIGPROF, signal.SIGALRM)
            results.append((len(results), "hung" if hung else "crashed", str(child.exitcode)))
    return results


def collect_seeds(folder: Path) -> list[Path]:
    """The files to damage; a Secondary Capture becomes an XA object, so that its pixels are reached."""
    capture, angiogram = b"UI\x1a\x001.2.840.10008.5.1.4.1.1.7\0", b"UI\x1c\x001.2.840.10008.5.1.4.1.1.12.1"
    seeds, tag = write_all(folder), b"\x08\x00\x16\x00"
    for file in sorted(Path(os.environ["CAG_DATA"], "dicom_xa").glob("*.dcm")) if "CAG_DATA" in os.environ else []:
        seeds.append(folder / file.name)
        seeds[-1].write_bytes(file.read_bytes().replace(tag + capture, tag + angiogram, 1))
    return seeds


def main() -> None:
    """Damage, read and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="damaged files")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        seeds = collect_seeds(Path(folder))
        results = watch(seeds, count)
    outcomes = Counter(outcome for _, outcome, _ in results)
    print(f"{len(results)} files: " + ", ".join(f"{times} {name}" for name, times in outcomes.items()))
    reasons = Counter(re.sub(r"[\d.]+", "N", reason) for _, outcome, reason in results if outcome == "refused")
    for reason, times in reasons.most_common(25):
        print(f"  {times:5} {reason[:110]}")
    bad = [result for result in results if result[1] not in ("read", "refused")]
    for number, outcome, reason in bad:
        print(f"BAD {seeds[number % len(seeds)].stem}, seed {number}: {outcome} {reason}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
