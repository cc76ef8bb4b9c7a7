"""Where results live: one folder per piece of work, named by what it depends on.

A folder is complete only when its marker is written last; every file is written to a temporary
name and renamed. A process killed at any moment leaves either a whole file or none.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cag.networks.weights import weights_digest
from cag.settings import InputError, Settings, write_atomically

__all__ = ["RunFolder", "Store", "write_atomically"]

_MARKER = "complete.json"
_TOOK = "took"


@dataclass(frozen=True)
class RunFolder:
    """One piece of work on disk: tables, weights, settings."""

    path: Path

    @property
    def complete(self) -> bool:
        """Whether the work was finished and everything it stores is there."""
        return (self.path / _MARKER).exists()

    def has(self, name: str) -> bool:
        """Whether a file of this name (with suffix) is stored."""
        return (self.path / name).exists()

    @property
    def seconds(self) -> float | None:
        """Seconds that the work took; None where that was not recorded."""
        return float(self.load_json(_TOOK)["seconds"]) if self.has(f"{_TOOK}.json") else None

    def save_seconds(self, seconds: float) -> None:
        """Store how long the work took."""
        self.save_json(_TOOK, {"seconds": round(seconds, 2)})

    def save_table(self, name: str, table: pd.DataFrame) -> None:
        """Store a table as Parquet."""
        write_atomically(self.path / f"{name}.parquet", lambda p: table.to_parquet(p, index=False))

    def load_table(self, name: str) -> pd.DataFrame:
        """Load a stored table; a torn or foreign file is refused by name."""
        return self._load(f"{name}.parquet", pd.read_parquet)

    def save_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Store a mapping as JSON."""
        text = json.dumps(value, indent=1, sort_keys=True)
        write_atomically(self.path / f"{name}.json", lambda p: p.write_text(text))

    def load_json(self, name: str) -> dict[str, Any]:
        """Load a stored mapping."""
        return self._load(f"{name}.json", lambda p: json.loads(p.read_text()))

    def save_weights(self, name: str, state: Mapping[str, Tensor]) -> None:
        """Store a state dictionary as safetensors."""
        tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
        write_atomically(self.path / f"{name}.safetensors", lambda p: save_file(tensors, p))

    def load_weights(self, name: str) -> dict[str, Tensor]:
        """Load a stored state dictionary onto the CPU."""
        return self._load(f"{name}.safetensors", load_file)

    def finish(self, settings: Settings) -> None:
        """Mark the work complete, with the settings it was made with."""
        self.save_json("settings", settings.model_dump(mode="json"))
        self.save_json(Path(_MARKER).stem, {"files": sorted(p.name for p in self.path.iterdir())})

    def clear(self) -> None:
        """Remove what an unfinished attempt left."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _load(self, name: str, read: Callable[[Path], Any]) -> Any:
        try:
            return read(self.path / name)
        except (OSError, ValueError, SafetensorError) as error:
            remedy = "Delete its folder and run again: only this piece is computed anew"
            problem = f"stored result cannot be read ({type(error).__name__})"
            raise InputError(problem, file=f"{self.path.name}/{name}", remedy=remedy) from error


@dataclass(frozen=True)
class Store:
    """All stored work of one profile, below one folder; it remembers which published tables were used."""

    root: Path
    _used: list[str] = field(default_factory=list, compare=False, repr=False)

    @property
    def used(self) -> tuple[str, ...]:
        """Names of the published tables written or read so far, each once, in order."""
        return tuple(name for name in dict.fromkeys(self._used) if (self.root / f"{name}.parquet").exists())

    def folder(self, kind: str, settings: Settings, cohort_digest: str) -> RunFolder:
        """The folder of a piece of work: its kind, its settings, the cohort and the trunk it starts from decide."""
        parts = f"{settings.digest()}:{cohort_digest}:{trunk_digest(settings)}"
        key = hashlib.sha256(parts.encode()).hexdigest()[:16]
        return RunFolder(self.root / kind / key)

    @property
    def working(self) -> Path:
        """Where unfinished work lies, out of sight of those who look for results."""
        return self.root / ".working"

    def table(self, name: str) -> Path:
        """Path of a published table, ``<root>/<name>.parquet``."""
        self._used.append(name)
        return self.root / f"{name}.parquet"

    def publish(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """Store a table at the top of the profile, where figures, pages and readers find it."""
        write_atomically(self.table(name), lambda p: table.to_parquet(p, index=False))
        return table


def trunk_digest(settings: Settings) -> str:
    """What identifies the ``xa`` weights where settings, or settings within them, start from them; else empty.

    The weights are retrained now and then: what was computed from others must not be found again.
    """
    return weights_digest() if _names_xa(settings.model_dump(mode="json")) else ""


def _names_xa(values: object) -> bool:
    if isinstance(values, dict):
        return values.get("weights") == "xa" or any(_names_xa(value) for value in values.values())
    return isinstance(values, list) and any(_names_xa(value) for value in values)
