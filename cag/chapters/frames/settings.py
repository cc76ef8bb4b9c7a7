"""Settings of candidate frame selection, and what each of its pieces of work depends on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cag.networks.frame_selector import IntervalRule
from cag.networks.trunk import Trainable
from cag.settings import Settings, StudySettings, Weights

Arm = Literal["clean", "as_published"]
ARMS: tuple[Arm, ...] = ("clean", "as_published")

SequenceModel = Literal["cnn_lstm", "tcn"]


class FrameSelectionSettings(StudySettings):
    """Parameters of notebook 02.

    Attributes
    ----------
    image_size : int
        Side of the network's input in pixels.
    trainable : {'head', 'all'}
        ``head`` keeps the trunk as it starts, so that features are computed once for both arms;
        ``all`` trains it with the frame classifier, as the paper did.
    backbone : str
        ``inception_v3``, or another convolutional classifier of torchvision.
    train_patients : int or None
        Training patients; None takes the sets that ``patients.csv`` names.
    inner_share : float
        Share of the training patients (as published: of the images) that chooses the checkpoints; with several
        ``members``, each has its own part of all training patients for that.
    frames_per_part, belt : int
        Sampling for the frame classifier: frames inside, before and after; unused frames beside each border.
    cnn_epochs, cnn_patience, cnn_batch, cnn_learning_rate
        Stage 1, the frame classifier; a batch counts frames.
    sequence_epochs, sequence_patience, sequence_batch, sequence_learning_rate
        Stage 2, biLSTM and temporal convolution; a batch counts runs.
    members : int
        Sequence models trained with different inner patients and asked together; 1 as published.
    crop : float
        Largest share of a training run cut off at either end, anew in every epoch; 0 as published.
    relative : bool
        Whether stage 2 sees each frame's features relative to the mean of its run; False as published.
    components : int or None
        Principal components of the training runs' features that stage 2 sees; None shows it all of them, as published.
    rule : {'longest', 'mass', 'last_positive'}
        How the clean arm reads an interval from probabilities; the published rule is ``last_positive``.
    candidates : int
        Candidate frames of a run.
    """

    image_size: int = Field(default=128, ge=75, le=1024)
    trainable: Trainable = "head"
    backbone: str = "inception_v3"
    train_patients: int | None = Field(default=8, ge=2)
    inner_share: float = Field(default=0.25, gt=0, lt=1)
    frames_per_part: int = Field(default=5, ge=1)
    belt: int = Field(default=10, ge=0)
    cnn_epochs: int = Field(default=40, ge=1)
    cnn_patience: int = Field(default=10, ge=1)
    cnn_batch: int = Field(default=32, ge=2)
    cnn_learning_rate: float = Field(default=1e-3, gt=0, lt=1)
    sequence_epochs: int = Field(default=60, ge=1)
    sequence_patience: int = Field(default=20, ge=1)
    sequence_batch: int = Field(default=16, ge=2)
    sequence_learning_rate: float = Field(default=1e-3, gt=0, lt=1)
    members: int = Field(default=4, ge=1, le=20)
    crop: float = Field(default=0.0, ge=0, lt=0.5)
    relative: bool = True
    components: int | None = Field(default=16, ge=1, le=1024)
    rule: IntervalRule = "longest"
    candidates: int = Field(default=8, ge=5, le=10)

    def cnn(self, arm: Arm) -> CnnSettings:
        """What the frame classifier of an arm depends on."""
        names = CnnSettings.model_fields.keys() - {"arm", "trunk", "split"}
        values = {name: getattr(self, name) for name in names}
        return CnnSettings(arm=arm, trunk=self.trunk, split=self.split, **values)

    def features(self, arm: Arm) -> FeatureSettings:
        """What the features of an arm depend on; with a frozen trunk, both arms share them."""
        return FeatureSettings(trunk=self.trunk, cnn=self.cnn(arm) if self.trainable == "all" else None)

    def sequence(self, arm: Arm, model: SequenceModel) -> SequenceSettings:
        """What a sequence model over the features of an arm depends on."""
        names = SequenceSettings.model_fields.keys() - {"model", "features", "split"}
        values = {name: getattr(self, name) for name in names}
        return SequenceSettings(model=model, features=self.features(arm), split=self.split, **values)

    @property
    def trunk(self) -> TrunkSettings:
        """Where features start from."""
        names = TrunkSettings.model_fields.keys() - {"seed"}
        seed = self.seed if self.weights == "random" else 0
        return TrunkSettings(seed=seed, **{name: getattr(self, name) for name in names})

    @property
    def split(self) -> SplitSettings:
        """Who trains and who chooses the checkpoints."""
        return SplitSettings(train_patients=self.train_patients, inner_share=self.inner_share, seed=self.seed)

    def interval_rule(self, arm: Arm) -> IntervalRule:
        """How an arm reads an interval from probabilities."""
        return "last_positive" if arm == "as_published" else self.rule


class TrunkSettings(Settings):
    """The network that makes the features, before any training of ours; ``seed`` is that of random weights."""

    image_size: int
    backbone: str
    weights: Weights
    seed: int


class SplitSettings(Settings):
    """Who trains, who chooses the checkpoints, and the seed of it all."""

    train_patients: int | None
    inner_share: float
    seed: int


class CnnSettings(Settings):
    """What stage 1, the frame classifier, depends on."""

    arm: Arm
    trunk: TrunkSettings
    split: SplitSettings
    trainable: Trainable
    frames_per_part: int
    belt: int
    cnn_epochs: int
    cnn_patience: int
    cnn_batch: int
    cnn_learning_rate: float


class FeatureSettings(Settings):
    """What pooled features depend on; ``cnn`` is the classifier whose trained trunk makes them."""

    trunk: TrunkSettings
    cnn: CnnSettings | None = None


class SequenceSettings(Settings):
    """What stage 2, a sequence model over a run's features, depends on."""

    model: SequenceModel
    features: FeatureSettings
    split: SplitSettings
    sequence_epochs: int
    sequence_patience: int
    sequence_batch: int
    sequence_learning_rate: float
    members: int
    crop: float
    relative: bool
    components: int | None
