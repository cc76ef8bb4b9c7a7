"""Where a computation runs and in which arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from cag.errors import SettingsError

Precision = Literal["auto", "fp32", "bf16"]


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


def _cpu_has_bfloat16() -> bool:
    """Emulated bfloat16 is slower than float32, so only instructions for it count."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe)() for probe in probes if hasattr(torch.cpu, probe))
