"""A tiny trunk, images for it, and the same random weights in every test."""

import pytest
import torch
from tiny_trunk import TinyTrunk


@pytest.fixture
def tiny_trunk():
    return TinyTrunk()


@pytest.fixture
def images():
    return torch.rand(3, 1, 96, 96, generator=torch.Generator().manual_seed(7)) * 2 - 1


@pytest.fixture(autouse=True)
def _same_weights_every_time():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
