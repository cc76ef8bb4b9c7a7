"""What the classification experiment is told, and the cells of its grid."""

from __future__ import annotations

from itertools import pairwise, product

from pydantic import Field, field_validator

from cag.anatomy import MODEL_VIEWS, THREE_CATEGORIES, TWO_CATEGORIES
from cag.chapters.classification.samples import LabelRule
from cag.networks.classifier import HeadKind
from cag.networks.training import FitSettings
from cag.networks.trunk import Trainable
from cag.networks.weights import OWN_WEIGHTS, weights_digest
from cag.settings import Settings, StudySettings, Weights


class ClassificationSettings(StudySettings):
    """What notebooks 03 to 05 are told.

    Attributes
    ----------
    image_size : int
        Height and width the networks see, pixels.
    cut_points : sequence of sequences of float
        Lowest percent stenosis of each category but the first, for every category system compared.
        All start at the same one, from which on a stenosis counts as disease.
    redundancy : sequence of bool
        Train without and with redundancy frames.
    model_views : sequence of str
        The classifiers: one a view of the LCA, one for the RCA.
    folds : int
        Patient folds of the cross-validation.
    frames_per_run : int
        Labeled frames taken from each contrast interval.
    label_rule : {'assigned', 'visible'}
        See ``classification_samples``.
    trainable : {'all', 'head'}
        ``all`` as published; ``head`` keeps the trunk frozen and trains on its maps, computed once.
    head : {'published', 'plain'}
        With the attention branch, or global average and one linear layer.
    backbone : str
        ``inception_v3``, or another convolutional classifier of torchvision by name.
    further_seeds : sequence of int
        Seeds with which the leading system is trained again (``run_variants``).
    compare_weights : sequence of str
        Initial weights that are compared with ``weights``.
    variant_views : sequence of str
        The classifiers that are trained again in every variant.
    """

    image_size: int = Field(default=192, ge=96, le=1024)
    cut_points: tuple[tuple[float, ...], ...] = (TWO_CATEGORIES, THREE_CATEGORIES)
    redundancy: tuple[bool, ...] = Field(default=(False, True), min_length=1)
    model_views: tuple[str, ...] = Field(default=MODEL_VIEWS, min_length=1)
    folds: int = Field(default=3, ge=2, le=20)
    frames_per_run: int = Field(default=5, ge=1, le=50)
    label_rule: LabelRule = "assigned"
    trainable: Trainable = "head"
    head: HeadKind = "published"
    backbone: str = "inception_v3"
    epochs: int = Field(default=8, ge=1)
    patience: int = Field(default=8, ge=1)
    batch_size: int = Field(default=16, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    further_seeds: tuple[int, ...] = (1,)
    compare_weights: tuple[Weights, ...] = ("random", "imagenet")
    variant_views: tuple[str, ...] = ("RCA",)

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

    @property
    def disease_from(self) -> float:
        """Percent stenosis from which on a patient counts as diseased."""
        return self.cut_points[0][0]

    @property
    def fit(self) -> FitSettings:
        """How each network is trained."""
        return FitSettings.checked(self.model_dump(include=set(FitSettings.model_fields)))


class CellSettings(Settings):
    """All that one cell of the grid depends on besides the cohort.

    Its digest is the seed of the cell's training. ``trunk`` is the digest of the ``xa`` weights, empty where the
    trunk starts otherwise.
    """

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
    trunk: str = ""
    seed: int
    fit: FitSettings

    @property
    def n_categories(self) -> int:
        """Severity categories of the cell's network."""
        return len(self.cut_points) + 1


def grid(settings: ClassificationSettings) -> list[CellSettings]:
    """Every cell of the experiment, the most valuable first: fewest categories with redundancy training."""
    own = set(CellSettings.model_fields) - {"cut_points", "redundancy", "fit"}
    trunk = trunk_digest(settings.weights, settings.backbone)
    shared = settings.model_dump(include=own) | {"trunk": trunk, "fit": settings.fit}
    systems = sorted(product(settings.cut_points, settings.redundancy), key=lambda cell: (len(cell[0]), not cell[1]))
    return [
        CellSettings(**shared, cut_points=cuts, redundancy=redundant, model_view=view, fold=fold)
        for (cuts, redundant), fold, view in product(systems, range(settings.folds), settings.model_views)
    ]


def leading_cells(settings: ClassificationSettings) -> list[CellSettings]:
    """The cells of the leading system: fewest categories, with redundancy training where that is trained."""
    cells = grid(settings)
    lead = cells[0]
    return [cell for cell in cells if (cell.cut_points, cell.redundancy) == (lead.cut_points, lead.redundancy)]


def trunk_digest(weights: Weights, backbone: str) -> str:
    """Digest of the study's own weights as they lie in the project now; empty for other initial weights."""
    return weights_digest(weights, backbone) if weights in OWN_WEIGHTS else ""
