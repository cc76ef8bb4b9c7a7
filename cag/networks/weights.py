"""Trunk weights on disk: bfloat16 safetensors shards with a JSON record beside them."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cag.data.fingerprint import known_digest
from cag.settings import ROOT, InputError, Weights, write_atomically

#: Where the study's own pre-trained trunks lie.
WEIGHTS_FOLDER = ROOT / "weights"

#: Weights of the study's own, made by ``python -m cag pretrain``: with masks and boxes, or with image labels only.
OWN_WEIGHTS = ("xa", "xa-labels")

SHARD_BYTES = 15 * 1024 * 1024


def save_trunk(
    trunk: nn.Module, folder: Path, record: dict[str, Any], weights: Weights = "xa", backbone: str = "inception_v3"
) -> None:
    """Write a trunk as ``xa-*.safetensors`` shards under 16 MB and its record (JSON) as ``xa.json``.

    Floating-point tensors are stored as bfloat16. Shards of an earlier trunk that are no longer needed are removed.
    ``weights`` and ``backbone`` name the files, as ``build_trunk`` asks for them.
    """
    stem, state = _stem(weights, backbone), {name: own.cpu().contiguous() for name, own in trunk.state_dict().items()}
    shards = _shards({name: own.bfloat16() if own.is_floating_point() else own for name, own in state.items()})
    paths = [folder / f"{stem}-{number + 1:02d}-of-{len(shards):02d}.safetensors" for number in range(len(shards))]
    for path, shard in zip(paths, shards, strict=True):
        write_atomically(path, partial(save_file, shard))
    for stale in set(_stored(weights, backbone, folder)) - set(paths):
        stale.unlink()
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    write_atomically(folder / f"{stem}.json", lambda path: path.write_text(text))


def load_trunk(
    trunk: nn.Module, weights: Weights = "xa", backbone: str = "inception_v3", folder: Path = WEIGHTS_FOLDER
) -> None:
    """Fill a trunk from the shards of ``save_trunk``, cast to its own precision.

    Raises `InputError` if the shards are missing, incomplete, unreadable or of another network.
    """
    command = f"python -m cag pretrain --weights {weights} --backbone {backbone}"
    remedy = f"Restore the weights folder, make them with `{command}`, or set weights to random"
    paths = _stored(weights, backbone, folder)
    if not paths:
        missing = f"{folder.name}/{_stem(weights, backbone)}-*.safetensors"
        raise InputError(f"there are no {weights} weights for {backbone}", file=missing, remedy=remedy)
    expected = int(paths[0].stem.rsplit("-", 1)[-1])
    if len(paths) != expected:
        raise InputError(f"{len(paths)} of {expected} shards found", file=folder.name, remedy=remedy)
    state: dict[str, Tensor] = {}
    try:
        for path in paths:
            state |= load_file(path)
        trunk.load_state_dict(state)
    except SafetensorError as error:
        raise InputError(f"unreadable ({error})", file=path.name, remedy=remedy) from None
    except RuntimeError:
        raise InputError("these weights belong to another network", file=folder.name, remedy=remedy) from None


def weights_digest(weights: str = "xa", backbone: str = "inception_v3", folder: Path = WEIGHTS_FOLDER) -> str:
    """Sixteen hexadecimal digits that identify stored weights (SHA-256 of the shards); empty where there are none."""
    shards = [known_digest(path) for path in _stored(weights, backbone, folder)]
    return hashlib.sha256(" ".join(shards).encode()).hexdigest()[:16] if shards else ""


def _stem(weights: str, backbone: str) -> str:
    """What the files are called: the published network's carry the name of the weights alone."""
    return weights if backbone == "inception_v3" else f"{weights}-{backbone}"


def _stored(weights: str, backbone: str, folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_stem(weights, backbone)}-[0-9][0-9]-of-*.safetensors"))


def _shards(state: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Split a state in its order so that no part exceeds ``SHARD_BYTES``."""
    shards: list[dict[str, Tensor]] = [{}]
    for name, tensor in state.items():
        if shards[-1] and sum(own.nbytes for own in shards[-1].values()) + tensor.nbytes > SHARD_BYTES:
            shards.append({})
        shards[-1][name] = tensor
    return shards
