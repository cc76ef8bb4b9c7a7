"""How long the worked changes of the book's page *What if* take, run as they stand there.

Run ``python -m benchmarks.what_if --out benchmarks/measured/what_if.csv`` in a project whose demo study has run.
Each change is executed from its own command block, one after another; its executed notebook, its results and a
cohort that it simulates are deleted afterwards, so that the next measurement begins from the same place.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from dask.system import cpu_count as cores

from cag.settings import ROOT

PAGE = ROOT / "book" / "use" / "what_if.md"
_SECTION = re.compile(r"^\(what-if-(?P<change>\w+)\)=.*?^```bash\n(?P<commands>.*?)^```", re.MULTILINE | re.DOTALL)


def changes(page: str) -> dict[str, str]:
    """Name of each worked change of the page -> its commands."""
    return {found["change"]: found["commands"] for found in _SECTION.finditer(page)}


def produced(commands: str) -> list[Path]:
    """What the commands leave in the project: executed notebooks, the results of a profile, a cohort."""
    words = shlex.split(commands.replace("\\\n", " "))
    paths = [Path(word) for word in words if word.endswith(".ipynb") and not word.startswith("notebooks/")]
    for before, option, value in zip(words, words[1:], words[2:], strict=False):
        if (before, option) == ("-p", "profile"):
            paths.append(Path("results", value))
    paths += [Path(value) for option, value in pairwise(words) if option == "--out"]
    return list(dict.fromkeys(paths))


def measure(commands: str, root: Path) -> float:
    """Minutes that the commands take in a project.

    Raises
    ------
    FileExistsError
        If something that they leave is there already: it would be found again, or lost.
    subprocess.CalledProcessError
        If one fails.
    """
    left = [root / path for path in produced(commands)]
    for path in left:
        if path.exists():
            raise FileExistsError(f"{path} exists already; move it away, since it would be found again and then lost")
    start = time.perf_counter()
    try:
        subprocess.run(["bash", "-e", "-c", commands], cwd=root, check=True)
        return (time.perf_counter() - start) / 60
    finally:
        for path in left:
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)


def main(
    only: Annotated[str, typer.Option(help="changes, with commas; all without it")] = "",
    out: Annotated[Path | None, typer.Option(help="CSV of the times; changes measured before stay in it")] = None,
) -> None:
    """Measure; print and store minutes. A change that fails is told, and the exit status is 1."""
    known = changes(PAGE.read_text(encoding="utf-8"))
    rows = {} if out is None or not out.exists() else pd.read_csv(out, index_col="change").to_dict("index")
    failed = []
    for change in only.split(",") if only else known:
        try:
            rows[change] = {"minutes": round(measure(known[change], ROOT), 1), "cores": cores()}
        except subprocess.CalledProcessError as error:
            failed.append(change)
            typer.echo(f"{change}: failed with exit status {error.returncode}")
            continue
        typer.echo(f"{change}: {rows[change]['minutes']} minutes on {cores()} cores")
        if out is not None:
            pd.DataFrame.from_dict(rows, orient="index").rename_axis("change").to_csv(out)
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    typer.run(main)
