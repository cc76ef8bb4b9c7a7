"""Example files of every kind of DICOM angiogram that the reader meets; made with pydicom, nothing clinical in them.

Each shows a bright disk that moves over a dark ramp, so that compression, depth and order of frames can be told from
the pixels.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from cag.data.dicom_write import write_cine

FRAMES, ROWS, COLUMNS = 10, 48, 64
ENHANCED_XA = "1.2.840.10008.5.1.4.1.1.12.1.1"
#: A one-pixel line as text would have: an L whose strokes are three pixels wide.
TEXT = np.zeros((ROWS, COLUMNS), dtype=bool)
TEXT[6:16, 6:9] = TEXT[13:16, 6:16] = True


def disk(depth: int = 8) -> np.ndarray:
    """Stored values ``[t, h, w]`` of ``depth`` bits."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    level = 2**depth - 1
    frames = np.stack([0.3 * x / COLUMNS + 0.5 * ((x - 10 - 4 * t) ** 2 + (y - 24) ** 2 < 64) for t in range(FRAMES)])
    noise = np.random.default_rng(depth).uniform(0, 0.05, frames.shape)
    return ((frames + noise) * level).astype(np.uint16 if depth > 8 else np.uint8)


def base(path: Path, run_id: str = "") -> Dataset:
    """The plainest run, as a dataset to edit."""
    names = {"patient_id": "P0001", "run_id": run_id or path.stem}
    write_cine(path, disk(), fps=15.0, primary_angle=40.0, secondary_angle=0.0, **names)
    return dcmread(path)


def deep(bits: int, stored: np.ndarray | None = None, **values: object) -> Callable[[Dataset], None]:
    """An edit that stores more bits a pixel."""

    def edit(dataset: Dataset) -> None:
        tags("WindowCenter", "WindowWidth")(dataset)
        dataset.set_pixel_data(disk(bits) if stored is None else stored, "MONOCHROME2", bits)
        tags(**values)(dataset)

    return edit


def tags(*removed: str, **values: object) -> Callable[[Dataset], None]:
    """An edit that removes some tags and sets others."""

    def edit(dataset: Dataset) -> None:
        for tag in removed:
            dataset.pop(tag, None)
        for tag, value in values.items():
            setattr(dataset, tag, value)

    return edit


def compress(syntax: object) -> Callable[[Dataset], None]:
    """An edit that compresses the pixels without loss."""
    return lambda dataset: dataset.compress(syntax, generate_instance_uid=False)


