"""Training and prediction, ignorant of what is trained: they return data and never print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from tqdm import tqdm

from cag.networks.batches import Batch, Batches
from cag.networks.checkpoint import Checkpoint
from cag.networks.memory import Halving, in_halves
from cag.networks.runtime import Compiled, Precision, Runtime
from cag.settings import Settings

__all__ = ["Batch", "Batches", "FitSettings", "History", "fit", "predict"]

#: Bytes of a batch's output up to which it stays on the card until all batches are through.
SMALL_OUTPUT = 2**20


class FitSettings(Settings):
    """How a network is trained; the defaults are the published ones (PROTOCOL section 2).

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


@dataclass
class History:
    """What happened: one row an epoch (epoch, loss, score), the best epoch, device and precision.

    ``parts`` is more than 1 where a batch did not fit into memory at once.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    best_score: float = float("-inf")
    runtime: str = ""
    parts: int = 1


def fit(
    model: nn.Module,
    batches: Batches,
    loss: Callable[[nn.Module, Batch], Tensor],
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
    batches, halving, compiled = batches.resident(runtime.device), Halving(), Compiled.chosen(model)
    optimizer, schedule = _optimizer(model, settings, batches.steps())
    history, best = History(runtime=runtime.describe()), None
    if checkpoint is not None and checkpoint.exists:
        history.rows, best = checkpoint.restore(model, optimizer, schedule, generator)
    bar = tqdm(total=settings.epochs * batches.steps(), desc=description, unit="batch", disable=not progress)
    bar.update(len(history.rows) * batches.steps())
    for epoch in range(len(history.rows), settings.epochs):
        if _out_of_patience(history.rows, settings.patience):
            break
        with compiled:
            mean_loss = _train_epoch(
                model, batches, loss, settings, runtime, optimizer, schedule, generator, halving, bar
            )
        score = on_epoch(epoch, model.eval()) if on_epoch else None
        history.rows.append({"epoch": epoch, "loss": mean_loss, "score": float("nan") if score is None else score})
        if score is not None and _best(history.rows) == epoch:
            best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        if checkpoint is not None:
            checkpoint.save(model, optimizer, generator, history.rows, best)
        bar.set_postfix({"loss": f"{mean_loss:.3f}"} | ({} if score is None else {"score": f"{score:.3f}"}))
    bar.close()
    history.parts = halving.parts
    history.best_epoch = _best(history.rows)
    history.best_score = history.rows[history.best_epoch]["score"]
    if best is not None:
        model.load_state_dict(best)
    model.eval()
    return history


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

    def read(batch: Tensor) -> Any:
        with runtime.autocast():
            return call(prepare(batch) if prepare else batch)

    outputs: list[Any] = []
    for part in tqdm(inputs.split(batch_size), desc=description, unit="batch", disable=not progress):
        for output in in_halves(read, part.to(runtime.device, non_blocking=True), runtime.device):
            if isinstance(output, Tensor):
                outputs.append(_kept(output.float() if output.is_floating_point() else output))
            else:
                outputs.extend(output)
    if not outputs or not isinstance(outputs[0], Tensor):
        return outputs
    return torch.cat([output.to(outputs[0].device) for output in outputs]).cpu()  # a last batch may be smaller


def _kept(output: Tensor) -> Tensor:
    """Small outputs wait on the card, so that it need not stop after every batch; large ones do not fit there."""
    return output if output.nbytes <= SMALL_OUTPUT else output.cpu()


def _optimizer(
    model: nn.Module, settings: FitSettings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kind = torch.optim.AdamW if settings.weight_decay else torch.optim.Adam
    optimizer = kind(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    if settings.schedule == "constant":
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    total = max(settings.epochs * steps, 1)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=total)


def _train_epoch(
    model: nn.Module,
    batches: Batches,
    loss: Callable[[nn.Module, Batch], Tensor],
    settings: FitSettings,
    runtime: Runtime,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    generator: torch.Generator,
    halving: Halving,
    bar: tqdm,
) -> float:
    model.train()
    total, steps = torch.zeros((), device=runtime.device), 0
    devices = [runtime.device] if runtime.device.type == "cuda" else []
    # Dropout draws from the default generators: seeded for this epoch, given back unchanged.
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(torch.randint(0, 2**31 - 1, (1,), generator=generator)))
        for batch in batches.epoch(generator, runtime.device):
            value = halving.backward(model, batch, loss, runtime)
            if settings.clip_norm:
                nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            total, steps = total + value, steps + 1
            bar.update()
    return float(total) / max(steps, 1)


def _best(rows: list[dict[str, float]]) -> int:
    """Epoch of the highest score, the first of equals; the last epoch where there are no scores."""
    scored = [row for row in rows if row["score"] == row["score"]]
    return int(max(scored, key=lambda row: row["score"])["epoch"]) if scored else len(rows) - 1


def _out_of_patience(rows: list[dict[str, float]], patience: int) -> bool:
    scored = any(row["score"] == row["score"] for row in rows)
    return scored and len(rows) - 1 - _best(rows) >= patience
