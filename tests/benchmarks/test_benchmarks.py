"""The benchmarks run at a tiny size on the CPU, and their arithmetic is right."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
import pytest

from benchmarks import estimates, gpu, kill_study, scaling
from cag.chapters.store import RunFolder, Store
from cag.settings import Settings


class Example(Settings):
    number: int = 1


def test_the_card_s_table_has_every_number_asked_for():
    table = gpu.measure((64,), batch=2, steps=1, device="cpu", backbone="resnet18", processes=1, frames=2)
    rows = table.set_index("what")
    assert (table.value > 0).all()
    assert rows.value["training, loop of bare"] == pytest.approx(
        rows.value["training, loop"] / rows.value["training, bare"]
    )
    assert set(rows.aim.dropna()) == {0.9, 5000, 1}
    assert "simulator" in rows.index and rows.unit["matrix product"] == "Tops/s"


def test_hours_of_the_published_grid_by_hand():
    # 32,200 frames, 6,440 a view, 4,830 of them trained on, 200 epochs, 80 trainings: 77.28 million images.
    assert gpu.grid_hours(77_280_000 / 3600) == pytest.approx(1)


def test_each_axis_is_moved_alone():
    found = list(scaling.points((1, 2, 4), (40, 50, 60), (64, 128, 256)))
    assert len(found) == 9
    for axis, point in found:
        moved = {
            name for name, value, middle in zip(point._fields, point, (2, 50, 128), strict=True) if value != middle
        }
        assert moved <= {axis}


def test_every_stage_is_measured():
    found = list(scaling.measure(scaling.Point(1, 40, 96)))
    assert [stage for stage, _, _ in found] == ["plan", "render", "write", "read", "features", "train"]
    assert all(seconds > 0 and mib >= 0 for _, seconds, mib in found)


def test_memory_that_a_stage_takes_is_seen():
    # In a process of its own: an allocator may serve the array from what earlier tests gave back.
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


def test_estimates_are_the_counts_over_the_rates():
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
    table = pd.DataFrame(
        [
            *(("training, loop", 299, 9), ("training, loop", 512, 4), ("prediction, loop", 512, 8)),
            *(("detector training, loop", 512, 3), ("simulator", 512, 2)),
        ],
        columns=["what", "size", "value"],
    )
    assert estimates.Rates.of(table) == (4, 8, 3, 2)


def test_estimates_are_read_in_words_and_groups_of_three():
    shown = estimates.readable(pd.DataFrame([estimates.sizes(1_000_000), estimates.sizes(230)]))
    assert set(shown.columns) <= set(estimates.HEADS.values())
    assert shown["Uncompressed DICOM (GiB)"].tolist() == ["222,168", "51"]
    assert shown["Boxes (million rows)"].tolist() == ["1,820", "0.42"]
