"""What the classification experiment is told, the cells of its grid, and the other ways to train it."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any, Literal, Self

from pydantic import Field, field_validator
from sklearn.model_selection import ParameterGrid

from cag.anatomy import MODEL_VIEWS, THREE_CATEGORIES, TWO_CATEGORIES
from cag.networks.classifier import HeadKind
from cag.networks.training import FitSettings
from cag.networks.trunk import Trainable
from cag.networks.weights import weights_digest
from cag.settings import Settings, StudySettings, Weights

LabelRule = Literal["assigned", "visible", "permuted"]

#: The study's own training, which every other one is compared with.
STUDY = "as in the study"
#: What a variant is called by what it changes; another setting by its name and value.
_WORDS = {"seed": "seed {}", "head": "{} head", "label_rule": "{} labels", "weights": "{} weights", "backbone": "{}"}


class ClassificationSettings(StudySettings):
    """What notebooks 03 to 05 are told."""

    image_size: int = Field(default=192, ge=96, le=1024)  #: Pixels a side that the networks see.
    #: Lowest percent stenosis of each category but the first, for every category system compared. All start at the
    #: same one, from which on a stenosis counts as disease.
    cut_points: tuple[tuple[float, ...], ...] = (TWO_CATEGORIES, THREE_CATEGORIES)
    redundancy: tuple[bool, ...] = Field(default=(False, True), min_length=1)  #: Train without, with redundancy frames.
    model_views: tuple[str, ...] = Field(default=MODEL_VIEWS, min_length=1)  #: The classifiers, one a view.
    folds: int = Field(default=3, ge=2, le=20)  #: Patient folds of the cross-validation.
    frames_per_run: int = Field(default=5, ge=1, le=50)  #: Labeled frames of each contrast interval.
    #: See ``classification_samples``; ``permuted`` deals the assigned labels anew among the runs that are trained on,
    #: so that what is then found is chance.
    label_rule: LabelRule = "assigned"
    #: ``all`` as published; ``head`` keeps the trunk frozen and trains on its maps, computed once.
    trainable: Trainable = "head"
    head: HeadKind = "published"  #: With the attention branch; ``plain`` is global average and one linear layer.
    backbone: str = "inception_v3"  #: Or ``efficientnet_lite0``, or a convolutional classifier of torchvision by name.
    epochs: int = Field(default=8, ge=1)
    patience: int = Field(default=8, ge=1)
    batch_size: int = Field(default=16, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    #: Other ways to train: setting -> values, crossed within each mapping; see the function ``variants``.
    variants: tuple[dict[str, tuple[Any, ...]], ...] = (
        {"seed": (0, 1)},
        {"head": ("published", "plain")},
        {"label_rule": ("assigned", "visible")},
        {"weights": ("random", "imagenet")},
        {"label_rule": ("permuted",)},
    )
    variant_views: tuple[str, ...] = Field(default=("RCA",), min_length=1)  #: The classifiers trained in those ways.

    @field_validator("cut_points")
    @classmethod
    def _comparable(cls, systems: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
        for cuts in systems:
            if not cuts or any(not 0 < cut <= 100 for cut in cuts) or any(low >= high for low, high in pairwise(cuts)):
                raise ValueError("each category system needs increasing cut-points above 0 and up to 100 percent")
        if not systems or len({cuts[0] for cuts in systems}) > 1:
            raise ValueError("all category systems must start at the same cut-point, from which on it is disease")
        if len({len(cuts) for cuts in systems}) < len(systems):
            raise ValueError("two category systems have the same number of categories")
        return systems

    @field_validator("model_views", "variant_views")
    @classmethod
    def _known(cls, views: tuple[str, ...]) -> tuple[str, ...]:
        if not set(views) <= set(MODEL_VIEWS):
            raise ValueError(f"the classifiers are {', '.join(MODEL_VIEWS)}")
        return views

    @property
    def disease_from(self) -> float:
        """Percent stenosis from which on a patient counts as diseased."""
        return self.cut_points[0][0]

    @property
    def fit(self) -> FitSettings:
        """How each network is trained."""
        return FitSettings(**self.model_dump(include=set(FitSettings.model_fields)))

    @property
    def leading(self) -> Self:
        """The same with the leading system alone: fewest categories, with redundancy training where there is any."""
        return self.changed(cut_points=[min(self.cut_points, key=len)], redundancy=[max(self.redundancy)])

    def changed(self, **changes: Any) -> Self:
        """Other settings of the same kind; what is wrong with them is a `SettingsError`."""
        return self.checked(self.model_dump() | changes)


class CellSettings(Settings):
    """All that one cell of the grid depends on besides the cohort; its digest seeds the training."""

    cut_points: tuple[float, ...]
    redundancy: bool
    model_view: str
    fold: int
    folds: int
    image_size: int
    frames_per_run: int
    label_rule: LabelRule
    trainable: Trainable
    head: HeadKind
    backbone: str
    weights: Weights
    trunk: str = ""  #: Digest of the study's own weights that the trunk starts from, else empty.
    seed: int
    fit: FitSettings

    @property
    def n_categories(self) -> int:
        """Severity categories of the cell's network."""
        return len(self.cut_points) + 1


def grid(settings: ClassificationSettings) -> list[CellSettings]:
    """Every cell of the experiment, the most valuable first: fewest categories with redundancy training."""
    own = set(CellSettings.model_fields) - {"cut_points", "redundancy", "fit"}
    trunk = weights_digest(settings.weights, settings.backbone)
    shared = settings.model_dump(include=own) | {"trunk": trunk, "fit": settings.fit}
    systems = sorted(product(settings.cut_points, settings.redundancy), key=lambda cell: (len(cell[0]), not cell[1]))
    return [
        CellSettings(**shared, cut_points=cuts, redundancy=redundant, model_view=view, fold=fold)
        for (cuts, redundant), fold, view in product(systems, range(settings.folds), settings.model_views)
    ]


def variants(settings: ClassificationSettings) -> dict[str, ClassificationSettings]:
    """The leading system of ``variant_views`` as in the study and trained in every other way, by name.

    ``({"weights": ("imagenet", "xa"), "seed": (0, 1, 2)}, {"trainable": ("all",), "learning_rate": (1e-4,)})`` are six
    ways and one more; a way that changes nothing is the study's own.
    """
    study = settings.leading.changed(model_views=settings.variant_views)
    found = {STUDY: study}
    for change in ParameterGrid(list(settings.variants)):
        named = [_WORDS.get(name, name.replace("_", " ") + " {}").format(value) for name, value in change.items()]
        own = study.changed(**change)
        found |= {} if own == study else {", ".join(named): own}
    return found
