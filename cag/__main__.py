"""The command line: ``python -m cag COMMAND``, thin over the package."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from cag.anatomy import Artery
from cag.settings import ROOT, InputError

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="A study of coronary angiography."
)
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute")]


@app.command()
def simulate(
    patients: Annotated[int, typer.Option(help="Patients to simulate")] = 24,
    seed: Annotated[int, typer.Option(help="Another seed is another cohort")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the files and their manifest")] = ROOT / "data" / "simulated",
) -> None:
    """Simulate a cohort and write it as DICOM cine runs with its tables."""
    from cag.simulator.phantom.cohort import CohortSettings
    from cag.simulator.write import write_simulated

    typer.echo(f"Manifest: {write_simulated(CohortSettings.checked({'patients': patients, 'seed': seed}), out)}")


@app.command()
def manifest(
    folder: Annotated[Path, typer.Argument(help="Folder with DICOM files, at any depth")],
    out: Annotated[Path, typer.Option(help="The manifest to write")] = Path("data_manifest.csv"),
    qca: Annotated[Path | None, typer.Option(help="Stenoses, CSV or Excel: patient, segment, percent_stenosis")] = None,
) -> None:
    """Build a manifest from any DICOM tree and list what was refused, and why."""
    from cag.data.manifest import build_manifest

    report = build_manifest(folder, out, qca=qca)
    for name, reason in report.refused.items():
        typer.echo(f"refused  {name}: {reason}")
    for note in report.notes:
        typer.echo(f"note     {note}")
    typer.echo(f"{len(report.manifest)} runs in {out}, {len(report.refused)} files refused")


@app.command()
def verify(path: Annotated[Path, typer.Argument(help="A manifest")] = ROOT / "data_manifest.csv") -> None:
    """Tell file by file whether it is the one of the manifest; exit status 1 where not."""
    from cag.data.manifest import verify as verify_manifest

    wrong = verify_manifest(path)
    for name, problem in wrong.items():
        typer.echo(f"error  {name}: {problem}")
    typer.echo(f"{len(wrong)} errors" + ". Put these files back, or build the manifest anew" * bool(wrong))
    raise typer.Exit(1 if wrong else 0)


@app.command()
def fetch(
    name: Annotated[Literal["arcade", "cadica", "danilov"], typer.Argument(metavar="SET", help="A public set")],
    out: Annotated[Path, typer.Option(help="Folder of the sets; the set goes below it")],
    archive: Annotated[Path | None, typer.Option(help="The set's archive, if you have downloaded it yourself")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="The license is accepted; do not ask")] = False,
) -> None:
    """Download a public set of angiograms after showing its license, and read it once."""
    from cag.data.public.fetch import SOURCES, describe
    from cag.data.public.fetch import fetch as fetch_set

    typer.echo(describe(SOURCES[name]))
    if not yes:
        typer.confirm("Do you accept this license and download the set?", abort=True)
    folder, found = fetch_set(name, out, archive=archive)
    runs, boxes = found.tables.manifest, found.tables.boxes
    typer.echo(f"{runs.patient_id.nunique()} patients or groups, {len(runs)} runs, {len(boxes)} boxes")
    for quirk, count in found.counts.items():
        typer.echo(f"{count:6} {quirk}")
    typer.echo(f"Ready in {folder}")


@app.command()
def study(
    profile: Annotated[str, typer.Option(help="A file of notebooks/parameters")] = "demo",
    only: Annotated[list[str] | None, typer.Option(help="Notebooks by the beginning of their names")] = None,
    p: Annotated[list[str] | None, typer.Option("-p", help="NAME=VALUE, over the profile's parameters")] = None,
    scheduler: Annotated[str, typer.Option(help="tcp://HOST:PORT of a Dask scheduler, or local:N")] = "",
) -> None:
    """Execute the notebooks of a profile; finished work is found again."""
    from cag.book.execute import parse_overrides, run_study
    from cag.simulator.phantom.cohort import CohortSettings
    from cag.simulator.write import write_simulated

    overrides = parse_overrides(p or [])
    if profile == "demo" and "manifest" not in overrides:
        write_simulated(CohortSettings(), ROOT / "data" / "simulated", manifest_path=ROOT / "data_manifest.csv")
    for name, seconds, reused in run_study(profile, only=only or (), overrides=overrides, scheduler=scheduler):
        typer.echo(f"{name:32} {'found again' if reused else f'{seconds:6.1f} s'}")


@app.command()
def pretrain(
    weights: Annotated[Literal["xa", "xa-labels"], typer.Option(help="Taught by masks and boxes, or by labels")] = "xa",
    backbone: Annotated[str, typer.Option(help="inception_v3 or efficientnet_lite0")] = "inception_v3",
    patients: Annotated[int, typer.Option(help="Simulated patients, none of a study's cohort; 0 as usual")] = 0,
    epochs: Annotated[int, typer.Option(help="Passes over their frames; 0 as usual")] = 0,
    device: Device = "auto",
) -> None:
    """Make weights of a trunk on a simulated population; a stopped call goes on where it was."""
    from cag.simulator.pretraining import pretrain as train
    from cag.simulator.pretraining import recipe

    settings = recipe(weights, backbone, **({"patients": patients} if patients else {}))
    if epochs:
        settings = settings.model_copy(update={"fit": settings.fit.model_copy(update={"epochs": epochs})})
    result = train(settings, ROOT / "results" / "pretraining", device=device)
    for name, value in result.record["quality"].items():
        typer.echo(f"{name:20} {value:.3f}" if value is not None else f"{name:20} not measured")


@app.command()
def book(
    profile: Annotated[str, typer.Option(help="Whose results to show; the published run or the demo by default")] = "",
) -> None:
    """Render the book from a profile's executed notebooks; trains and simulates nothing."""
    from cag.book.build import build_book, profile_to_show

    typer.echo(f"Open {os.path.relpath(build_book(profile or profile_to_show()))}")


