"""Images that show nearly the same picture, found by what is left of them without slow brightness changes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.sparse.csgraph import connected_components

#: Correlation from which two images count as frames of one run. Looked at in ARCADE's train and val: above it
#: pairs show one vessel tree, save for some dark collimated frames, which are grouped needlessly.
SIMILARITY = 0.4
_THUMB = 64
_COLLIMATOR = 40.0
_SMOOTHING = 4.0


def thumbnail(image: np.ndarray) -> Float[np.ndarray, "s s"]:
    """An image as 64 x 64 cell means."""
    cells = [np.array_split(np.arange(size), _THUMB) for size in image.shape]
    starts = [[part[0] for part in axis] for axis in cells]
    sums = np.add.reduceat(np.add.reduceat(image.astype(float), starts[0], axis=0), starts[1], axis=1)
    return sums / np.outer([len(part) for part in cells[0]], [len(part) for part in cells[1]])


def near_duplicate_groups(thumbs: Float[np.ndarray, "n s s"], similarity: float = SIMILARITY) -> Int[np.ndarray, " n"]:
    """Group images that show the same picture, directly or through others; groups are numbered from 0.

    Compared is what is left of each image without its slow brightness changes and its collimator,
    which look alike in different patients.
    """
    inner = np.stack([binary_erosion(thumb > _COLLIMATOR, iterations=3) for thumb in thumbs]).astype(float)
    sigma = (0, _SMOOTHING, _SMOOTHING)
    background = gaussian_filter(thumbs * inner, sigma) / np.maximum(gaussian_filter(inner, sigma), 1e-3)
    detail = ((thumbs - background) * inner).reshape(len(thumbs), -1)
    detail /= np.maximum(np.linalg.norm(detail, axis=1, keepdims=True), 1e-9)
    _, groups = connected_components(detail @ detail.T >= similarity, directed=False)
    return groups
