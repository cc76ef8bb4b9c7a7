"""The benchmark compares like with like: both networks give the same detections from the same weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from cag.networks.backbones import build_trunk
from cag.networks.detector import FITTED_DETECTOR, StenosisDetector
from cag.settings import ROOT


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_networks_share_weights_and_logits():
    benchmark = load(ROOT / "benchmarks" / "detector.py")
    settings = FITTED_DETECTOR.model_copy(update={"channels": 8})
    detector = StenosisDetector(build_trunk("random", 0, "resnet18"), settings).eval()
    bare = benchmark.bare_model(detector, 96).eval()
    images = torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        logits = detector.raw(detector.maps(images))[0]
        maps = bare.backbone(bare.transform(list(images))[0].tensors)
        theirs = bare.head(list(maps.values()))["cls_logits"][..., 0]
    torch.testing.assert_close(logits, theirs)
    for step in benchmark.training_steps(
        detector.train(), bare.train(), images, torch.tensor([[[5.0, 5, 30, 30]]] * 2)
    ).values():
        step()
    for step in benchmark.inference_steps(detector.eval(), bare.eval(), images).values():
        step()
