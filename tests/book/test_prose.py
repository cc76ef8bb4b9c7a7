"""Numbers with decimals come from a notebook, and words about stored measurements follow from them."""

import re

import nbformat
import pandas as pd
import pytest

from benchmarks.estimates import Rates, estimate, readable
from benchmarks.gpu import grid_hours
from benchmarks.scaling_figure import slopes
from cag.settings import ROOT

#: What may hold decimals: fenced blocks, roles and code, math, link targets, versions, and headings, which name them.
NOT_PROSE = re.compile(r"(?ms)```.*?```|`[^`]*`|\$[^$]+\$|\]\([^)]*\)|https?://\S+|Python \d+\.\d+|^#+ [^\n]*$")
#: A rule, not a result: "IoU of at least .5", "threshold .75".
RULE = re.compile(
    r"(?i)\b(?:IoU|overlap|threshold|cut-point|level|above a score|says|code uses)s?\b[^.\n]{0,24}?\d*\.\d+"
    r"(?:(?:,| and| or| to| instead of)\s\d*\.\d+)*"
)
DECIMAL = re.compile(r"(?<![\w.])\d*\.\d+(?![\w.]*\d)")


def typed_numbers(text: str) -> list[str]:
    """Decimals that stand in the prose itself."""
    return DECIMAL.findall(RULE.sub("", NOT_PROSE.sub(" ", text)))


#: Text of each page on which results may be told, by its name.
FILES = [path for place in ("index.md", "study/*.md", "scrutiny/*.md") for path in (ROOT / "book").glob(place)]
PROSE = {path.relative_to(ROOT).as_posix(): path.read_text() for path in FILES}
for path in (ROOT / "notebooks").glob("*.ipynb"):
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    # Exercises work with numbers of their own.
    PROSE[path.name] = "\n\n".join(text for text in cells if not text.startswith("## Exercises"))


@pytest.mark.parametrize("name", sorted(PROSE))
def test_no_result_is_typed(name):
    assert typed_numbers(PROSE[name]) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The AUC was 0.86, a sensitivity of 94.1 % in about .5 frames.", ["0.86", "94.1", ".5"]),
        ("{glue:text}`a.ipynb::auc:.2f` frames", []),
        ("matched at an IoU of 0.2 or 0.5", []),
        ("`cag` 0.1.0 and Python 3.11", []),
        ("# Heading 1.0\n\nThe AUC was 0.86.", ["0.86"]),
        ("detections above a score of .35 at an overlap of .1 instead of .5", []),
        ("segments 1-4, 25 % and 230 patients.", []),
    ],
)
def test_rule_tells_results_from_the_rest(text, found):
    assert typed_numbers(text) == found


def test_pages_do_not_run_over_into_machines_or_hosts():
    for path in [ROOT / "README.md", *(ROOT / "book").rglob("*.md")]:
        if "notebooks" not in path.parts:
            assert not re.search(r"/home/|/root/|/work/|/tmp/", path.read_text()), path


MEASURED = ROOT / "results" / "published" / "measured"


def test_the_simulator_and_its_reference_detector_are_as_chapter_one_says():
    assert all("vessel masks" in PROSE[f"book/{page}.md"] for page in ("index", "study/methods", "scrutiny/model_card"))
    table = pd.read_csv(ROOT / "results" / "published" / "simulator_acceptance.csv", keep_default_na=False)
    missed = table[table["met"].eq("no") & ~table["part"].isin(["difficulty", "transfer"])]
    assert list(missed["measure"]) == ["noise_immerkaer, median"]
    assert set(table.loc[table["part"] == "shortcuts", "met"]) == {"yes"}
    value = table.set_index("measure")["value"].astype(float)
    assert value["reference detector, Dice of the lumen"] > 0.6
    assert value["reference detector, recall at 1 false peak a frame"] < 0.5
    assert value["reference detector, patient AUC"] < 0.55
    names = ("prior", "zero-shot", "real", "fine-tuned", "real, equal updates")
    prior, zero_shot, real, tuned, equal = (value[f"{name}, best F1 on real frames"] for name in names)
    assert prior < zero_shot and real < tuned < equal


