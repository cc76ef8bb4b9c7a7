"""Stenosis classification: the published attention head, a plain head, and the class balance of the paper."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cag.networks.trunk import STAGES, Trainable, Trunk, TrunkModel
from cag.settings import InputError

HeadKind = Literal["published", "plain"]


class AttentionHead(nn.Module):
    """The published head: batch norm, attention-weighted average, one dense layer."""

    def __init__(self, channels: int, n_outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        layers: list[nn.Module] = [nn.Dropout(0.5)]
        for wide, narrow in pairwise((channels, 64, 16, 8, 1)):
            layers += [nn.Conv2d(wide, narrow, 1), nn.ReLU()]
        self.attention = nn.Sequential(*layers[:-1], nn.Sigmoid())
        self.classifier = nn.Sequential(
            nn.Dropout(0.25), nn.Linear(channels, 128), nn.ReLU(), nn.Dropout(0.25), nn.Linear(128, n_outputs)
        )

    def forward(self, maps: Float[Tensor, "b f y x"]) -> Float[Tensor, "b k"]:
        """Logits; the global average of features times attention is divided by that of the attention."""
        features = self.norm(maps)
        attention = self.attention(features).float()
        pooled = (features.float() * attention).mean(dim=(2, 3)) / attention.mean(dim=(2, 3)).clamp(min=1e-6)
        return self.classifier(pooled).float()


class PlainHead(nn.Module):
    """Global average, dropout, one linear layer: what the attention head is compared with."""

    def __init__(self, channels: int, n_outputs: int) -> None:
        super().__init__()
        self.classifier = nn.Sequential(nn.Dropout(0.25), nn.Linear(channels, n_outputs))

    def forward(self, maps: Float[Tensor, "b f y x"]) -> Float[Tensor, "b k"]:
        """Logits."""
        return self.classifier(maps.float().mean(dim=(2, 3))).float()


class StenosisClassifier(TrunkModel):
    """One view's classifier: logits of the severity categories and, with redundancy training, of no contrast (last).

    With ``trainable="head"`` the maps of a set of images may be computed once (``maps``) and the head
    trained on them alone (``head`` is a module of its own).
    """

    def __init__(
        self, trunk: Trunk, n_outputs: int, head: HeadKind = "published", trainable: Trainable = "all"
    ) -> None:
        super().__init__(trunk, trainable)
        kind = AttentionHead if head == "published" else PlainHead
        self.head: nn.Module = kind(trunk.channels[STAGES[-1]], n_outputs)

    def maps(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f y x"]:
        """Last maps of the trunk for images in [-1, 1]."""
        return self.trunk(images)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits for images in [-1, 1]."""
        return self.head(self.maps(images))


def balanced_order(targets: Int[Tensor, " n"], generator: torch.Generator, n_categories: int) -> Int[Tensor, " drawn"]:
    """Indices of one epoch by the paper's rule, shuffled.

    Every class, redundancy (target ``n_categories``) included, is drawn with replacement to the number of non-redundant
    frames divided by the number of real classes. A class without frames is left out; without a frame of any severity
    category there is nothing to draw (`InputError`).
    """
    real = int((targets < n_categories).sum())
    if real == 0:
        raise InputError("no frame of any severity category to train on", field="targets")
    share = max(real // n_categories, 1)
    classes = [torch.nonzero(targets == target)[:, 0] for target in targets.unique()]
    chosen = torch.cat([own[torch.randint(len(own), (share,), generator=generator)] for own in classes])
    return chosen[torch.randperm(len(chosen), generator=generator)]
