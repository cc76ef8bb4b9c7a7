"""A training that can be stopped and goes on: everything it needs in one safetensors file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cag.settings import InputError, write_atomically

Rows = list[dict[str, float]]


@dataclass(frozen=True)
class Checkpoint:
    """State of a training after an epoch, written under a temporary name and renamed.

    Attributes
    ----------
    path : Path
        A ``.safetensors`` file; its folder must exist.
    """

    path: Path

    @property
    def exists(self) -> bool:
        """Whether there is something to go on from."""
        return self.path.is_file()

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        rows: Rows,
        best: dict[str, Tensor] | None,
    ) -> None:
        """Store model, optimizer, random state, the rows so far and the best state."""
        tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in (best or {}).items()}
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": value for name, value in state.items()}
        tensors["generator"] = generator.get_state()
        stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        write_atomically(self.path, lambda path: save_file(stored, path, metadata={"rows": json.dumps(rows)}))

    def restore(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        generator: torch.Generator,
    ) -> tuple[Rows, dict[str, Tensor] | None]:
        """Put everything back and wind the schedule forward; returns the rows so far and the best state.

        Raises
        ------
        InputError
            If the file is damaged, or belongs to another network.
        """
        try:
            with safe_open(self.path, framework="pt") as file:
                rows: Rows = json.loads(file.metadata()["rows"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            model.load_state_dict(_below("model/", tensors))
            generator.set_state(tensors["generator"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            remedy = "Delete it and run again: this training then starts anew, all else is kept"
            problem = f"checkpoint cannot be read ({type(error).__name__})"
            raise InputError(problem, file=self.path.name, remedy=remedy) from error
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _below("optimizer/", tensors).items():
            number, key = name.split("/")
            states.setdefault(int(number), {})[key] = value
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
        steps = int(max((float(state["step"]) for state in states.values()), default=0))
        optimizer._opt_called = True  # type: ignore[attr-defined]  # the steps were taken before the interruption
        for _ in range(steps):
            schedule.step()
        return rows, _below("best/", tensors) or None


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
