"""Publishing a run on real angiograms: numbers and curves, no pixels, no boxes of the set's own."""

from __future__ import annotations

import pandas as pd
import pytest

from cag.book import publishing_real
from cag.settings import InputError


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """Results of a run on real angiograms."""
    monkeypatch.setattr(publishing_real, "ROOT", tmp_path)
    folder = tmp_path / "results" / "real"
    contents = {
        "exhibits/localization/run_line.txt": "Run shown: profile real; real patients.",
        "exhibits/localization/fig_froc.svg": "<svg/>",
        "exhibits/localization/fig_boxes.svg": "<svg/>",
        "exhibits/localization/fig_where.svg": "<svg/>",
        "tables/localization_methods.csv": "Metric,FPN\nRecall,0.3\n",
        "tables/reading_result.csv": "Patient\n1\n",
        "localization_truth.parquet": "boxes of the set",
        "notebooks/06_cam_vs_fpn.ipynb": "{}",
    }
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    boxes = pd.DataFrame({"method": ["fpn", "prior"], "x1": [3.0, 4.0], "way": ["home", "prior"]})
    boxes.to_parquet(folder / "localization_detections.parquet")
    pd.DataFrame({"method": ["fpn", "prior"], "value": [0.2, 0.0]}).to_parquet(folder / "localization_metrics.parquet")
    return folder


def test_tables_and_curves_are_published_and_pictures_and_true_boxes_stay(profile):
    out = publishing_real.publish_real("real")
    assert out.relative_to(profile.parents[1]).as_posix() == "results/published/measured/real"
    expected = ["fig_froc.svg", "localization_detections.parquet", "localization_methods.csv"]
    expected += ["localization_metrics.parquet", "run_line.txt"]
    assert sorted(path.name for path in out.iterdir()) == expected


def test_boxes_of_the_place_prior_are_the_sets_own_and_stay_but_its_scores_do_not(profile):
    out = publishing_real.publish_real("real")
    assert pd.read_parquet(out / "localization_detections.parquet")["method"].tolist() == ["fpn"]
    assert pd.read_parquet(out / "localization_metrics.parquet")["method"].tolist() == ["fpn", "prior"]


def test_another_publication_replaces_it_whole(profile):
    out = publishing_real.publish_real("real")
    (out / "old.csv").write_text("x")
    (profile / "localization_detections.parquet").unlink()
    publishing_real.publish_real("real")
    names = {path.name for path in out.iterdir()}
    assert "localization_methods.csv" in names and not names & {"old.csv", "localization_detections.parquet"}


def test_a_profile_without_results_is_refused_by_name(profile):
    with pytest.raises(InputError, match=r"results/other: holds no results of the section localization\. Execute"):
        publishing_real.publish_real("other")
