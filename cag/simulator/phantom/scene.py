"""Everything of a run that is projected: the beating tree, devices and faint contrast, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cag.anatomy import Artery
from cag.simulator.phantom.contrast import FlowClock, concentration, injection
from cag.simulator.phantom.devices import Devices, devices
from cag.simulator.phantom.display import shutter
from cag.simulator.phantom.motion import Motion, contraction_field, deform, frame_times, run_motion
from cag.simulator.phantom.plan import PatientPlan, RunPlan, stream
from cag.simulator.phantom.projection import CArm, Disks, splat
from cag.simulator.phantom.tree import Tree, build_tree
from cag.simulator.phantom.veil import Veil, draw_veil

#: Length of an X-ray pulse, s: the heart moves within it.
PULSE_S = 0.008
#: Point of the chest at which operators aim, mm, and how much of that they do instead of centering the tree.
AIM, AIM_SHARE, AIM_SD = (8.0, -50.0, 30.0), 0.45, 5.0
#: Blush, coronary sinus and reflux are drawn on a grid this many times coarser than the detector.
VEIL_GRID = 8
#: Thin layer of blood at the wall that contrast does not reach, mm: thin vessels look fainter than their width.
WALL_LAYER = 0.2

_AIM = 81


@lru_cache(maxsize=8)
def cached_tree(patient: PatientPlan, artery: Artery) -> Tree:
    """``build_tree``, once for all runs of a patient's artery."""
    return build_tree(patient, artery)


@dataclass(frozen=True)
class Projected:
    """Samples on the detector at some frames: columns, rows (px) and magnification (px/mm)."""

    x: Float[Tensor, "f n"]
    y: Float[Tensor, "f n"]
    scale: Float[Tensor, "f n"]


