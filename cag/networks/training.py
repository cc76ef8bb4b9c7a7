"""Training and prediction, ignorant of what is trained: they return data and never print."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from tqdm import tqdm

from cag.settings import InputError, Settings, SettingsError, write_atomically

Batch = tuple[Any, ...]
Loss = Callable[[nn.Module, Batch], Tensor]  #: To a scalar.
Precision = Literal["auto", "fp32", "bf16"]
Rows = list[dict[str, float]]
Parts = tuple[nn.Module, Optimizer, LRScheduler]


class FitSettings(Settings):
    """How a network is trained; the defaults are the published ones."""

    epochs: int = Field(default=200, ge=1)
    batch_size: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)  #: Constant, or the peak of the one-cycle schedule.
    weight_decay: float = Field(default=0.0, ge=0)  #: Decoupled (AdamW); 0 is Adam.
    patience: int = Field(default=100, ge=1)  #: Epochs without a better score after which training stops.
    schedule: Literal["constant", "one_cycle"] = "constant"
    clip_norm: float = Field(default=0.0, ge=0)  #: Largest norm of the gradient; 0 leaves it alone.
    precision: Precision = "auto"  #: ``auto`` is bfloat16 where the processor computes it natively.


@dataclass(frozen=True)
class Runtime:
    """Device and arithmetic of a computation."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def choose(cls, device: str = "auto", precision: Precision = "auto") -> Runtime:
        """Take CUDA where there is one, and bfloat16 where it is native (AVX512-BF16, AMX, recent GPUs).

        Raises `SettingsError` if CUDA is asked for and absent.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise SettingsError("no CUDA device here", field="device", remedy="Set device to auto or cpu")
        cuda = device != "cpu" and torch.cuda.is_available()
        if cuda:
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        else:  # emulated bfloat16 is slower than float32, so only instructions for it count
            native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        narrow = precision == "bf16" or (precision == "auto" and native)
        return cls(torch.device("cuda" if cuda else "cpu"), torch.bfloat16 if narrow else torch.float32)

    def autocast(self) -> torch.autocast:
        """Context of mixed precision; does nothing in float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def describe(self) -> str:
        """Device and precision in words, for a run's record."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return f"{name}, {str(self.dtype).removeprefix('torch.')}"


@dataclass(frozen=True)
class Batches:
    """Samples held in memory, drawn anew for every epoch."""

    tensors: Sequence[Tensor]  #: Equal first dimension.
    batch_size: int
    #: Generator to the indices of one epoch; a permutation by default.
    order: Callable[[torch.Generator], Tensor] | None = None
    #: Rows of one batch, already on the device, and the generator to the batch (augmentation).
    prepare: Callable[..., Batch] | None = None

    def epoch(self, generator: torch.Generator, device: torch.device) -> Iterator[Batch]:
        """Batches of one epoch; a last batch of a single sample is left out (batch norm cannot use it)."""
        for part in self._parts(generator):
            rows = tuple(_sent(tensor[part], device) for tensor in self.tensors)
            yield self.prepare(*rows, generator) if self.prepare else rows

    def steps(self) -> int:
        """Batches in an epoch."""
        return len(self._parts(torch.Generator()))

    def _parts(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        order = self.order or (lambda generator: torch.randperm(len(self.tensors[0]), generator=generator))
        parts = order(generator).split(self.batch_size)
        return parts[:-1] if len(parts) > 1 and len(parts[-1]) == 1 < self.batch_size else parts


def _sent(rows: Tensor, device: torch.device) -> Tensor:
    """Rows on the device; from pinned memory, so that the copy does not hold the card up."""
    pinned = rows.pin_memory() if device.type == "cuda" and rows.device.type == "cpu" else rows
    return pinned.to(device, non_blocking=True)


@dataclass
class History:
    """What happened: device and precision, and one row an epoch (epoch, loss, score; NaN where there is no score)."""

    runtime: str
    rows: Rows = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """Epoch of the highest score, the first of equals; the last epoch where there are no scores."""
        scored = [row for row in self.rows if not math.isnan(row["score"])]
        return int(max(scored, key=lambda row: row["score"])["epoch"]) if scored else len(self.rows) - 1

    @property
    def best_score(self) -> float:
        """Score of the best epoch."""
        return self.rows[self.best_epoch]["score"]


def fit(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    settings: FitSettings,
    *,
    generator: torch.Generator,
    device: str = "auto",
    on_epoch: Callable[[int, nn.Module], float] | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
    description: str = "Training",
) -> History:
    """Train a network in place and leave it in its best state, in evaluation mode.

    The ``generator``, on the CPU, draws order, augmentation and dropout, and is advanced. ``on_epoch`` is called after
    each epoch with its number from 0 and the model in evaluation mode; what it returns is the score (higher is better)
    that picks the best state; without one the last state stays. ``checkpoint`` is a ``.pt`` file written after each
    epoch; where it exists, training goes on from it, or an `InputError` says that it is damaged or of another network.
    """
    runtime, steps = Runtime.choose(device, settings.precision), batches.steps()
    model.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parts = (model, *_optimizer(model, settings, steps))
    history, best = History(runtime.describe()), None
    if checkpoint is not None and checkpoint.is_file():
        history.rows, best = _restored(checkpoint, parts, generator)
    done = len(history.rows)
    total = settings.epochs * steps
    bar = tqdm(total=total, initial=done * steps, desc=description, unit="batch", disable=not progress)
    for epoch in range(done, settings.epochs):
        if epoch - 1 - history.best_epoch >= settings.patience:
            break
        seed = int(torch.randint(0, 2**31 - 1, (1,), generator=generator))
        epoch_batches = batches.epoch(generator, runtime.device)
        mean_loss = _train_epoch(parts, epoch_batches, loss, settings.clip_norm, runtime, seed, bar)
        score = on_epoch(epoch, model.eval()) if on_epoch else math.nan
        history.rows.append({"epoch": epoch, "loss": mean_loss, "score": score})
        if on_epoch and history.best_epoch == epoch:
            best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        if checkpoint is not None:
            state = [*(part.state_dict() for part in parts), generator.get_state(), history.rows, best]
            write_atomically(checkpoint, partial(torch.save, state))
        bar.set_postfix(history.rows[-1])
    bar.close()
    if best is not None:
        model.load_state_dict(best)
    model.eval()
    return history


def _restored(checkpoint: Path, parts: Parts, generator: torch.Generator) -> tuple[Rows, dict[str, Tensor] | None]:
    """Put everything back as it was after the last epoch; the rows so far and the best state."""
    try:
        model, optimizer, schedule, drawn, rows, best = torch.load(checkpoint, "cpu", weights_only=True)
        parts[0].load_state_dict(model)
        parts[1].load_state_dict(optimizer)
        parts[2].load_state_dict(schedule)
        generator.set_state(drawn)
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, UnpicklingError) as error:
        remedy = "Delete it and run again: this training then starts anew, all else is kept"
        problem = f"checkpoint cannot be read ({type(error).__name__})"
        raise InputError(problem, file=checkpoint.name, remedy=remedy) from error
    return rows, best


def _optimizer(model: nn.Module, settings: FitSettings, steps: int) -> tuple[Optimizer, LRScheduler]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kind = torch.optim.AdamW if settings.weight_decay else torch.optim.Adam
    optimizer = kind(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    if settings.schedule == "constant":
        return optimizer, LambdaLR(optimizer, lambda step: 1.0)
    return optimizer, OneCycleLR(optimizer, settings.learning_rate, total_steps=max(settings.epochs * steps, 1))


def _train_epoch(
    parts: Parts, batches: Iterable[Batch], loss: Loss, clip_norm: float, runtime: Runtime, seed: int, bar: tqdm
) -> float:
    """Mean loss of one pass over the batches."""
    model, optimizer, schedule = parts
    model.train()
    losses: list[Tensor] = []
    # Dropout draws from the default generators: seeded for this epoch, given back unchanged.
    with torch.random.fork_rng(devices=[runtime.device] if runtime.device.type == "cuda" else []):
        torch.manual_seed(seed)
        for batch in batches:
            with runtime.autocast():
                value = loss(model, batch)
            value.backward()
            if clip_norm:
                nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            losses.append(value.detach())
            bar.update()
    return float(sum(losses)) / max(len(losses), 1)


@torch.no_grad()
def predict(
    call: Callable[[Tensor], Tensor],
    inputs: Tensor,
    *,
    batch_size: int = 32,
    device: str = "auto",
    precision: Precision = "auto",
    prepare: Callable[[Tensor], Tensor] | None = None,
    progress: str = "",
) -> Tensor:
    """Outputs of a network for many inputs, in order, in float32 on the CPU.

    ``call`` is a module (put into evaluation mode) or a method of one; ``prepare`` is applied to each batch on the
    device, such as ``transforms.scale``. ``progress`` labels a bar; none is shown without it.
    """
    runtime, outputs = Runtime.choose(device, precision), []
    module = call if isinstance(call, nn.Module) else getattr(call, "__self__", None)
    if isinstance(module, nn.Module):
        module.eval().to(runtime.device)
    for part in tqdm(inputs.split(batch_size), desc=progress, unit="batch", disable=not progress):
        batch = _sent(part, runtime.device)
        with runtime.autocast():
            outputs.append(call(prepare(batch) if prepare else batch).float().cpu())
    return torch.cat(outputs)
