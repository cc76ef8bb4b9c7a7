"""What leaves a profile: the published run, a real run's tables beside it, and a zip to deposit, with checksums."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from cag.book.build import PUBLISHED
from cag.book.execute import require_executed
from cag.book.page import readable_table
from cag.settings import ROOT, InputError

#: Folders of a profile that a book is built from; its prediction tables come with them.
_KEPT = ("notebooks", "exhibits")
#: Bytes of a run that a repository takes without harm.
LARGEST_RUN = 25_000_000
_PNG = re.compile(b"iVBORw0KGgo[A-Za-z0-9+/]+=*")
#: Figures of a real run that show neither pixels nor where the set's own boxes lie.
CURVES = ("fig-froc",)
#: Names of files that tell who a patient is, or show one.
PRIVATE = (".pseudonym_key", "files_private.csv", "studies_private.csv", "report.html")


def publish_run(profile: str) -> str:
    """Put a profile's notebooks, exhibits and prediction tables in place of the published ones; tells their size.

    A notebook that is not finished, and more than a repository takes, are an `InputError`.
    """
    source, target = ROOT / "results" / profile, ROOT / "results" / PUBLISHED
    require_executed(source)
    if profile == PUBLISHED:
        raise InputError("is the published run itself", file=f"results/{profile}", remedy="Name the profile it shows")
    files = [*source.glob("[!.]*.parquet"), *(path for folder in _KEPT for path in (source / folder).rglob("[!.]*.*"))]
    kept = {path.relative_to(source): _packed(path) for path in sorted(files)}
    size = sum(map(len, kept.values()))
    if size > LARGEST_RUN:
        largest = max(kept, key=lambda name: len(kept[name]))
        problem = f"too large to publish ({len(kept[largest]) / 1e6:.0f} of {size / 1e6:.0f} MB in all)"
        remedy = f"Have it show less: {LARGEST_RUN / 1e6:.0f} MB in all"
        raise InputError(problem, file=largest.as_posix(), remedy=remedy)
    for folder in _KEPT:
        shutil.rmtree(target / folder, ignore_errors=True)
    for table in target.glob("*.parquet"):
        table.unlink()
    for name, content in kept.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
    return f"results/{PUBLISHED}: {size / 1e6:.1f} MB"


def _packed(path: Path) -> bytes:
    """The bytes of a file: tables in half the bytes, notebooks and drawings with smaller pictures in them."""
    if path.suffix == ".parquet":
        return _dense(pd.read_parquet(path))
    return _PNG.sub(_smaller, path.read_bytes()) if path.suffix in (".ipynb", ".svg") else path.read_bytes()


def _dense(table: pd.DataFrame) -> bytes:
    """A table as parquet, the bytes of its floating-point numbers sorted by place, which packs them best."""
    places = {str(name): "BYTE_STREAM_SPLIT" for name, kind in table.dtypes.items() if kind.kind == "f"}
    others = [str(name) for name in table if name not in places]
    packing: dict[str, Any] = {"compression": "zstd", "compression_level": 19, "use_dictionary": others}
    return table.to_parquet(None, index=False, column_encoding=places, **packing)


def _smaller(found: re.Match[bytes]) -> bytes:
    """A PNG in base64 with one channel where all its pixels are grey, else with at most 256 colors."""
    shown, out = Image.open(io.BytesIO(base64.b64decode(found[0]))), io.BytesIO()
    grey, colored = shown.convert("L"), shown.convert("RGB")
    same, alpha = grey.convert("RGB").tobytes() == colored.tobytes(), shown.convert("RGBA").getchannel("A")
    (grey if same else colored.quantize(256)).save(out, "png", optimize=True)
    return min(found[0], base64.b64encode(out.getvalue()), key=len) if alpha.getextrema()[0] == 255 else found[0]


def publish_real(profile: str) -> Path:
    """Publish what was found on real angiograms in ``measured/<profile>``; none of it is an `InputError`.

    Pictures and true boxes, of which the place prior's are some, stay behind: they belong to the set.
    """
    source, target = ROOT / "results" / profile, ROOT / "results" / PUBLISHED / "measured" / profile
    exhibits = source / "exhibits" / "localization"
    if not (exhibits / "run_line.txt").exists():
        remedy = f"Execute its notebook with profile {profile} first"
        raise InputError("holds no results of the section localization", file=f"results/{profile}", remedy=remedy)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in (exhibits / "run_line.txt", *(exhibits / f"{name}.svg" for name in CURVES)):
        if path.exists():
            shutil.copyfile(path, target / path.name)
    for path in exhibits.glob("tab-*.csv"):
        table = pd.read_csv(path)
        shown = [name for name in map(str, table) if not name.endswith((", value", ", low", ", high"))]
        readable_table(table[shown]).to_csv(target / path.name, index=False)
    for path in source.glob("localization*.parquet"):
        table = pd.read_parquet(path)
        if not path.stem.endswith("_truth"):
            boxes = {"method", "x1"} <= set(table.columns)
            (target / path.name).write_bytes(_dense(table[table["method"] != "prior"] if boxes else table))
    return target


def write_archive(out: Path) -> list[str]:
    """Write a zip that can be deposited: the files of the last commit, the built book, and checksums over all.

    Returns what was left out: files of the project's folder that are not, or not so, in that commit. A book that was
    not built, a folder that is no git checkout, and a file that must stay private are an `InputError`.
    """
    pages, pdf = ROOT / "_build" / "html", ROOT / "_build" / "book.pdf"
    if not (pages / "index.html").exists():
        raise InputError("there is no built book", file="_build/html", remedy="Run `make book` first")
    part = out.with_suffix(".part")
    out.parent.mkdir(parents=True, exist_ok=True)
    _git("archive", "--format=zip", "--prefix=project/", f"--output={part}", "HEAD")
    files = {f"book/{path.relative_to(pages).as_posix()}": path for path in pages.rglob("[!.]*") if path.is_file()}
    files |= {"pdf/book.pdf": pdf} if pdf.exists() else {}
    with zipfile.ZipFile(part, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(files.items()):
            archive.write(path, name)
        names = [name for name in archive.namelist() if not name.endswith("/")]
        for name in names:
            if name.rpartition("/")[2] in PRIVATE:
                part.unlink()
                remedy = "Take it out of git with its folder, commit, and run again"
                raise InputError("must stay private", file=name, remedy=remedy)
        sums = [f"{hashlib.sha256(archive.read(name)).hexdigest()}  {name}\n" for name in names]
        archive.writestr("SHA256SUMS", "".join(sums))
    part.replace(out)
    return [line[3:] for line in _git("status", "--porcelain").splitlines()]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError("git does not know this folder", file="the project", remedy="Archive from a git checkout")
    return done.stdout
