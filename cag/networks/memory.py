"""Out of memory: the batch is halved and that is said, until it fits."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from cag.networks.batches import Batch
from cag.networks.runtime import Runtime
from cag.settings import InputError

#: What the allocators of the CPU say; a card has an exception of its own.
_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


class MemoryWarning(UserWarning):
    """A batch did not fit and is computed in parts."""


class Halving:
    """Gradients of a batch, computed in as many parts as memory asks for.

    The parts' gradients add up to the batch's, so optimizer and schedule see the same steps; only batch
    statistics are those of the parts.

    Attributes
    ----------
    parts : int
        Parts of each batch; doubled when one does not fit, and kept for the batches to come.
    """

    def __init__(self) -> None:
        self.parts = 1

    def backward(
        self, model: nn.Module, batch: Batch, loss: Callable[[nn.Module, Batch], Tensor], runtime: Runtime
    ) -> Tensor:
        """Add the gradients of a batch and return its loss.

        Raises
        ------
        InputError
            If not even two samples fit.
        """
        while True:
            try:
                return self._in_parts(model, batch, loss, runtime)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            model.zero_grad(set_to_none=True)
            self.parts *= 2
            _make_room(len(batch[0]), self.parts, 2, runtime.device)

    def _in_parts(
        self, model: nn.Module, batch: Batch, loss: Callable[[nn.Module, Batch], Tensor], runtime: Runtime
    ) -> Tensor:
        total = torch.zeros((), device=runtime.device)
        for part, share in _split(batch, self.parts):
            with runtime.autocast():
                value = loss(model, part)
                value = value if share == 1 else value * share
            value.backward()
            total = total + value.detach()
        return total


def in_halves(call: Callable[[Tensor], Any], batch: Tensor, device: torch.device) -> list[Any]:
    """Outputs for a batch, or for its halves where it does not fit; for halves of halves likewise.

    Raises
    ------
    InputError
        If not even one sample fits.
    """
    try:
        return [call(batch)]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    _make_room(len(batch), 2, 1, device)
    return [output for half in batch.tensor_split(2) for output in in_halves(call, half, device)]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was asked for in vain."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


def _split(batch: Batch, parts: int) -> Iterator[tuple[Batch, float]]:
    """Parts of nearly equal size, and the share of each."""
    count = len(batch[0])
    if parts == 1:
        yield batch, 1
        return
    for part in zip(*(values.tensor_split(parts) for values in batch), strict=True):
        if len(part[0]):  # the last batch of an epoch may be smaller than the number of parts
            yield part, len(part[0]) / count


def _make_room(count: int, parts: int, least: int, device: torch.device) -> None:
    """Give unused memory back and say that the batch is split, or that it cannot be."""
    if count // parts < least:
        remedy = "Set a smaller image_size, or use a machine with more memory"
        fewest = "two samples" if least == 2 else "one sample"
        raise InputError(f"out of memory even with {fewest} at once", field="batch_size", remedy=remedy)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    words = f"out of memory with {count} samples at once: computed in parts of {-(-count // parts)}"
    warnings.warn(words, MemoryWarning, stacklevel=3)
