"""What tells one file, one run's grey levels or one version of the code from another."""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from cag.data.images import image_files
from cag.settings import ROOT

GRID = 4  #: Cells along each side of a fingerprint's grid.
#: Largest difference of a cell's mean grey level that still counts as the same picture: last-bit
#: differences between processors move a mean by far less than one grey level, which rounding can double.
TOLERANCE = 1


def fingerprint_frames(n_frames: int) -> list[int]:
    """First, middle and last frame of a run."""
    return [0, n_frames // 2, n_frames - 1]


def cell_means(frames: UInt8[np.ndarray, "*t h w"], cells: int) -> np.ndarray:
    """Mean grey level of ``cells`` x ``cells`` parts of each frame, which have at least as many pixels a side."""
    sides = [np.array_split(np.arange(side), cells) for side in frames.shape[-2:]]
    (tops, lefts), sizes = ([part[0] for part in parts] for parts in sides), [list(map(len, parts)) for parts in sides]
    sums = np.add.reduceat(np.add.reduceat(frames.astype(np.int64), tops, axis=-2), lefts, axis=-1)
    return sums / np.outer(sizes[0], sizes[1])


def fingerprint(frames: UInt8[np.ndarray, "t h w"]) -> str:
    """Mean grey level of 4 x 4 cells of each frame of `fingerprint_frames`, rounded, two hexadecimal digits a cell."""
    return np.rint(cell_means(frames, GRID)).astype(np.uint8).tobytes().hex()


def same_picture(one: str, other: str) -> bool:
    """Whether two fingerprints differ by no more than the last bits of a rendering can explain."""
    levels = [np.frombuffer(bytes.fromhex(text), np.uint8).astype(int) for text in (one, other)]
    return len(one) == len(other) and bool((np.abs(levels[0] - levels[1]) <= TOLERANCE).all())


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def joint_digest(digests: Sequence[str]) -> str:
    """SHA-256 of a run's bytes, from those of its files: of one, the same."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def path_digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's images (names and contents, in their order)."""
    if path.is_file():
        return file_digest(path)
    lines = (f"{image.name}\0{file_digest(image)}\n" for image in image_files(path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


_digest_then = lru_cache(maxsize=2**17)(lambda path, size, modified: path_digest(path))


def known_digest(path: Path) -> str:
    """`path_digest`, computed once as long as size and time stay."""
    status = path.stat()
    return _digest_then(path, status.st_size, status.st_mtime_ns)


@lru_cache
def code_digest(module: str, counted: tuple[str, ...], left_out: tuple[str, ...] = ()) -> str:
    """Digest of the code of a module and of those it imports: ``counted`` and ``left_out`` begin their names."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            imported, found[name] = _code(_source(name))
            waiting += [own for own in imported if own.startswith(counted) and not own.startswith(left_out)]
    text = "\0".join(f"{name}\0{found[name]}" for name in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _source(module: str) -> str:
    loaded = sys.modules.get(module)
    path = getattr(loaded, "__file__", None) or getattr(importlib.util.find_spec(module), "origin", None)
    return Path(str(path)).read_text(encoding="utf-8")


@lru_cache(maxsize=4096)
def _code(source: str) -> tuple[frozenset[str], str]:
    """The modules that a module's text imports, and its code."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = node.body[ast.get_docstring(node, clean=False) is not None :]
    return frozenset(imported_modules(tree)), ast.unparse(tree)


def imported_modules(tree: ast.AST) -> set[str]:
    """Modules that a module imports, wherever in its text; of ``from package import name``, a module by that name."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name for name in below if name.startswith("cag.") and _is_module(name)} or {node.module}
    return names


def _is_module(name: str) -> bool:
    """By its file: looking for its specification would import whatever stands above it."""
    place = ROOT / name.replace(".", "/")
    return place.is_dir() or place.with_name(f"{place.name}.py").is_file()
