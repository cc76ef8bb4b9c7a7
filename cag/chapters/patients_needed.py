"""What notebook 10 is told: the same classifier trained on more and more simulated patients, equally long."""

from __future__ import annotations

from pydantic import Field

from cag.anatomy import VIEWS, Artery
from cag.networks.training import FitSettings
from cag.settings import StudySettings
from cag.simulator.population import PopulationSettings


class PatientsNeededSettings(StudySettings):
    """Whom to train on, how long, and on what frames of the cohort to test."""

    patients: tuple[int, ...] = Field(default=(6, 12, 24), min_length=2)  #: Training patients, point by point.
    draws: int = Field(default=2, ge=1, le=20)  #: Trainings at each point, on patients drawn anew.
    images: int = Field(default=3000, ge=100)  #: Frames that each training sees, some of them many times.
    image_size: int = Field(default=192, ge=96, le=1024, multiple_of=16)  #: Pixels a side that the network sees.
    frames_per_run: int = Field(default=5, ge=1, le=50)  #: Labeled frames of a run, in training and in the cohort.
    backbone: str = "inception_v3"  #: The trunk, which stays as it starts.
    artery: Artery = "RCA"  #: The one that is trained and tested; all its views have one classifier only on the right.
    population_seed: int = Field(default=30_000, ge=1000)  #: Of the training patients; the cohorts' are below 1000.
    epochs: int = Field(default=4, ge=1)  #: Parts of a training, after each of which its loss is told.
    batch_size: int = Field(default=16, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)  #: The peak of the one-cycle schedule.

    @property
    def fit(self) -> FitSettings:
        """How each network is trained."""
        told = {"epochs": self.epochs, "batch_size": self.batch_size, "learning_rate": self.learning_rate}
        return FitSettings.checked({**told, "schedule": "one_cycle"})

    @property
    def population(self) -> PopulationSettings:
        """The patients that all trainings draw from."""
        who = {"patients": max(self.patients), "seed": self.population_seed, "artery": self.artery}
        frames = {"contrast_frames": self.frames_per_run, "background_frames": max(1, self.frames_per_run // 2)}
        return PopulationSettings.checked({**who, **frames, "image_size": self.image_size})

    @property
    def views(self) -> list[int]:
        """Positions in ``VIEWS`` of the standard views of the artery."""
        return [number for number, view in enumerate(VIEWS.values()) if view.artery == self.artery]
