"""Samples held in memory, and the batches drawn from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

Batch = tuple[Any, ...]

#: Share of a card's free memory that the samples of one training may take; networks and maps need the rest.
RESIDENT_SHARE = 0.5


@dataclass(frozen=True)
class Batches:
    """Samples held in memory, drawn anew for every epoch.

    Attributes
    ----------
    tensors : sequence of Tensor, equal first dimension
    batch_size : int
    order : callable, optional
        Generator to the indices of one epoch; a permutation by default.
    prepare : callable, optional
        Rows of one batch, already on the device, and the generator to the batch (augmentation).
    """

    tensors: Sequence[Tensor]
    batch_size: int
    order: Callable[[torch.Generator], Tensor] | None = None
    prepare: Callable[..., Batch] | None = None

    def resident(self, device: torch.device) -> Batches:
        """The same samples in the card's memory, as the bytes they are, where they fit; else as they were."""
        if device.type != "cuda":
            return self
        room = RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        if sum(tensor.nbytes for tensor in self.tensors) > room:
            return self
        return replace(self, tensors=[tensor.to(device, non_blocking=True) for tensor in self.tensors])

    def epoch(self, generator: torch.Generator, device: torch.device) -> Iterator[Batch]:
        """Batches of one epoch; a last batch of a single sample is left out (batch norm cannot use it)."""
        count = len(self.tensors[0])
        indices = self.order(generator) if self.order else torch.randperm(count, generator=generator)
        # The order travels once an epoch and without waiting: a copy a batch would stall the card at every step.
        placed = {tensor.device: indices.to(tensor.device, non_blocking=True) for tensor in self.tensors}
        for begin in range(0, len(indices), self.batch_size):
            part = slice(begin, begin + self.batch_size)
            if len(indices[part]) == 1 and self.batch_size > 1 and len(indices) > 1:
                continue
            rows = tuple(tensor[placed[tensor.device][part]].to(device, non_blocking=True) for tensor in self.tensors)
            yield self.prepare(*rows, generator) if self.prepare else rows

    def steps(self) -> int:
        """Batches in an epoch."""
        count = len(self.order(torch.Generator())) if self.order else len(self.tensors[0])
        full, rest = divmod(count, self.batch_size)
        return full + (rest > 1 or (rest == 1 and full == 0) or (self.batch_size == 1 and rest > 0))
