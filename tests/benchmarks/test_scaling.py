import pandas as pd
import pytest

from benchmarks.scaling_figure import scaling_figure, slopes


@pytest.fixture
def table():
    rows = [
        (axis, value, stage, 0.5 * value**power, 10.0 + value)
        for axis in ("patients", "frames", "size")
        for value in (2, 4, 8)
        for stage, power in (("flat", 0), ("linear", 1), ("quadratic", 2))
    ]
    return pd.DataFrame(rows, columns=["axis", "value", "stage", "seconds", "mib"])


def test_slopes_are_the_powers(table):
    found = slopes(table)
    assert found.time_slope.tolist() == pytest.approx([0, 1, 2] * 3)
    assert found.mib_first.eq(12).all() and found.mib_last.eq(18).all()


def test_every_axis_has_its_panels_and_every_stage_its_line(table):
    figure = scaling_figure(table)
    assert len(figure.axes) == 6
    assert [len(ax.lines) for ax in figure.axes] == [4, 4, 4, 3, 3, 3]
    assert [ax.get_xlabel() for ax in figure.axes[3:]] == ["patients, one run each", "frames a run", "pixels a side"]
