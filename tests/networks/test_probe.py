"""The probe network answers each image by itself, whatever its size."""

from __future__ import annotations

import torch

from cag.networks.probe import ProbeNetwork


def test_one_logit_an_image_independent_of_the_batch() -> None:
    torch.manual_seed(0)
    network = ProbeNetwork(4).eval()
    images = torch.randn(3, 1, 48, 40)
    together = network(images)
    assert together.shape == (3,)
    assert torch.allclose(together[1:2], network(images[1:2]), atol=1e-6)