@app.command()
def pdf() -> None:
    """Print the whole book, from what `book` has laid out, as _build/book.pdf; needs Chromium."""
    from cag.book.build import print_book

    typer.echo(f"Wrote {os.path.relpath(print_book(ROOT / '_build' / 'book.pdf'))}")


@app.command()
def publish(
    profile: Annotated[str, typer.Option(help="Whose results become the published run")] = "demo",
    real: Annotated[bool, typer.Option("--real", help="A run on real angiograms, to lie beside it")] = False,
) -> None:
    """Copy what the book needs from a profile to results/published, small enough to commit."""
    from cag.book.publish import publish_real, publish_run

    typer.echo(f"Published {os.path.relpath(publish_real(profile)) if real else publish_run(profile)}")


@app.command()
def archive() -> None:
    """Write a zip to deposit, _build/cag-archive.zip: the files of the last commit, the built book, and checksums."""
    from cag.book.publish import write_archive

    out = ROOT / "_build" / "cag-archive.zip"
    for name in write_archive(out):
        typer.echo(f"left out, as it is not in the last commit: {name}")
    typer.echo(f"Wrote {os.path.relpath(out)}")


@app.command()
def page(notebook: Annotated[Path, typer.Argument(help="An executed notebook, such as papermill writes")]) -> None:
    """Render one executed notebook as a page of its own, beside it."""
    from cag.book.page import render_page

    typer.echo(f"Open {os.path.relpath(render_page(notebook))}")


@app.command()
def read(
    study_folder: Annotated[
        Path, typer.Argument(metavar="STUDY", help="Folder with DICOM files at any depth, or a zip or tar archive")
    ],
    models: Annotated[Path, typer.Option(help="Results folder of a study that was run, or its bundle")],
    out: Annotated[Path | None, typer.Option(help="Folder for the report; below results/reading by default")] = None,
    artery: Annotated[Artery | None, typer.Option(help="Of all runs; the networks tell by default")] = None,
    batch: Annotated[bool, typer.Option("--batch", help="STUDY holds studies, a subfolder or archive each")] = False,
    device: Device = "auto",
) -> None:
    """Read a patient's angiograms: frames, artery and view, probabilities, boxes, and a report."""
    from cag.book.report import ReportRequest, default_folder, write_batch, write_report

    request = ReportRequest(study_folder, models, out or default_folder(study_folder), artery=artery, device=device)
    typer.echo(f"Open {write_batch(request) if batch else write_report(request)}")


@app.command()
def detect(
    angiograms: Annotated[Path, typer.Argument(help="DICOM or image file, a folder or archive of them, or a set")],
    out: Annotated[Path, typer.Option(help="Folder for boxes.csv and pictures")] = ROOT / "results" / "detection",
    device: Device = "auto",
) -> None:
    """Find stenoses by the detector that learned on real frames; a folder in ARCADE's layout is scored instead."""
    from cag.chapters.angiograms.detection import detect_files, score_set
    from cag.data.public import is_public

    if is_public(angiograms):
        for row in score_set(angiograms, device).itertuples():
            typer.echo(f"IoU {row.iou}  {row.metric:14} {row.value:.3f} ({row.low:.3f} to {row.high:.3f})")
        return
    boxes, refused = detect_files(angiograms, out, device)
    for name, reason in refused.items():
        typer.echo(f"refused  {name}: {reason}")
    typer.echo(f"{boxes.counts.sum()} boxes count, {len(refused)} files refused; see {os.path.relpath(out)}")


def main() -> None:
    """Run the command line; an input that is refused is one sentence and exit status 1."""
    try:
        app()
    except InputError as error:
        sys.exit(f"cag: {error}")


if __name__ == "__main__":
    main()
