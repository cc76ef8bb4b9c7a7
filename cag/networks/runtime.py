"""Where a computation runs and in which arithmetic."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from cag.settings import SettingsError

Precision = Literal["auto", "fp32", "bf16"]

#: How training steps are compiled. What a result depends on is in its settings; this is only how fast it comes.
COMPILE_VARIABLE = "CAG_COMPILE"
#: ``reduce-overhead`` and ``max-autotune`` capture CUDA graphs.
COMPILE_MODES = ("off", "default", "reduce-overhead", "max-autotune")


@dataclass(frozen=True)
class Runtime:
    """Device and arithmetic of a computation."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def choose(cls, device: str = "auto", precision: Precision = "auto") -> Runtime:
        """Take CUDA where there is one, and bfloat16 where it is native (AVX512-BF16, AMX, recent GPUs).

        Raises
        ------
        SettingsError
            When CUDA is asked for and absent.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise SettingsError("no CUDA device here", field="device", remedy="Set device to auto or cpu")
        cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        native = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else _cpu_has_bfloat16()
        narrow = precision == "bf16" or (precision == "auto" and native)
        return cls(torch.device("cuda" if cuda else "cpu"), torch.bfloat16 if narrow else torch.float32)

    def autocast(self) -> torch.autocast:
        """Context of mixed precision; does nothing in float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def describe(self) -> str:
        """Device and precision in words, for a run's record."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return f"{name}, {str(self.dtype).removeprefix('torch.')}"


class Compiled:
    """Context in which a network's call is its compiled one: for training steps, whose shapes repeat.

    Evaluation in between runs uncompiled: its batches have other shapes, each of which would be compiled.
    """

    def __init__(self, model: nn.Module, call: Callable[..., Any] | None) -> None:
        self.model, self.call = model, call

    @classmethod
    def chosen(cls, model: nn.Module) -> Compiled:
        """As the environment variable ``CAG_COMPILE`` says; off by default.

        Raises
        ------
        SettingsError
            If it names no mode.
        """
        mode = os.environ.get(COMPILE_VARIABLE, "off")
        if mode not in COMPILE_MODES:
            remedy = f"Set it to one of {', '.join(COMPILE_MODES)}"
            raise SettingsError(f"{mode!r} is no way to compile", field=COMPILE_VARIABLE, remedy=remedy)
        call = None if mode == "off" else torch.compile(model._call_impl, mode=mode, dynamic=False)
        return cls(model, call)

    def __enter__(self) -> None:
        self.model._compiled_call_impl = self.call  # what nn.Module.compile sets, here for a while only

    def __exit__(self, *_: object) -> None:
        self.model._compiled_call_impl = None


def _cpu_has_bfloat16() -> bool:
    """Emulated bfloat16 is slower than float32, so only instructions for it count."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe)() for probe in probes if hasattr(torch.cpu, probe))


#: Where Linux tells a container what it may use (control groups, version 2).
CONTAINER = Path("/sys/fs/cgroup")


def cores() -> int:
    """Processor cores this process may use; a container's share is rounded up to whole cores."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = container_limit("cpu.max").partition(" ")
    return min(count, math.ceil(int(quota) / int(period))) if quota.isdigit() and period.isdigit() else count


def container_limit(name: str) -> str:
    """What a limit's file says; empty where there is none."""
    path = CONTAINER / name
    return path.read_text().strip() if path.is_file() else ""
