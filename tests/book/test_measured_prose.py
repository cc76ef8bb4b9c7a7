"""What the book says in words of measurements that are stored, not made again by a build: it must follow from them."""

import pandas as pd
import pytest

from benchmarks.estimates import Rates, estimate, readable
from benchmarks.gpu import grid_hours
from benchmarks.scaling_figure import slopes
from cag.settings import ROOT

MEASURED = ROOT / "results" / "published" / "measured"


def test_the_simulator_and_its_reference_detector_are_as_chapter_one_says():
    table = pd.read_csv(ROOT / "results" / "published" / "simulator_acceptance.csv", keep_default_na=False)
    missed = table[table["met"].eq("no") & ~table["part"].isin(["difficulty", "transfer"])]
    assert list(missed["measure"]) == ["noise_immerkaer, median"]
    assert set(table.loc[table["part"] == "shortcuts", "met"]) == {"yes"}
    value = table.set_index("measure")["value"].astype(float)
    assert value["reference detector, Dice of the lumen"] > 0.6
    assert value["reference detector, recall at 1 false peak a frame"] < 0.5
    assert value["reference detector, patient AUC"] < 0.55
    f1 = value.filter(like=", best F1 on real frames").rename(
        lambda name: name.removesuffix(", best F1 on real frames")
    )
    assert f1["prior"] < f1["zero-shot"] and f1["real"] < f1["fine-tuned"] < f1["real, equal updates"]


def test_on_real_angiograms_the_detector_leads_and_the_map_is_no_better_than_the_prior():
    table = pd.read_parquet(MEASURED / "arcade" / "localization_metrics.parquet")
    own = table.query("arm == 'clean' and artery == 'both' and metric == 'recall'").set_index("method")
    assert own.loc["fpn", "low"] > 3 * own.loc[["prior", "cam"], "high"].max()
    assert own.loc["cam", "value"] <= own.loc["prior", "value"]


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


def test_no_stage_grows_faster_than_patients_frames_or_pixels():
    table = pd.read_csv(ROOT / "benchmarks" / "measured" / "scaling.csv")
    found = slopes(table)
    assert table.groupby(["axis", "stage"]).size().min() >= 3
    assert found.loc[found["axis"].isin(["patients", "frames"]), "time_slope"].max() < 1.1
    assert found.loc[found["axis"] == "size", "time_slope"].max() < 2.1
    cohort = found[found["axis"] == "patients"]
    assert (cohort["mib_last"] <= 1.5 * cohort["mib_first"] + 1).all()


def test_nothing_of_the_real_set_itself_is_published():
    files = {path.name for path in (MEASURED / "arcade").iterdir()}
    assert not [name for name in files if name.endswith(".png") or "truth" in name or "boxes" in name]
    for name in ("localization_detections", "localization_transfer_detections"):
        assert "prior" not in set(pd.read_parquet(MEASURED / "arcade" / f"{name}.parquet")["method"])


def test_the_page_on_many_machines_tells_the_rates_that_were_measured():
    page = (ROOT / "book" / "use" / "many_machines.md").read_text(encoding="utf-8")
    rates = pd.read_csv(ROOT / "benchmarks" / "measured" / "two_cores.csv").query("size == 512").set_index("what").value
    assert f"runs at {rates['training, loop of bare']:.2f} of the bare network" in page
    assert f"{rates['training, loop']:.1f} images a second" in page and f"at {rates['simulator']:.0f} frames" in page
    assert f"needs {grid_hours(2000):.1f} hours" in page
    stored = pd.read_csv(ROOT / "benchmarks" / "measured" / "two_cores_estimates.csv")
    table = pd.read_csv(ROOT / "benchmarks" / "measured" / "two_cores.csv")
    found = pd.DataFrame([estimate(count, Rates.of(table), 0.1) for count in (230, 10_000, 1_000_000)])
    assert stored["In all (h)"].tolist() == readable(found)["In all (h)"].tolist()


def test_what_the_real_chapter_says_of_images_misses_and_others_follows_from_its_tables():
    arcade = MEASURED / "arcade"
    assert f"{1200 - 3} images" in (arcade / "run_line.txt").read_text()
    metrics = pd.read_parquet(arcade / "localization_metrics.parquet")
    own = metrics.query("arm == 'clean' and artery == 'both' and method == 'fpn'").set_index("metric")["value"]
    assert 1 - own["recall"] == pytest.approx(4 / 5, abs=0.03), "about four lesions in five are missed"
    others = pd.read_csv(ROOT / "cag" / "chapters" / "localization" / "others.csv").query("metric == 'f1'")
    assert own["f1"] < others["value"].min()
