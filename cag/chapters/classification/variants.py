"""The leading system trained again in other ways: seeds, head, labels, initial weights, and labels dealt at random."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from cag.chapters.classification.settings import CellSettings, ClassificationSettings, leading_cells, trunk_digest
from cag.chapters.classification.training import KIND, chosen_epochs, frames_of, start_of, train_cell, train_on
from cag.chapters.store import RunFolder, Store, run_tasks
from cag.data.cohort import Cohort
from cag.settings import InputError, Settings

#: The study's own training, which every other one is compared with.
STUDY = "as in the study"
PERMUTED = "permuted labels"


class VariantSettings(Settings):
    """A cell of the grid trained in another way.

    Attributes
    ----------
    permuted : bool
        Whether the labels are dealt anew before training.
    views : sequence of str
        Model views whose maps are computed together; all where there are none.
    """

    cell: CellSettings
    permuted: bool = False
    views: tuple[str, ...] = ()


class Variants(NamedTuple):
    """Predictions of every variant (columns of ``select_epochs`` and ``variant``), and why others were refused."""

    predictions: pd.DataFrame
    refused: dict[str, str]


def variants(settings: ClassificationSettings) -> dict[str, dict[str, object]]:
    """Name of each variant and the fields of ``CellSettings`` it changes; see ``run_variants``."""
    named: dict[str, dict[str, object]] = {
        f"seed {seed}": {"seed": seed} for seed in settings.further_seeds if seed != settings.seed
    }
    head = "plain" if settings.head == "published" else "published"
    named[f"{head} head"] = {"head": head}
    rule = "visible" if settings.label_rule == "assigned" else "assigned"
    named[f"{rule} labels"] = {"label_rule": rule}
    for weights in settings.compare_weights:
        if weights != settings.weights:
            named[f"{weights} weights"] = {"weights": weights, "trunk": trunk_digest(weights, settings.backbone)}
    return named | {PERMUTED: {}}


def run_variants(cohort: Cohort, settings: ClassificationSettings, store: Store) -> Variants:
    """Train the leading system of some views in every other way, and publish ``classification_variants``.

    Variants are stored apart from the grid, so that no later stage takes one for a network of the study.
    One whose weights or labels cannot be had is left out, with the reason.

    Raises
    ------
    InputError
        If none of ``variant_views`` is trained.
    """
    cells = [cell for cell in leading_cells(settings) if cell.model_view in settings.variant_views]
    if not cells:
        remedy = f"Name some of {', '.join(settings.model_views)}"
        raise InputError("none of these views is trained", field="variant_views", remedy=remedy)
    views = tuple(dict.fromkeys(cell.model_view for cell in cells))
    study = chosen_epochs(run_tasks(KIND, train_cell, cells, cohort, store))
    tables, refused = [study.assign(variant=STUDY)], {}
    for name, changes in variants(settings).items():
        changed = [cell.model_copy(update=changes) for cell in cells]
        own = () if start_of(changed[0]) == start_of(cells[0]) else views
        wanted = [VariantSettings(cell=cell, permuted=name == PERMUTED, views=own) for cell in changed]
        try:
            folders = run_tasks("classification_variant", train_variant, wanted, cohort, store)
        except InputError as error:
            refused[name] = str(error)
            continue
        tables.append(chosen_epochs(folders).assign(variant=name))
    predictions = store.publish("classification_variants", pd.concat(tables, ignore_index=True))
    return Variants(predictions, refused)


def train_variant(cohort: Cohort, variant: VariantSettings, folder: RunFolder) -> None:
    """Train one cell in another way; stores what ``train_cell`` stores."""
    frames = frames_of(variant.cell)._replace(views=variant.views)
    train_on(cohort, variant.cell, folder, frames, permuted=variant.permuted)