def video(codec: str, form: str, syntax: str) -> Callable[[Dataset], None]:
    """An edit that stores all frames as one video, in two pieces."""

    def edit(dataset: Dataset) -> None:
        import av

        buffer, grey = io.BytesIO(), np.full((ROWS // 2, COLUMNS), 128)
        with av.open(buffer, "w", format=form) as container:
            stream = container.add_stream(codec, rate=15)
            stream.height, stream.width, stream.pix_fmt, stream.bit_rate = ROWS, COLUMNS, "yuv420p", 8_000_000
            for frame in disk():
                planes = np.vstack([16 + frame * (219 / 255), grey]).round().astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
            container.mux(stream.encode())
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([buffer.getvalue()], fragments_per_frame=2)
        tags(SamplesPerPixel=3, PhotometricInterpretation="YBR_PARTIAL_420", PlanarConfiguration=0)(dataset)

    return edit


def lut(entries: np.ndarray, depth: int, first: int = 0) -> Dataset:
    """An item of a VOI LUT Sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, depth])
    item.add_new("LUTData", "OW", entries.astype(np.uint16).tobytes())
    return item


def rectangle(dataset: Dataset, left: int, right: int, upper: int, lower: int) -> None:
    """A rectangular display shutter."""
    dataset.ShutterShape = "RECTANGULAR"
    dataset.ShutterLeftVerticalEdge, dataset.ShutterRightVerticalEdge = left, right
    dataset.ShutterUpperHorizontalEdge, dataset.ShutterLowerHorizontalEdge = upper, lower


def enhanced(dataset: Dataset, turn: float = 0.0) -> None:
    """Enhanced XA: 12 bits in 16, angles (``turn`` degrees a frame) and window in functional groups, a shutter."""
    deep(12)(dataset)
    tags("CineRate", "PositionerPrimaryAngle", "PositionerSecondaryAngle", "RecommendedDisplayFrameRate")(dataset)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ENHANCED_XA
    window, shutter = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 2048, 4096
    rectangle(shutter, 5, 60, 3, 46)
    shared = Dataset()
    shared.FrameVOILUTSequence, shared.FrameDisplayShutterSequence = [window], [shutter]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = [Dataset() for _ in range(FRAMES)]
    for frame, group in enumerate(groups):
        place = Dataset()
        place.PositionerPrimaryAngle, place.PositionerSecondaryAngle = -30.0 + turn * frame, 25.0
        group.PositionerPositionSequence = [place]
    dataset.PerFrameFunctionalGroupsSequence = groups


def overlay(dataset: Dataset, *more: tuple[int, str, object]) -> None:
    """The tags of an overlay: element, value representation and value."""
    shape = ((0x10, "US", ROWS), (0x11, "US", COLUMNS), (0x40, "CS", "G"), (0x50, "SS", [1, 1]))
    for element, vr, value in (*shape, *more):
        dataset.add_new(0x60000000 + element, vr, value)


def overlay_bits(dataset: Dataset) -> None:
    """Text in the unused high bits of 10-bit pixels, as old machines wrote overlays (retired in the standard)."""
    deep(10)(dataset)
    dataset.PixelData = (disk(10) | (TEXT.astype(np.uint16) << 15)).tobytes()
    overlay(dataset, (0x100, "US", 16), (0x102, "US", 15))


def overlay_plane(dataset: Dataset) -> None:
    """Text in an overlay of its own, beside the pixels."""
    packed = np.packbits(TEXT.ravel(), bitorder="little").tobytes()
    overlay(dataset, (0x100, "US", 1), (0x102, "US", 0), (0x3000, "OW", packed))


def burned_in(dataset: Dataset) -> None:
    """White text in the pixels of every frame, and the tag that says so."""
    frames = disk()
    frames[:, TEXT] = 255
    dataset.PixelData = frames.tobytes()
    dataset.BurnedInAnnotation = "YES"


_NO_RATE = ("CineRate", "FrameTime", "RecommendedDisplayFrameRate", "FrameIncrementPointer")
_ANGLES = ("PositionerPrimaryAngle", "PositionerSecondaryAngle")

#: Name of each kind -> how the plain run becomes it.
VARIANTS: dict[str, Callable[[Dataset], None]] = {
    "plain": tags(),
    "rle": compress(RLELossless),
    "jpeg_ls": compress(JPEGLSLossless),
    "jpeg_2000": compress(JPEG2000Lossless),
    "bits_10_window": deep(10, WindowCenter=512, WindowWidth=1024),
    "bits_12_voi_lut": deep(12, VOILUTSequence=[lut(255 - np.arange(4096) // 16, 8)]),
    "bits_12_rle": lambda ds: (deep(12)(ds), compress(RLELossless)(ds))[0],
    "bits_12_jpeg_2000": lambda ds: (deep(12)(ds), compress(JPEG2000Lossless)(ds))[0],
    "bits_16": deep(16),
    "monochrome1": tags(PhotometricInterpretation="MONOCHROME1"),
    "frame_time_vector": tags(*_NO_RATE, FrameTimeVector=[0] + [80] * (FRAMES - 1)),
    "no_cine_rate": tags("CineRate", "RecommendedDisplayFrameRate"),
    "no_rate": tags(*_NO_RATE),
    "no_angles": tags(*_ANGLES),
    "shutter_rectangle": lambda ds: rectangle(ds, 9, 56, 5, 44),
    "shutter_circle": tags(ShutterShape="CIRCULAR", CenterOfCircularShutter=[24, 32], RadiusOfCircularShutter=20),
    "shutter_polygon": tags(ShutterShape="POLYGONAL", VerticesOfThePolygonalShutter=[1, 1, 1, 64, 48, 32]),
    "overlay_bits": overlay_bits,
    "overlay_plane": overlay_plane,
    "burned_in": burned_in,
    "biplane_a": tags(ImageType=["ORIGINAL", "PRIMARY", "BIPLANE A"]),
    "biplane_b": tags(
        ImageType=["ORIGINAL", "PRIMARY", "BIPLANE B"], PositionerPrimaryAngle="-40", PositionerSecondaryAngle="25"
    ),
    "deflated": lambda ds: setattr(ds.file_meta, "TransferSyntaxUID", DeflatedExplicitVRLittleEndian),
    "mpeg_2": video("mpeg2video", "mpegts", "1.2.840.10008.1.2.4.100"),
    "h_264": video("libx264", "mp4", "1.2.840.10008.1.2.4.102.1"),
    "enhanced": enhanced,
    "enhanced_rotating": lambda ds: enhanced(ds, turn=6.0),
}


def write_variant(name: str, folder: Path) -> Path:
    """Write one kind as ``<name>.dcm`` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.dcm"
    dataset = base(path)
    VARIANTS[name](dataset)
    dataset.save_as(path)
    return path


def write_single_frames(folder: Path, count: int = FRAMES) -> list[Path]:
    """A run stored as one file a frame; names do not tell the order, instance numbers do."""
    folder.mkdir(parents=True, exist_ok=True)
    series, paths = "", []
    for number in range(count):
        path = folder / f"{(7 * number) % 10:02d}_frame.dcm"
        dataset = base(path, run_id=f"frame{number}")
        series = series or str(dataset.SeriesInstanceUID)
        dataset.SeriesInstanceUID, dataset.InstanceNumber = series, number + 1
        dataset.NumberOfFrames, dataset.PixelData = 1, disk()[number].tobytes()
        dataset.save_as(path)
        paths.append(path)
    return paths


def write_all(folder: Path) -> list[Path]:
    """Every kind."""
    return [write_variant(name, folder) for name in VARIANTS] + write_single_frames(folder / "single_frames")