class Scene:
    """A run's geometry, motion and contrast.

    What depends on time is computed for the whole run at once: a frame's numbers do not depend on
    which other frames are asked for, to the last bit. What only rendering needs is made when it is first used.

    Parameters
    ----------
    patient, run : PatientPlan, RunPlan
    device : torch.device or str
    """

    def __init__(self, patient: PatientPlan, run: RunPlan, device: torch.device | str) -> None:
        self.patient, self.run = patient, run
        self.tree = tree = cached_tree(patient, run.artery)
        self.device = torch.device(device)
        self.position, self.radius, self.step, self.delay = (
            torch.as_tensor(a, device=device) for a in (tree.position, tree.radius, tree.step, tree.delay)
        )
        self.base, self.apex = torch.as_tensor(tree.base, device=device), torch.as_tensor(tree.apex, device=device)
        self.center = 0.5 * (self.base + self.apex)
        self.field = contraction_field(self.position, self.base, self.apex)
        aim = (1 - AIM_SHARE) * np.median(tree.position, axis=0) + AIM_SHARE * np.array(AIM)
        aim = aim + stream(run.seed, _AIM).normal(0, AIM_SD, 3)
        self.carm = CArm.of(run, torch.as_tensor(aim, dtype=torch.float32, device=device))
        self.times = frame_times(run)
        self.motion = run_motion(run, self.times, device)
        self.clock = FlowClock.of(run)
        blocked = torch.as_tensor(tree.blocked, device=device)
        self.contrast: Float[Tensor, "f n"] = concentration(run, self.delay, blocked, self.times, self.clock)

    @cached_property
    def lit(self) -> Bool[Tensor, "h w"]:
        """Where the collimator lets at least half of the beam through."""
        return torch.as_tensor(shutter(self.run)[0] > 0.5, device=self.device)

    @cached_property
    def opacity(self) -> Float[Tensor, " n"]:
        """What a ray through a sample's middle gains from full contrast, mm, the wall's layer of blood left out."""
        return self.step * self.radius / (self.radius + WALL_LAYER)

    @cached_property
    def travel(self) -> Float[Tensor, " f"]:
        """How far contraction goes within a pulse."""
        ahead, behind = (run_motion(self.run, self.times + s * 0.5 * PULSE_S, self.device).contraction for s in (1, -1))
        return ahead - behind

    @cached_property
    def injected(self) -> Float[Tensor, " f"]:
        """Share of full flow out of the catheter."""
        return torch.as_tensor(injection(self.run, self.times), dtype=torch.float32, device=self.device)

    @cached_property
    def devices(self) -> Devices:
        """What is opaque besides the vessels."""
        return devices(self.patient, self.run, self.tree).to(self.device)

    @cached_property
    def device_field(self) -> Float[Tensor, "n 3"]:
        """How contraction moves what the devices follow, mm."""
        return contraction_field(self.devices.anchor, self.base, self.apex)

    @cached_property
    def veil(self) -> Veil:
        """Faint contrast around the vessels."""
        return draw_veil(self.run, self.tree, self.clock).to(self.device)

    def panning(self, frames: Int[Tensor, " f"]) -> Float[Tensor, "f 2"]:
        """Travel of the picture along columns and rows, px."""
        sign = self.motion.panning.new_tensor([1.0, -1.0])
        return self.motion.panning[frames] * sign * self.carm.magnification

    def descent(self, frames: Int[Tensor, " f"] | slice) -> Float[Tensor, " f"]:
        """How far breathing moves the heart down the picture, px."""
        toward = float(self.carm.up[1]) - 0.27 * float(self.carm.up[2])
        return self.motion.breathing[frames] * (toward * self.carm.magnification)

    def _at(self, frames: Int[Tensor, " f"]) -> Motion:
        """The motion of some frames."""
        m = self.motion
        return Motion(m.contraction[frames], m.breathing[frames], m.panning[frames])

    def _project(self, points: Float[Tensor, "f n 3"], frames: Int[Tensor, " f"]) -> Projected:
        """Project points and move them with the table."""
        x, y, scale = self.carm.project(points)
        shift = self.panning(frames)
        return Projected(x + shift[:, :1], y + shift[:, 1:], scale)

    def vessels(self, frames: Int[Tensor, " f"], smeared: bool = False) -> Projected:
        """The tree's samples; ``smeared`` spreads them over the way they go within a pulse."""
        points = deform(self.position, self.field, self._at(frames), self.center)
        if smeared:
            third = (torch.arange(len(self.position), device=self.device) % 3 - 1).float() / 2
            points = points + self.travel[frames][:, None, None] * (third[:, None] * self.field)
        return self._project(points, frames)

    def disks(self, frames: Int[Tensor, " f"], vessels: bool = True) -> Disks:
        """Contrast and metal as disks, mm of undiluted contrast; without ``vessels``, the devices alone."""
        tree, kit = self.vessels(frames, smeared=True), self.devices
        moved = deform(kit.anchor, self.device_field, self._at(frames), self.center) - kit.anchor
        tools = self._project(kit.position + kit.follow[:, None] * moved, frames)
        weight = kit.weight + kit.lumen * self.injected[frames][:, None]
        return Disks(
            torch.cat([tree.x, tools.x], 1),
            torch.cat([tree.y, tools.y], 1),
            torch.cat([tree.scale * self.radius, tools.scale * kit.radius], 1),
            torch.cat([self.opacity * self.contrast[frames] * float(vessels), weight], 1),
        )

    def faint(self, frames: Int[Tensor, " f"]) -> Float[Tensor, "f v w"]:
        """Blush of the muscle, coronary sinus and reflux into the aortic root on a coarse grid, mm of contrast."""
        points = deform(self.veil.position, torch.zeros_like(self.veil.position), self._at(frames), self.center)
        where = self._project(points, frames)
        shape = (-(-self.run.rows // VEIL_GRID), -(-self.run.columns // VEIL_GRID))
        radius = where.scale * self.veil.radius / VEIL_GRID
        return splat(where.x / VEIL_GRID, where.y / VEIL_GRID, radius, self.veil.weight[frames], shape, 2.5)
