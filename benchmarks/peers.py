"""Three ways from the same DICOM files to augmented batches, and two to decoded frames, in one run.

Run ``python -m benchmarks.peers FOLDER`` on a folder of DICOM cine runs. Each way reads the same frames, at the
same size, with flips, rotation by up to 10 degrees and contrast between .75 and 1.5, and gives float batches in
[-1, 1]. The first epoch includes decoding, a later one does not. MONAI takes part where it is installed
(``pip install monai``); nothing of the study needs it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pydicom
import torch
import torchvision.transforms.v2 as vision
import typer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cag.data.dicom import read_frames
from cag.data.frames import shrink
from cag.networks.training import Batches
from cag.networks.transforms import augment, scale


def own_batches(files: list[Path], frames: int, size: int, batch: int) -> Iterator[Iterable[Tensor]]:
    """Epochs of this study: frames once into memory as uint8, whole batches augmented."""
    images = torch.cat([shrink(torch.from_numpy(read_frames(file, range(frames))), size) for file in files])
    generator = torch.Generator().manual_seed(0)
    batches = Batches((images,), batch, prepare=lambda rows, generator: (augment(scale(rows), generator),))
    while True:
        yield (rows[0] for rows in batches.epoch(generator, torch.device("cpu")))


class Frames(Dataset[Tensor]):
    """A plain map-style data set: a frame is decoded by pydicom when it is asked for, and kept."""

    def __init__(self, files: list[Path], frames: int, transform: Callable[[Tensor], Tensor]) -> None:
        self.index = [(file, frame) for file in files for frame in range(frames)]
        self.transform, self.kept = transform, dict[int, Tensor]()

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> Tensor:
        if item not in self.kept:
            file, frame = self.index[item]
            self.kept[item] = torch.from_numpy(pydicom.pixels.pixel_array(file, index=frame))[None]
        return self.transform(self.kept[item])


def torchvision_batches(files: list[Path], frames: int, size: int, batch: int) -> Iterator[Iterable[Tensor]]:
    """Epochs of a plain DataLoader with torchvision's transforms, a sample at a time."""
    steps = [
        vision.Resize((size, size), antialias=True),
        vision.RandomHorizontalFlip(),
        vision.RandomVerticalFlip(),
        vision.RandomRotation(10, interpolation=vision.InterpolationMode.BILINEAR),
        vision.ColorJitter(contrast=(0.75, 1.5)),
        vision.ToDtype(torch.float32, scale=True),
        vision.Normalize([0.5], [0.5]),
    ]
    loader = DataLoader(Frames(files, frames, vision.Compose(steps)), batch_size=batch, shuffle=True)
    while True:
        yield loader


def monai_batches(files: list[Path], frames: int, size: int, batch: int) -> Iterator[Iterable[Tensor]]:
    """Epochs of MONAI's cached data set and its transforms; what comes before the random ones is cached."""
    from monai import transforms
    from monai.data import CacheDataset
    from monai.data import DataLoader as Loader

    items = [{"file": file, "frame": frame} for file in files for frame in range(frames)]
    steps = transforms.Compose(
        [
            lambda item: torch.from_numpy(pydicom.pixels.pixel_array(item["file"], index=item["frame"])).float()[None],
            transforms.ScaleIntensityRange(0, 255, -1, 1),
            transforms.Resize((size, size), anti_aliasing=True),
            transforms.RandFlip(0.5, 0),
            transforms.RandFlip(0.5, 1),
            transforms.RandRotate(np.deg2rad(10), prob=1.0, padding_mode="border"),
            transforms.RandScaleIntensityFixedMean(prob=1.0, factors=(-0.25, 0.5)),
        ]
    )
    loader = Loader(CacheDataset(items, steps, progress=False, num_workers=1), batch_size=batch, shuffle=True)
    while True:
        yield loader


WAYS = {"this study": own_batches, "torchvision and a DataLoader": torchvision_batches, "MONAI": monai_batches}


def compare_batches(files: list[Path], frames: int, size: int, batch: int) -> pd.DataFrame:
    """Frames a second of each way: ``way, first_epoch, later_epoch``, and how many times slower than this study."""
    rows = []
    for name, way in WAYS.items():
        if name == "MONAI" and find_spec("monai") is None:
            continue
        start = time.perf_counter()
        epochs = way(files, frames, size, batch)
        marks = [start]
        for _ in range(3):
            count = sum(len(rows) for rows in next(epochs))
            marks.append(time.perf_counter())
        spans = np.diff(marks)
        rows.append((name, count / spans[0], count / min(spans[1:])))
    table = pd.DataFrame(rows, columns=["way", "first_epoch", "later_epoch"])
    return table.assign(
        first_ratio=table.first_epoch[0] / table.first_epoch, later_ratio=table.later_epoch[0] / table.later_epoch
    )


def compare_decoding(files: list[Path], rounds: int) -> pd.DataFrame:
    """Seconds of ``cag.data.dicom.read_frames`` and of bare pydicom of each file, the fastest; they take turns."""
    rows = []
    for file in files:
        own, bare = [], []
        for _ in range(rounds):
            own.append(_seconds(lambda file=file: read_frames(file)))
            bare.append(_seconds(lambda file=file: pydicom.dcmread(file).pixel_array))
        syntax = pydicom.dcmread(file, stop_before_pixels=True).file_meta.TransferSyntaxUID.name
        rows.append((syntax, min(own), min(bare)))
    table = pd.DataFrame(rows, columns=["transfer_syntax", "own_s", "pydicom_s"])
    total = table.groupby("transfer_syntax", as_index=False).agg(
        files=("own_s", "size"), own_s=("own_s", "sum"), pydicom_s=("pydicom_s", "sum")
    )
    return total.assign(ratio=total.own_s / total.pydicom_s)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main(
    folder: Annotated[Path, typer.Argument(help="DICOM cine runs, at any depth")],
    runs: Annotated[int, typer.Option(help="runs that take part")] = 8,
    frames: Annotated[int, typer.Option(help="frames of each run")] = 16,
    size: Annotated[int, typer.Option(help="pixels a side of the batches")] = 256,
    batch: Annotated[int, typer.Option(help="images in a batch")] = 16,
    rounds: Annotated[int, typer.Option(help="rounds of decoding")] = 5,
    out: Annotated[Path | None, typer.Option(help="folder for peers.csv and decoding.csv")] = None,
) -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    files = sorted(folder.rglob("*.dcm"))[:runs]
    batches, decoding = compare_batches(files, frames, size, batch), compare_decoding(files, rounds)
    for name, table in (("peers", batches), ("decoding", decoding)):
        typer.echo(table.to_string(index=False, float_format=lambda value: f"{value:.3g}") + "\n")
        if out is not None:
            table.to_csv(out / f"{name}.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    typer.run(main)
