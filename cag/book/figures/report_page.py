"""The reading report as one HTML page that asks nothing of any other place."""

from __future__ import annotations

import json
from html import escape

import numpy as np
import pandas as pd

from cag.book.figures.reading import boxes_of, run_title
from cag.book.figures.report_images import curve, heat_png, jpeg
from cag.book.figures.report_style import SCRIPT, STYLE
from cag.chapters.reading.reading import StudyReading
from cag.chapters.reading.run import RunReading
from cag.chapters.reading.words import NOT_A_DEVICE, arteries_table, refused_table, runs_table, statements

#: Frames of a run that its player shows, at most.
SHOWN_FRAMES = 48

#: A table's cell with more characters than this holds words that may wrap.
LONG = 28

#: Forbids the page every request: all it shows is in it.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def report_page(reading: StudyReading) -> str:
    """The whole page, as text.

    Parameters
    ----------
    reading : StudyReading
        Pseudonyms alone are shown, of files too.
    """
    parts = [
        f"<h1>Reading of a coronary angiography study</h1><p class='warning'>{escape(NOT_A_DEVICE)}</p>",
        _result(reading),
        "<h2>How to read this</h2>",
        "".join(f"<p>{escape(text)}</p>" for text in [*statements(reading)[1:], _LAYERS]),
        "<h2>Runs</h2>",
        _table(_runs(reading)),
        "".join(_run(run) for run in reading.runs),
        _refused(reading),
        f"<footer>{_PRIVACY}</footer>",
    ]
    return _page("Reading of an angiography study", "".join(parts), script=SCRIPT)


def table_page(title: str, warning: str, table: pd.DataFrame, *, link: str) -> str:
    """A page that holds one table; the column ``link`` names pages beside it.

    Parameters
    ----------
    warning : HTML
    """
    return _page(title, f"<h1>{escape(title)}</h1><p class='warning'>{warning}</p>{_table(table, link=link)}")


def _page(title: str, body: str, *, script: str = "") -> str:
    head = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{escape(title)}</title>"
        f"<link rel='icon' href='data:,'><style>{STYLE}</style></head>"
    )
    return f"{head}<body><main>{body}</main><script>{script}</script></body></html>\n"


_LAYERS = (
    "In each run the shaded part is the contrast interval found, and ticks are the chosen frames. Color shows where "
    "the classifiers find evidence for a stenosis, in each frame from its least to its most; a frame without color has "
    "none. Boxes are the detector's; dotted is the best of a frame in which none reaches the operating point. A run "
    "without a standard view is shown, and has no part in the result. P(≥25 %) and P(100 %) are the highest "
    "probabilities of a stenosis of at least 25 % and of a total occlusion. The number behind an artery is how sure "
    "the network is that told it. Angles are in degrees, LAO and cranial positive. The list files_private.csv beside "
    "this page says which file each pseudonym stands for; keep it to yourself."
)
_PRIVACY = (
    "Patients, studies, runs and files are named by keyed pseudonyms; names, dates and institutions were not read. "
    "White text burned into the pixels is filled where it was found, which is not everywhere: look at the frames "
    "before you share this page."
)


def _runs(reading: StudyReading) -> pd.DataFrame:
    """The table of the runs, with the pseudonym of each one's file."""
    table = runs_table(reading)
    if reading.runs:
        table.insert(1, "File", [run.file for run in reading.runs])
    return table


def _result(reading: StudyReading) -> str:
    """What was found, artery by artery; the patient's line stands out."""
    return f"<h2>Result</h2>{_table(arteries_table(reading), strong=('Level', 'patient'))}"


def _refused(reading: StudyReading) -> str:
    return f"<h2>Files not read</h2>{_table(refused_table(reading))}"


def _run(run: RunReading) -> str:
    """One run: the cine with its curve, then the chosen frames."""
    note = "".join(f"<p class='note'>{escape(text)}</p>" for text in (run.reason, *run.notes) if text)
    frames = "".join(_frame(run, place) for place in range(len(run.frames)))
    toggle = "<label><input type='checkbox' class='heat' checked> heatmap</label>" if run.heatmaps is not None else ""
    boxes = (
        "<label><input type='checkbox' class='box' checked> boxes (dotted: below the operating point)</label>"
        if len(run.frames)
        else ""
    )
    return (
        f"<section class='run'><h3>{escape(run_title(run))}</h3>{note}{_player(run)}"
        f"<div class='switches'>{toggle}{boxes}</div><div class='frames'>{frames}</div></section>"
    )


def _player(run: RunReading) -> str:
    """The cine, small, beside its contrast curve; a slider moves both."""
    shown = np.unique(np.linspace(0, len(run.cine) - 1, SHOWN_FRAMES).round().astype(int)).tolist()
    pictures = [jpeg(run.cine[frame], quality=70) for frame in shown]
    last, start = len(shown) - 1, len(shown) // 2
    return (
        f"<div class='player' data-index='{json.dumps(shown)}' data-last='{run.n_frames - 1}'>"
        f"<div class='cine'><img alt='cine frame' src='{pictures[start]}'>"
        f"<div><button type='button'>play</button>"
        f"<input type='range' min='0' max='{last}' value='{start}' aria-label='frame'><output></output></div></div>"
        f"{curve(run)}<script type='application/json'>{json.dumps(pictures)}</script></div>"
    )


def _frame(run: RunReading, place: int) -> str:
    """A chosen frame with its heatmap and boxes as layers over it."""
    height, width = run.frames.shape[-2:]
    row = run.images.iloc[place]
    heat = f"<img class='heat' alt='heatmap' src='{heat_png(run.heatmaps[place])}'>" if run.heatmaps is not None else ""
    boxes = "".join(
        f"<rect class='{kind}' x='{x1:.1f}' y='{y1:.1f}' width='{x2 - x1:.1f}' height='{y2 - y1:.1f}'/>"
        for kind, counts in (("counts", True), ("below", False))
        for x1, y1, x2, y2 in boxes_of(run, place, counts=counts)
    )
    text = f"frame {int(row.frame)}: contrast {row.p_contrast:.2f}"
    text += f", P(≥25 %) {row.score:.2f}" if "score" in row else ""
    return (
        f"<figure><div class='layers'><img alt='chosen frame' src='{jpeg(run.frames[place])}'>{heat}"
        f"<svg class='box' viewBox='0 0 {width} {height}'>{boxes}</svg></div><figcaption>{text}</figcaption></figure>"
    )


def _table(table: pd.DataFrame, strong: tuple[str, str] | None = None, link: str | None = None) -> str:
    """A table; ``strong`` is a column and the value whose rows are set in bold, ``link`` a column of addresses."""
    head = "".join(f"<th>{escape(str(column))}</th>" for column in table)
    rows = []
    for _, row in table.iterrows():
        cells = "".join(_anchor(value) if name == link else _td(_cell(value)) for name, value in row.items())
        bold = " class='strong'" if strong is not None and row[strong[0]] == strong[1] else ""
        rows.append(f"<tr{bold}>{cells}</tr>")
    whole = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<div class='wide' tabindex='0'>{whole}</div>"


def _anchor(address: object) -> str:
    link = f"<a href='{escape(address, quote=True)}'>open</a>" if isinstance(address, str) else "–"
    return f"<td>{link}</td>"


def _td(text: str) -> str:
    """A cell: sentences may wrap, names and numbers must not."""
    return f"<td{' class=words' * (len(text) > LONG)}>{escape(text)}</td>"


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)) or value is pd.NA:
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) > 1 else f"{value:.2f}"
    return str(value)
