"""Frames of a table as one tensor: order, size, grey levels."""

from collections.abc import Iterable, Iterator

import pandas as pd
import pytest
import torch

from cag.data.frames import load_frames, shrink


class _Runs:
    """A cohort whose frames tell their run and number by their grey level."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def frames_of_runs(self, requests: Iterable[tuple[str, list[int]]]) -> Iterator[torch.Tensor]:
        return (self.frames(run_id, indices) for run_id, indices in requests)

    def frames(self, run_id: str, indices: list[int]) -> torch.Tensor:
        self.opened.append(run_id)
        level = torch.tensor([10 * int(run_id[1:]) + index for index in indices], dtype=torch.uint8)
        return level[:, None, None].expand(-1, 12, 16).contiguous()


def test_frames_come_in_the_order_of_the_samples_and_each_run_is_opened_once():
    samples = pd.DataFrame({"run_id": ["R2", "R1", "R2", "R2"], "frame": [5, 0, 1, 5]}, index=[7, 3, 9, 1])
    runs = _Runs()
    images = load_frames(runs, samples, size=8, progress=False)
    assert images.shape == (4, 8, 8)
    assert images.dtype == torch.uint8
    assert images[:, 0, 0].tolist() == [25, 10, 21, 25]
    assert runs.opened == ["R2", "R1"]


def test_shrinking_keeps_the_mean_of_a_checkerboard():
    board = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).mul(255).to(torch.uint8)[None]
    assert shrink(board, 16).float().mean() == pytest.approx(127.5, abs=1)
