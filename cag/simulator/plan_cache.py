"""The tables of a simulated cohort, kept so that each notebook and each worker need not plan it again."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from functools import partial
from pathlib import Path

import pandas as pd

from cag.data.labels import CohortTables
from cag.settings import write_atomically
from cag.simulator.phantom.cohort import CohortSettings
from cag.simulator.rendered import plan_tables, simulator_digest


def cached_tables(settings: CohortSettings, device: str, cache: Path) -> tuple[CohortTables, str]:
    """``rendered.plan_tables``, from ``cache`` where it was done before by the same simulator.

    Parameters
    ----------
    cache : Path
        Folder with a folder for each cohort, named by its settings and the simulator.

    Raises
    ------
    InputError
        If the tables cannot be written.
    """
    origin = f"{settings.digest()}:{simulator_digest()}"
    folder = cache / hashlib.sha256(origin.encode()).hexdigest()[:16]
    files = {field.name: folder / f"{field.name}.parquet" for field in fields(CohortTables)}
    # Each file is whole or not there; all of them are there once the last was written.
    if all(file.exists() for file in files.values()):
        return CohortTables(**{name: pd.read_parquet(file) for name, file in files.items()}), origin
    tables, origin = plan_tables(settings, device)
    for name, file in files.items():
        write_atomically(file, partial(getattr(tables, name).to_parquet, index=False))
    return tables, origin
