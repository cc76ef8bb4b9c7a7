"""The benchmarks run at a tiny size, their arithmetic is right; the worked changes of the book run as they stand."""

import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest

from benchmarks import estimates, gpu, kill_study, scaling, what_if
from benchmarks.scaling_figure import scaling_figure, slopes
from cag.chapters.store import RunFolder, Store
from cag.settings import ROOT, Settings


class Example(Settings):
    number: int = 1


def test_the_card_s_table_has_every_number_asked_for_and_hours_are_those_by_hand():
    table = gpu.measure((64,), batch=2, steps=1, device="cpu", backbone="resnet18", processes=1, frames=2)
    rows = table.set_index("what")
    assert (table.value > 0).all()
    share = rows.value["training, loop"] / rows.value["training, bare"]
    assert rows.value["training, loop of bare"] == pytest.approx(share)
    assert set(rows.aim.dropna()) == {0.9, 5000, 1}
    assert "simulator" in rows.index and rows.unit["matrix product"] == "Tops/s"
    # 32,200 frames, 6,440 a view, 4,830 of them trained on, 200 epochs, 80 trainings: 77.28 million images.
    assert gpu.grid_hours(77_280_000 / 3600) == pytest.approx(1)


def test_each_axis_is_moved_alone_every_stage_is_measured_and_its_memory_is_seen():
    found = list(scaling.points((1, 2, 4), (40, 50, 60), (64, 128, 256)))
    assert len(found) == 9
    for axis, point in found:
        pairs = zip(point._fields, point, (2, 50, 128), strict=True)
        assert {name for name, value, middle in pairs if value != middle} <= {axis}
    found = list(scaling.measure(scaling.Point(1, 40, 96)))
    assert [stage for stage, _, _ in found] == ["plan", "render", "write", "read", "features", "train"]
    assert all(seconds > 0 and mib >= 0 for _, seconds, mib in found)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        _, mib = fresh.submit(scaling.cost, partial(np.ones, 64 * 2**20, dtype=np.uint8)).result()
    assert 50 < mib < 90


def test_the_harness_sees_torn_and_changed_folders(tmp_path):
    folder = RunFolder(tmp_path / "kind" / "key", Store(tmp_path))
    folder.save_table("result", pd.DataFrame({"x": [1]}))
    assert kill_study.finished(tmp_path) == {}, "not finished yet"
    folder.save_json("settings", {"epochs": 1})
    folder.save_json("complete", {"seconds": 1.0})
    files = kill_study.finished(tmp_path)
    assert len(files) == 3 and kill_study.torn(files) == 0
    (folder.path / "result.parquet").write_bytes(b"PAR1")
    assert kill_study.torn(kill_study.finished(tmp_path)) == 1
    a = {"t": pd.DataFrame({"x": [0.1]})}
    assert kill_study.same(a, a) and not kill_study.same(a, {"t": pd.DataFrame({"x": [0.1 + 1e-16, 2]})})


def test_estimates_are_the_counts_over_the_rates_read_in_words_and_groups_of_three():
    rates = estimates.Rates(train=1000.0, infer=2000.0, detect=400.0, render=500.0)
    one = estimates.estimate(230, rates, price=2.0)
    frames = 230 * 7 * 130
    assert one["frames_hours"] == pytest.approx(frames * (1 / 500 + 1 / 2000) / 3600)
    assert one["grid_hours"] == pytest.approx(gpu.grid_hours(1000.0))
    assert one["detector_hours"] == pytest.approx(230 * 7 * 2 * 0.75 * 500 * 8 / 400 / 3600)
    assert one["cost"] == pytest.approx(2 * one["hours"])
    thousandfold = estimates.estimate(230_000, rates, price=2.0)
    assert thousandfold["hours"] == pytest.approx(1000 * one["hours"]), "nothing grows faster than the cohort"
    # 230 x 7 runs: 130 frames of 2 boxes each; 20 frames of a quarter of a MiB held in memory.
    found = estimates.sizes(230)
    assert found["box_rows_millions"] == pytest.approx(0.4186)
    assert found["frames_gib"] == pytest.approx(32_200 / 4096)
    rows = [("training, loop", 299, 9), ("training, loop", 512, 4), ("prediction, loop", 512, 8)]
    rows += [("detector training, loop", 512, 3), ("simulator", 512, 2)]
    assert estimates.Rates.of(pd.DataFrame(rows, columns=["what", "size", "value"])) == (4, 8, 3, 2)
    shown = estimates.readable(pd.DataFrame([estimates.sizes(1_000_000), estimates.sizes(230)]))
    assert set(shown.columns) <= set(estimates.HEADS.values())
    assert shown["Uncompressed DICOM (GiB)"].tolist() == ["222,168", "51"]
    assert shown["Boxes (million rows)"].tolist() == ["1,820", "0.42"]


@pytest.fixture
def table():
    every = product(("patients", "frames", "size"), (2, 4, 8), (("flat", 0), ("linear", 1), ("quadratic", 2)))
    rows = [(axis, value, stage, 0.5 * value**power, 10.0 + value) for axis, value, (stage, power) in every]
    return pd.DataFrame(rows, columns=["axis", "value", "stage", "seconds", "mib"])


def test_slopes_are_the_powers_and_every_axis_has_its_panels_and_every_stage_its_line(table):
    found = slopes(table)
    assert found.time_slope.tolist() == pytest.approx([0, 1, 2] * 3)
    assert found.mib_first.eq(12).all() and found.mib_last.eq(18).all()
    figure = scaling_figure(table)
    assert len(figure.axes) == 6 and [len(ax.lines) for ax in figure.axes] == [4, 4, 4, 3, 3, 3]
    assert [ax.get_xlabel() for ax in figure.axes[3:]] == ["patients, one run each", "frames a run", "pixels a side"]


def test_a_change_is_run_and_cleaned_up_after_by_its_commands_but_what_was_there_before_stays(tmp_path):
    commands = "test ! -e data\nmkdir -p data/other && touch data/other/a kept\n: --out data/other\n"
    assert 0 < what_if.measure(commands, tmp_path) < 1
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["data", "kept"]
    assert not list((tmp_path / "data").iterdir())
    (tmp_path / "data" / "other").mkdir()
    with pytest.raises(FileExistsError, match="move it away"):
        what_if.measure(": --out data/other", tmp_path)
    assert (tmp_path / "data" / "other").exists()
    executed = "papermill notebooks/01_cohort.ipynb other.ipynb \\\n -p profile other -p manifest data/other/m.csv\n"
    found = what_if.produced(f"cag simulate --out data/other\n.venv/bin/{executed}")
    assert [path.as_posix() for path in found] == ["other.ipynb", "results/other", "data/other"]


def test_every_worked_change_has_a_measured_time_and_the_page_tells_it():
    page = what_if.PAGE.read_text(encoding="utf-8")
    measured = pd.read_csv(ROOT / "benchmarks" / "measured" / "what_if.csv", index_col="change").minutes
    told = dict(re.findall(r"<what-if-(\w+)>`\n  - (\d+) minutes?\b", page))
    assert set(told) == set(measured.index) == set(what_if.changes(page))
    assert {name: max(1, round(value)) for name, value in measured.items()} == {k: int(v) for k, v in told.items()}