def test_what_the_real_chapter_says_of_images_methods_misses_and_others_follows_from_its_tables():
    table = pd.read_parquet(MEASURED / "arcade" / "localization_metrics.parquet")
    own = table.query("arm == 'clean' and artery == 'both' and metric == 'recall'").set_index("method")
    assert own.loc["fpn", "low"] > 3 * own.loc[["prior", "cam"], "high"].max()
    assert own.loc["cam", "value"] <= own.loc["prior", "value"]
    arcade = MEASURED / "arcade"
    assert f"{1200 - 3} images" in (arcade / "run_line.txt").read_text()
    metrics = pd.read_parquet(arcade / "localization_metrics.parquet")
    own = metrics.query("arm == 'clean' and artery == 'both' and method == 'fpn'").set_index("metric")["value"]
    assert 1 - own["recall"] == pytest.approx(4 / 5, abs=0.03), "about four lesions in five are missed"
    others = pd.read_csv(ROOT / "cag" / "chapters" / "localization" / "others.csv").query("metric == 'f1'")
    assert own["f1"] < others["value"].min()


def test_transfer_between_simulated_and_real_frames_is_as_its_chapter_says():
    table = pd.read_csv(MEASURED / "arcade" / "localization_transfer.csv")
    low = table["Recall"].str.extract(r"\((-?[\d.]+) to", expand=False).astype(float)
    high = table["Recall"].str.extract(r"to (-?[\d.]+)\)", expand=False).astype(float)
    gain = table.iloc[:, -1].str.extract(r"\((?P<low>-?[\d.]+) to (?P<high>-?[\d.]+)\)").astype(float)
    for side in table["Tested on"].unique():
        way = table[table["Tested on"] == side].set_index("Trained on").index
        rows = dict(zip(way, table.index[table["Tested on"] == side], strict=True))
        alone, prior = rows["the other cohort alone"], rows["place prior of these frames"]
        assert low[alone] > high[prior]
        tuned = rows["the other cohort, then these frames"]
        assert gain["low"][tuned] <= 0 <= gain["high"][tuned]


def test_no_stage_grows_faster_than_patients_frames_or_pixels_and_the_page_tells_the_rates_measured():
    table = pd.read_csv(ROOT / "benchmarks" / "measured" / "scaling.csv")
    found = slopes(table)
    assert table.groupby(["axis", "stage"]).size().min() >= 3
    assert found.loc[found["axis"].isin(["patients", "frames"]), "time_slope"].max() < 1.1
    assert found.loc[found["axis"] == "size", "time_slope"].max() < 2.1
    cohort = found[found["axis"] == "patients"]
    assert (cohort["mib_last"] <= 1.5 * cohort["mib_first"] + 1).all()
    page = (ROOT / "book" / "use" / "many_machines.md").read_text(encoding="utf-8")
    rates = pd.read_csv(ROOT / "benchmarks" / "measured" / "two_cores.csv").query("size == 512").set_index("what").value
    assert f"runs at {rates['training, loop of bare']:.2f} of the bare network" in page
    assert f"{rates['training, loop']:.1f} images a second" in page and f"at {rates['simulator']:.0f} frames" in page
    assert f"needs {grid_hours(2000):.1f} hours" in page
    stored = pd.read_csv(ROOT / "benchmarks" / "measured" / "two_cores_estimates.csv")
    table = pd.read_csv(ROOT / "benchmarks" / "measured" / "two_cores.csv")
    found = pd.DataFrame([estimate(count, Rates.of(table), 0.1) for count in (230, 10_000, 1_000_000)])
    assert stored["In all (h)"].tolist() == readable(found)["In all (h)"].tolist()


def test_nothing_of_the_real_set_itself_is_published():
    files = {path.name for path in (MEASURED / "arcade").iterdir()}
    assert not [name for name in files if name.endswith(".png") or "truth" in name or "boxes" in name]
    for name in ("localization_detections", "localization_transfer_detections"):
        assert "prior" not in set(pd.read_parquet(MEASURED / "arcade" / f"{name}.parquet")["method"])
