"""Runs stored as images: one file, or a folder of them, grey."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cag.settings import ManifestError

SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff")


def image_files(path: Path) -> list[Path]:
    """The image itself, or the images of a folder, sorted by name: the run's frames in order."""
    if path.is_dir():
        files = (file for file in path.iterdir() if not file.name.startswith("."))  # ._x.png of Apple is no image
        return sorted(file for file in files if file.suffix.lower() in SUFFIXES and not file.is_symlink())
    return [path]


def image_size(path: Path) -> tuple[int, int]:
    """Rows and columns of an image, from its header; `ManifestError` where it has none."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from None


def fitting_bits(needed: int, declared: int) -> int:
    """The bits whose range values have that need so many: those declared, if they use a quarter of it or more."""
    return declared if declared - 2 < needed <= declared else max(needed, 8)


def read_image(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Read a grey image (else `ManifestError`); deep ones are brought to 8 bits, color of equal channels is grey."""
    try:
        with Image.open(path) as image:
            deep = image.mode.startswith(("I", "F"))
            pixels = np.atleast_3d(np.asarray(image if deep or image.mode in ("L", "RGB") else image.convert("RGB")))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from None
    if deep and (pixels % 1 != 0).any():
        raise ManifestError("holds fractions", file=path.name, remedy="Save it with 8 or 16 bits a pixel")
    if deep:
        bits = fitting_bits(int(pixels.max()).bit_length(), 16)
        pixels = np.rint(pixels.clip(0) * (255 / (2.0**bits - 1))).astype(np.uint8)
    if (pixels != pixels[..., :1]).any():
        raise ManifestError("is a color image", file=path.name, remedy="Give angiograms as grey images")
    return np.ascontiguousarray(pixels[..., 0])


def read_images(path: Path, frames: Sequence[int] | None = None) -> UInt8[np.ndarray, "t h w"]:
    """Frames of a run stored as an image or a folder of images of one size (else `ManifestError`), all by default."""
    images = [read_image(file) for file in chosen_files(image_files(path), frames, path.name)]
    if len(sizes := {f"{len(image)} x {image.shape[1]}" for image in images}) > 1:
        problem, remedy = f"holds images of different sizes ({', '.join(sizes)})", "Keep a run's frames in a folder"
        raise ManifestError(problem, file=path.name, remedy=remedy)
    return np.stack(images)


def chosen_files(files: list[Path], frames: Sequence[int] | None, run: str) -> list[Path]:
    """The files of these frames of a run with a file for each; all by default."""
    if not files:
        raise ManifestError("holds no image", file=run, remedy=f"Give a folder of images ({', '.join(SUFFIXES)})")
    for index in frames or ():
        if not 0 <= index < len(files):
            remedy = f"It has frames 0 to {len(files) - 1}"
            raise ManifestError(f"frame {index} does not exist", file=run, field="frames", remedy=remedy)
    return files if frames is None else [files[index] for index in frames]


def _unreadable(path: Path, error: Exception) -> ManifestError:
    problem = f"is not a readable image ({type(error).__name__})"
    return ManifestError(problem, file=path.name, remedy="Download or export it again")
