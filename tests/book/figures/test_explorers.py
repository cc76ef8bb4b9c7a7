"""The explorers compute in the browser what the package computes; the playground draws and answers."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from IPython.display import HTML, Image
from matplotlib.patches import Rectangle
from sklearn.metrics import roc_auc_score

from cag.anatomy import SEGMENTS
from cag.book.figures.explorers import explorer
from cag.book.figures.playground import draw_picture, playground_still
from cag.settings import ROOT
from cag.simulator.phantom.cohort import CohortSettings, plan_cohort
from cag.simulator.phantom.growth import segment_calibers
from cag.simulator.playground import Choice, take_picture


@pytest.fixture
def groups():
    rng = np.random.default_rng(0)
    percent = rng.choice([0.0, 20.0, 40.0, 80.0, 100.0], size=60)
    score = np.clip(percent / 150 + rng.normal(0, 0.3, 60), 0, 1).round(2)
    return {"Patients": {"score": score.tolist(), "percent": percent.tolist()}}


def data_of(html):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html.data, re.DOTALL)[1])


def test_the_page_holds_the_scores_asks_for_nothing_and_names_cannot_end_the_script_early(groups):
    for kind in ("threshold", "severity"):
        html = explorer(kind, {"cut": 25, "threshold": 0.6, "groups": groups})
        assert data_of(html) == {"cut": 25, "threshold": 0.6, "groups": groups}
        assert not re.search(r"https?://(?!www\.w3\.org)", html.data)
    html = explorer("threshold", {"cut": 25, "groups": {"</script><b>": groups["Patients"]}})
    assert "</script><b>" not in html.data and list(data_of(html)["groups"]) == ["</script><b>"]


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to run the script")
def test_the_script_agrees_with_scikit_learn(groups):
    html = explorer("threshold", {"cut": 25, "groups": groups})
    script = re.findall(r"<script>(.*?)</script>", html.data, re.DOTALL)[0]
    tested = "globalThis.tested = { roc, confusion, predictive, match, frocCurve };"
    inner = script.replace("const kinds =", f"{tested} const kinds =")
    data = data_of(html)["groups"]["Patients"]
    program = f"""
    globalThis.document = {{ querySelectorAll: () => [] }};
    {inner}
    const d = {json.dumps(data)}, sick = d.percent.map((p) => p >= 25);
    const boxes = [[0, 0.9, [[0, 0.8]]], [0, 0.8, [[0, 0.9]]], [1, 0.7, [[1, 0.6]]], [1, 0.1, []]];
    console.log(JSON.stringify({{
      area: tested.roc(d.score, sick).area, cells: tested.confusion(d.score, sick, 0.5),
      predictive: tested.predictive(0.9, 0.8, 0.5), curve: tested.frocCurve(tested.match(boxes, 0.5), 2, 2),
    }}));"""
    found = json.loads(subprocess.run(["node", "-e", program], capture_output=True, text=True, check=True).stdout)
    score, sick = np.array(groups["Patients"]["score"]), np.array(groups["Patients"]["percent"]) >= 25
    assert found["area"] == pytest.approx(roc_auc_score(sick, score))
    assert found["cells"]["tp"] == int((sick & (score >= 0.5)).sum())
    assert sum(found["cells"].values()) == len(score)
    assert found["predictive"] == pytest.approx([0.9 / 1.1, 0.8 / 0.9])
    # the second box on the same lesion is false: one lesion found, then one false box, then the other lesion
    assert [point[:2] for point in found["curve"]] == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]


SMALL = Choice(size=96)


@pytest.fixture(scope="module")
def cohort():
    return plan_cohort(CohortSettings(), [1])


def test_the_still_shows_frame_box_and_profile_explains_a_missing_box_and_speaks_angles(cohort):
    frame, profile = playground_still(SMALL).axes
    assert frame.get_images()[0].get_array().shape == (96, 96)
    assert any(isinstance(patch, Rectangle) for patch in frame.patches)
    assert frame.get_title() == "LAO 40 CRA 0 (RCA LAO)"
    labels = [line.get_label() for line in profile.get_lines()]
    assert labels == ["without lesion", "true", "measured in the frame"]
    empty = {"contrast_s": 0.0, "primary_angle": -20.0, "secondary_angle": -33.0}
    figure = draw_picture(take_picture(cohort, SMALL.model_copy(update=empty)))
    assert "no box" in figure.axes[0].texts[0].get_text()
    assert figure.axes[0].get_title().startswith("RAO 20 CAU 33")


def open_playground(parameters):
    cells = json.loads((ROOT / "notebooks" / "00_playground.ipynb").read_text())["cells"]
    given, *code = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    exec(given, namespace := {})
    exec("\n".join(code), namespace := namespace | parameters)
    return namespace["panel"]


def test_the_panel_answers_each_control_and_refuses_in_the_pictures_place(cohort):
    panel = open_playground({"size": 96, "patients": 1})
    controls = {control._kwarg: control for control in panel.children[:-1]}
    assert set(controls) == set(Choice.model_fields) - {"size"}
    seen = [panel.result.data]
    for name, value in (("primary_angle", 10.0), ("percent_stenosis", 90.0), ("contrast_s", 1.0)):
        controls[name].value = value
        seen.append(panel.result.data)
    assert len(set(seen)) == 4 and all(picture.startswith(b"\x89PNG") for picture in seen)
    has = {n for artery in ("LCA", "RCA") for n in segment_calibers(cohort.patients[0], artery)}
    controls["segment"].value = max(set(SEGMENTS) - has - {9, 17})
    assert isinstance(panel.result, HTML) and "this patient has no segment" in panel.result.data
    controls["segment"].value = 1
    assert isinstance(panel.result, Image)


@pytest.mark.parametrize(
    "parameters",
    [{"percent_stenosis": 150.0}, {"primary_angle": -91.0}, {"size": 63}, {"patient_id": "P9999"}, {"patients": 0}],
)
def test_impossible_parameters_are_answered_by_a_sentence(parameters):
    answer = open_playground(parameters)
    assert isinstance(answer, HTML) and next(iter(parameters)) in answer.data
