"""The baseline that sees no image: boxes where the training boxes usually are."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torchvision.ops import box_iou

from cag.networks.detector import Detections

#: Most boxes considered as places; more only repeat each other.
MAX_CANDIDATES = 1500


def centre_prior(boxes: Float[np.ndarray, "n 4"], n_images: int, *, count: int = 20, iou: float = 0.5) -> Detections:
    """The fixed boxes that find most training lesions, best first: the strongest answer without a look at the image.

    Greedy: of all training boxes, take the one that matches most lesions not matched yet (at this ``iou``), remove
    those, and repeat, up to ``count`` times. A box's score are the newly matched lesions per training image (of
    ``n_images``), lowered by a thousandth a rank so that every box can be cut from the next.
    """
    places = torch.as_tensor(np.asarray(boxes, dtype="float32").reshape(-1, 4))
    candidates = places[:: max(1, -(-len(places) // MAX_CANDIDATES))]
    hits, chosen, scores = box_iou(candidates, places) >= iou, [], []
    for rank in range(min(count, len(candidates))):
        gain = hits.sum(dim=1)
        best = int(gain.argmax())
        if gain[best] == 0:
            break
        chosen.append(best)
        scores.append(gain[best] / n_images * (1 - rank / 1000))
        hits &= ~hits[best]
    return {"boxes": candidates[chosen], "scores": torch.tensor(scores)}
