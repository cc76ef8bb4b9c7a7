"""Refusal of impossible parameters by name."""

from __future__ import annotations

import numpy as np

from cag.settings import SettingsError


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuse a parameter that is not a finite number in ``low..high``; raises SettingsError."""
    if not np.isfinite(value) or not low <= value <= high:
        raise SettingsError(f"{value!r} is out of range", field=name, remedy=f"Choose a value from {low:g} to {high:g}")
