"""Training and prediction, ignorant of what is trained: they return data and never print."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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
Loss = Callable[[nn.Module, Batch], Tensor]
Precision = Literal["auto", "fp32", "bf16"]
Rows = list[dict[str, float]]


class FitSettings(Settings):
    """How a network is trained; the defaults are the published ones.

    Attributes
    ----------
    epochs, batch_size, patience : int
        Training stops after ``patience`` epochs without a better score.
    learning_rate : float
        Constant, or the peak of the one-cycle schedule.
    weight_decay : float
        Decoupled (AdamW); 0 is Adam.
    schedule : {'constant', 'one_cycle'}
    clip_norm : float
        Largest norm of the gradient; 0 leaves it alone.
    precision : {'auto', 'fp32', 'bf16'}
        ``auto`` is bfloat16 where the processor computes it natively.
    """

    epochs: int = Field(default=200, ge=1)
    batch_size: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    patience: int = Field(default=100, ge=1)
    schedule: Literal["constant", "one_cycle"] = "constant"
    clip_norm: float = Field(default=0.0, ge=0)
    precision: Precision = "auto"


@dataclass(frozen=True)
class Runtime:
    """Device and arithmetic of a computation."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def choose(cls, device: str = "auto", precision: Precision = "auto") -> Runtime:
        """Take CUDA where there is one, and bfloat16 where it is native (AVX512-BF16, AMX, recent GPUs).

        Raises
        ------
        SettingsError
            When CUDA is asked for and absent.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise SettingsError("no CUDA device here", field="device", remedy="Set device to auto or cpu")
        cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        native = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else _cpu_has_bfloat16()
        narrow = precision == "bf16" or (precision == "auto" and native)
        return cls(torch.device("cuda" if cuda else "cpu"), torch.bfloat16 if narrow else torch.float32)

    def autocast(self) -> torch.autocast:
        """Context of mixed precision; does nothing in float32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def describe(self) -> str:
        """Device and precision in words, for a run's record."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return f"{name}, {str(self.dtype).removeprefix('torch.')}"


def _cpu_has_bfloat16() -> bool:
    """Emulated bfloat16 is slower than float32, so only instructions for it count."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe)() for probe in probes if hasattr(torch.cpu, probe))


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

    def epoch(self, generator: torch.Generator, device: torch.device) -> Iterator[Batch]:
        """Batches of one epoch; a last batch of a single sample is left out (batch norm cannot use it)."""
        count = len(self.tensors[0])
        indices = self.order(generator) if self.order else torch.randperm(count, generator=generator)
        for part in indices.split(self.batch_size):
            if len(part) == 1 and self.batch_size > 1 and len(indices) > 1:
                continue
            rows = tuple(_sent(tensor[part], device) for tensor in self.tensors)
            yield self.prepare(*rows, generator) if self.prepare else rows

    def steps(self) -> int:
        """Batches in an epoch."""
        count = len(self.order(torch.Generator())) if self.order else len(self.tensors[0])
        full, rest = divmod(count, self.batch_size)
        return full + (rest > 1 or (rest == 1 and full == 0))


def _sent(rows: Tensor, device: torch.device) -> Tensor:
    """Rows on the device; from pinned memory, so that the copy does not hold the card up."""
    pinned = rows.pin_memory() if device.type == "cuda" and rows.device.type == "cpu" else rows
    return pinned.to(device, non_blocking=True)


@dataclass
class History:
    """What happened: one row an epoch (epoch, loss, score), the best epoch, device and precision."""

    rows: Rows = field(default_factory=list)
    best_epoch: int = -1
    best_score: float = float("-inf")
    runtime: str = ""


@dataclass
class Training:
    """What one epoch after another changes: network, optimizer, learning rate and random state."""

    model: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    generator: torch.Generator


@dataclass(frozen=True)
class Checkpoint:
    """State of a training after an epoch: one ``.pt`` file in a folder that exists."""

    path: Path

    def save(self, training: Training, rows: Rows, best: dict[str, Tensor] | None) -> None:
        """Store the training, the rows so far and the best state."""
        parts = (training.model, training.optimizer, training.schedule)
        state = [part.state_dict() for part in parts] + [training.generator.get_state(), rows, best]
        write_atomically(self.path, lambda path: torch.save(state, path))

    def restore(self, training: Training) -> tuple[Rows, dict[str, Tensor] | None]:
        """Put everything back; returns the rows so far and the best state.

        Raises
        ------
        InputError
            If the file is damaged, or belongs to another network.
        """
        try:
            model, optimizer, schedule, generator, rows, best = torch.load(self.path, "cpu", weights_only=True)
            training.model.load_state_dict(model)
            training.optimizer.load_state_dict(optimizer)
            training.schedule.load_state_dict(schedule)
            training.generator.set_state(generator)
        except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, UnpicklingError) as error:
            remedy = "Delete it and run again: this training then starts anew, all else is kept"
            problem = f"checkpoint cannot be read ({type(error).__name__})"
            raise InputError(problem, file=self.path.name, remedy=remedy) from error
        return rows, best


