"""Settings of candidate frame selection: each stage adds the fields that it depends on to those of the one before."""

from __future__ import annotations

from typing import TypeVar

from pydantic import Field

from cag.networks.frame_selector import IntervalRule
from cag.networks.trunk import Trainable
from cag.settings import Settings, StudySettings, Weights

S = TypeVar("S", bound=Settings)


class TrunkSettings(Settings):
    """The network that makes the features, as it starts."""

    image_size: int = Field(default=128, ge=75, le=1024)  #: Side of its input in pixels.
    backbone: str = "inception_v3"  #: Or another convolutional classifier of torchvision.
    weights: Weights = "xa"
    seed: int = 0


class CnnSettings(TrunkSettings):
    """Stage 1, the frame classifier; a batch counts frames."""

    trainable: Trainable = "head"  #: ``head`` keeps the trunk as it starts; ``all`` trains it, as the paper did.
    train_patients: int | None = Field(default=8, ge=2)  #: None takes the sets that ``patients.csv`` names.
    test_patients: int | None = Field(default=None, ge=1)  #: Drawn by ``seed`` of those that are left; None: all.
    #: Share of the training patients (as published: of the images) that chooses the checkpoints; with several
    #: ``members``, each has its own part of all training patients for that.
    inner_share: float = Field(default=0.25, gt=0, lt=1)
    frames_per_part: int = Field(default=5, ge=1)  #: Frames inside the interval, before it and after it.
    belt: int = Field(default=10, ge=0)  #: Unused frames outside each border.
    cnn_epochs: int = Field(default=40, ge=1)
    cnn_patience: int = Field(default=10, ge=1)
    cnn_batch: int = Field(default=32, ge=2)
    cnn_learning_rate: float = Field(default=1e-3, gt=0, lt=1)


class SequenceSettings(CnnSettings):
    """Stage 2, biLSTM and temporal convolution; a batch counts runs."""

    sequence_epochs: int = Field(default=60, ge=1)
    sequence_patience: int = Field(default=20, ge=1)
    sequence_batch: int = Field(default=16, ge=2)
    sequence_learning_rate: float = Field(default=1e-3, gt=0, lt=1)
    #: Networks trained with different inner patients and asked together; 1 as published.
    members: int = Field(default=4, ge=1, le=20)
    #: Largest share of a training run cut off at either end, anew in every epoch; 0 as published.
    crop: float = Field(default=0.0, ge=0, lt=0.5)
    relative: bool = True  #: Features less the mean of their run; False as published.
    #: Principal components of the training runs' features that are seen; None shows all, as published.
    components: int | None = Field(default=16, ge=1, le=1024)


class FrameSelectionSettings(SequenceSettings, StudySettings):
    """Parameters of notebook 02: of both stages, of reading an interval, and of choosing candidate frames."""

    rule: IntervalRule = "longest"  #: Of the clean arm; the published one is ``last_positive``.
    candidates: int = Field(default=8, ge=5, le=10)  #: Candidate frames of a run.


def features_of(settings: CnnSettings) -> TrunkSettings:
    """Settings of the trunk whose pooled features stage 2 reads: ``CnnSettings`` where stage 1 trained it.

    Of a trunk as it starts, a seed counts for random weights only.
    """
    if settings.trainable == "all":
        return only(CnnSettings, settings)
    start = only(TrunkSettings, settings)
    return start if settings.weights == "random" else start.model_copy(update={"seed": 0})


def only(stage: type[S], settings: Settings) -> S:
    """The fields of ``settings`` that a stage depends on."""
    return stage(**{name: getattr(settings, name) for name in stage.model_fields})
