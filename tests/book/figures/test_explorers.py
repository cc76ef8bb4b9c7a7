"""The explorers compute in the browser what the package computes: the same numbers, offline."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cag.book.figures.explorers import explorer


@pytest.fixture
def groups():
    rng = np.random.default_rng(0)
    percent = rng.choice([0.0, 20.0, 40.0, 80.0, 100.0], size=60)
    score = np.clip(percent / 150 + rng.normal(0, 0.3, 60), 0, 1).round(2)
    return {"Patients": {"score": score.tolist(), "percent": percent.tolist()}}


def data_of(html):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html.data, re.DOTALL)[1])


def test_the_page_holds_the_scores_and_asks_for_nothing(groups):
    for kind in ("threshold", "severity"):
        html = explorer(kind, {"cut": 25, "groups": groups})
        assert data_of(html) == {"cut": 25, "groups": groups}
        assert not re.search(r"https?://(?!www\.w3\.org)", html.data)


def test_names_cannot_end_the_script_early(groups):
    html = explorer("threshold", {"cut": 25, "groups": {"</script><b>": groups["Patients"]}})
    assert "</script><b>" not in html.data
    assert list(data_of(html)["groups"]) == ["</script><b>"]


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to run the script")
def test_the_script_agrees_with_scikit_learn(groups):
    html = explorer("threshold", {"cut": 25, "groups": groups})
    script = re.findall(r"<script>(.*?)</script>", html.data, re.DOTALL)[0]
    inner = script.replace(
        "const kinds =", "globalThis.tested = { roc, confusion, predictive, match, frocCurve }; const kinds ="
    )
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
