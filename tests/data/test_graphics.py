"""Burned-in text is found and filled; noise, bright areas and their borders are left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cag.data.dicom import read_cine
from cag.data.study import MIN_FRAMES, burned_in, without_graphics


def noise(rng: np.random.Generator, level: float = 120) -> np.ndarray:
    return rng.normal(level, 12, (12, 256, 256)).clip(0, 255).astype(np.uint8)


def written(frames: np.ndarray, text: str = "DOE JOHN 1947") -> tuple[np.ndarray, np.ndarray]:
    canvas = Image.new("L", frames.shape[:0:-1])
    ImageDraw.Draw(canvas).text((20, 20), text, fill=255, font=ImageFont.load_default(16))
    drawn = np.asarray(canvas) > 128
    frames = frames.copy()
    frames[:, drawn] = 255
    return frames, drawn


def test_text_is_found_and_filled(rng: np.random.Generator) -> None:
    frames, drawn = written(noise(rng))
    found = burned_in(frames)
    assert found[drawn].mean() > 0.95 and not found[~drawn].any()
    filled = without_graphics(frames, found)
    assert filled[:, drawn].max() < 200 and not burned_in(filled).any()
    assert burned_in(written(np.zeros_like(frames))[0])[drawn].mean() > 0.95, "on black"
    assert not burned_in(frames[: MIN_FRAMES - 1]).any(), "short runs are not looked at"
    far = ~found & (np.arange(256)[:, None] > 60)
    np.testing.assert_array_equal(filled[:, far], frames[:, far])


def test_what_is_no_text_is_left_alone(rng: np.random.Generator) -> None:
    frames = noise(rng)
    assert not burned_in(frames).any() and without_graphics(frames, burned_in(frames)) is frames
    bright = frames.copy()
    bright[:, 100:, :120] = 255
    assert not burned_in(bright).any(), "an over-exposed lung with a sharp border"
    moving = np.zeros((12, 256, 256), np.uint8)
    for t in range(12):
        moving[t, 100 : 100 + 3, 4 * t : 4 * t + 60] = 255
    moving[:, :, 60:] = frames[:, :, 60:]
    assert burned_in(moving).sum() < 150, "what moves stands nowhere for long"


def test_a_picture_that_is_all_graphics_becomes_black() -> None:
    frames = np.full((9, 8, 8), 255, np.uint8)
    assert not without_graphics(frames, np.ones((8, 8), bool)).any()


def test_a_real_run_without_text_has_none(cag_data: Path, key: bytes) -> None:
    cine = read_cine(cag_data / "dicom_xa" / "rca_cine_jpeg_baseline.dcm", key=key)
    assert not burned_in(cine.frames).any()
    frames, drawn = written(cine.frames)
    assert burned_in(frames)[drawn].mean() > 0.6, "some of it lies on over-exposed lung"