def fit(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    settings: FitSettings,
    *,
    generator: torch.Generator,
    device: str = "auto",
    on_epoch: Callable[[int, nn.Module], float | None] | None = None,
    checkpoint: Checkpoint | None = None,
    progress: bool = True,
    description: str = "Training",
) -> History:
    """Train a network in place and leave it in its best state, in evaluation mode.

    Parameters
    ----------
    loss : callable
        Model and batch to a scalar.
    generator : torch.Generator
        On the CPU; draws order, augmentation and dropout, and is advanced.
    on_epoch : callable, optional
        Called after each epoch with its number from 0 and the model in evaluation mode. What it returns is
        the score (higher is better) that picks the best state; without one the last state stays.
    checkpoint : Checkpoint, optional
        Written after each epoch; where it exists, training goes on from it.
    """
    runtime = Runtime.choose(device, settings.precision)
    model.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    training = Training(model, *_optimizer(model, settings, batches.steps()), generator)
    history, best = History(runtime=runtime.describe()), None
    if checkpoint is not None and checkpoint.path.is_file():
        history.rows, best = checkpoint.restore(training)
    bar = tqdm(total=settings.epochs * batches.steps(), desc=description, unit="batch", disable=not progress)
    bar.update(len(history.rows) * batches.steps())
    for epoch in range(len(history.rows), settings.epochs):
        if epoch - 1 - _best(history.rows) >= settings.patience:
            break
        mean_loss = _train_epoch(training, batches, loss, settings.clip_norm, runtime, bar)
        score = on_epoch(epoch, model.eval()) if on_epoch else None
        history.rows.append({"epoch": epoch, "loss": mean_loss, "score": float("nan") if score is None else score})
        if score is not None and _best(history.rows) == epoch:
            best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        if checkpoint is not None:
            checkpoint.save(training, history.rows, best)
        bar.set_postfix({"loss": f"{mean_loss:.3f}"} | ({} if score is None else {"score": f"{score:.3f}"}))
    bar.close()
    history.best_epoch = _best(history.rows)
    history.best_score = history.rows[history.best_epoch]["score"]
    if best is not None:
        model.load_state_dict(best)
    model.eval()
    return history


def _optimizer(model: nn.Module, settings: FitSettings, steps: int) -> tuple[Optimizer, LRScheduler]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kind = torch.optim.AdamW if settings.weight_decay else torch.optim.Adam
    optimizer = kind(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    if settings.schedule == "constant":
        return optimizer, LambdaLR(optimizer, lambda step: 1.0)
    return optimizer, OneCycleLR(optimizer, settings.learning_rate, total_steps=max(settings.epochs * steps, 1))


def _train_epoch(
    training: Training, batches: Batches, loss: Loss, clip_norm: float, runtime: Runtime, bar: tqdm
) -> float:
    """Mean loss of one pass over the batches."""
    model = training.model.train()
    total, steps = torch.zeros((), device=runtime.device), 0
    # Dropout draws from the default generators: seeded for this epoch, given back unchanged.
    with torch.random.fork_rng(devices=[runtime.device] if runtime.device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(0, 2**31 - 1, (1,), generator=training.generator)))
        for batch in batches.epoch(training.generator, runtime.device):
            with runtime.autocast():
                value = loss(model, batch)
            value.backward()
            if clip_norm:
                nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
            training.optimizer.step()
            training.optimizer.zero_grad(set_to_none=True)
            training.schedule.step()
            total, steps = total + value.detach(), steps + 1
            bar.update()
    return float(total) / max(steps, 1)


def _best(rows: Rows) -> int:
    """Epoch of the highest score, the first of equals; the last epoch where there are no scores."""
    scored = [row for row in rows if row["score"] == row["score"]]
    return int(max(scored, key=lambda row: row["score"])["epoch"]) if scored else len(rows) - 1


@torch.no_grad()
def predict(
    call: Callable[[Tensor], Any],
    inputs: Tensor,
    *,
    batch_size: int = 32,
    device: str = "auto",
    precision: Precision = "auto",
    prepare: Callable[[Tensor], Tensor] | None = None,
    progress: bool = False,
    description: str = "Predicting",
) -> Any:
    """Outputs of a network for many inputs, in order.

    Parameters
    ----------
    call : callable
        A module (put into evaluation mode) or a method of one; returns a tensor or a list, one entry an input.
    prepare : callable, optional
        Applied to each batch on the device, such as ``transforms.scale``.

    Returns
    -------
    Tensor or list
        On the CPU; floating-point tensors in float32.
    """
    runtime = Runtime.choose(device, precision)
    module = call if isinstance(call, nn.Module) else getattr(call, "__self__", None)
    if isinstance(module, nn.Module):
        module.eval().to(runtime.device)
    outputs: list[Any] = []
    for part in tqdm(inputs.split(batch_size), desc=description, unit="batch", disable=not progress):
        batch = _sent(part, runtime.device)
        with runtime.autocast():
            output = call(prepare(batch) if prepare else batch)
        if isinstance(output, Tensor):
            outputs.append((output.float() if output.is_floating_point() else output).cpu())
        else:
            outputs.extend(output)
    return torch.cat(outputs) if outputs and isinstance(outputs[0], Tensor) else outputs
