"""Damage thousands of DICOM files and tell what the reader made of each: read, refused by name, or something worse.

``python tests/tools/fuzz_dicom.py --count 5000`` damages the kinds of ``dicom_variants`` and, where ``CAG_DATA``
is set, the real runs in it. Files are read in child processes: a file that crashes one, or takes more than ten seconds
of the processor or two minutes of waiting, is found out and the rest goes on. Exit status 1 if any did, raised
something else than a refusal, or made the process grow by a gigabyte.
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
from struct import pack

import numpy as np

LIMIT_SECONDS, LIMIT_WAIT, LIMIT_BYTES = 10, 120, 2**30
#: Tags whose numbers decide how much is read or allocated (group, element), little endian as stored.
STEERING = [
    *((0x0028, 0x0002), (0x0028, 0x0008), (0x0028, 0x0010), (0x0028, 0x0011), (0x0028, 0x0100), (0x0028, 0x0101)),
    *((0x0028, 0x0102), (0x0028, 0x0103), (0x0028, 0x1050), (0x0028, 0x1051), (0x0018, 0x1063), (0x0018, 0x1510)),
    *((0x0028, 0x3010), (0x0028, 0x3002), (0x5200, 0x9229), (0x7FE0, 0x0010), (0x0002, 0x0000), (0x0018, 0x1600)),
]
SYNTAXES = [f"1.2.840.10008.1.2{end}".encode() for end in ("\0", ".1\0", ".2\0", ".5\0")]
SYNTAXES += [f"1.2.840.10008.1.2.4.{number}".encode() for number in (50, 51, 57, 70, 80, 81, 90, 91)]
MARKERS = [b"\xff" + kind for kind in (b"\xc0", b"\xc3", b"\xf7", b"\x51", b"\x52", b"\x90", b"\xc4", b"\xda")]
EXTREMES = [b"\0", b"\xff", b"\x7f", b"\x80", b"\x01"]


def mutated(whole: bytes, seed: int) -> bytes:
    """A damaged copy: one to three of the mutations below; the same seed damages alike."""
    rng, data = np.random.default_rng(seed), bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        if len(data) > 256:
            pixels = min(max(data.find(b"\xe0\x7f\x10\x00"), 200), len(data) - 1)
            MUTATIONS[rng.integers(len(MUTATIONS))](data, rng, pixels)
    return bytes(data)


def some_bytes(data: bytearray, rng: np.random.Generator, pixels: int) -> None:
    """Some bytes before the pixels, or of them, become others."""
    start, end, most = ((128, pixels, 12), (pixels, len(data), 40))[rng.integers(2)]
    for place in rng.integers(start, end, rng.integers(1, most)):
        data[place] = rng.integers(256)


def cut(data: bytearray, rng: np.random.Generator, pixels: int) -> None:
    """The end is missing."""
    del data[int(rng.integers(0, len(data))) :]


def hole(data: bytearray, rng: np.random.Generator, pixels: int) -> None:
    """A piece from within is missing, or there twice."""
    start, length = int(rng.integers(128, len(data))), int(rng.integers(1, 400))
    data[start : start + length] = data[start : start + length] * int(2 * rng.integers(2))


def steering_value(data: bytearray, rng: np.random.Generator, pixels: int) -> None:
    """A tag that steers sizes, or its length, becomes an extreme."""
    place = data.find(pack("<HH", *STEERING[rng.integers(len(STEERING))]))
    offset, size = place + int(rng.choice([4, 6, 8, 10, 12])), int(rng.choice([1, 2, 4]))
    if place >= 0:
        data[offset : offset + size] = EXTREMES[rng.integers(len(EXTREMES))] * size


def other_syntax(data: bytearray, rng: np.random.Generator, pixels: int) -> None:
    """The file claims another compression than it has."""
    place, new = data.find(b"\x02\x00\x10\x00UI"), SYNTAXES[rng.integers(len(SYNTAXES))]
    length = int.from_bytes(data[place + 6 : place + 8], "little")
    data[place + 6 : place + 8 + length] = pack("<H", len(new)) + new


def marker(data: bytearray, rng: np.random.Generator, pixels: int) -> None:
    """A compressed stream's own header lies about sizes, depth or tables."""
    place = data.find(MARKERS[rng.integers(len(MARKERS))], pixels)
    for offset in rng.integers(2, 42, rng.integers(1, 4)) if place >= 0 else []:
        data[place + offset : place + offset + 1] = EXTREMES[rng.integers(len(EXTREMES))]


MUTATIONS = (some_bytes, some_bytes, cut, hole, steering_value, steering_value, other_syntax, marker)


def read_files(seeds: list[Path], numbers: range, told: Connection) -> None:
    """The child: read damaged files and tell what became of each; limits end the process."""
    from cag.data.dicom import read_cine
    from cag.settings import DicomError

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
    from dicom_variants import write_all

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
