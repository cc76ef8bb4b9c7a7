"""The book's own Sphinx extensions, apart from a build."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType, SimpleNamespace

import pytest
from docutils.core import publish_doctree

from cag.settings import ROOT


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    yield import_module(request.param)
    sys.modules.pop(request.param)


def script(filename: str, body: str = "") -> SimpleNamespace:
    return SimpleNamespace(filename=filename, attributes={"body": body})


@pytest.mark.parametrize("extension", ["offline_assets"], indirect=True)
def test_thebe_scripts_are_recognized(extension: ModuleType) -> None:
    assert extension.is_thebe(script("_static/sphinx-thebe.js"))
    assert extension.is_thebe(script("", body='const THEBE_JS_URL = "x"; const thebe_selector = "y"'))
    assert not extension.is_thebe(script("_static/design-tabs.js"))


@pytest.mark.parametrize("extension", ["package_reference"], indirect=True)
def test_package_is_listed_with_its_modules(extension: ModuleType) -> None:
    names = extension.modules_of("cag.metrics")
    assert names[0] == "cag.metrics" and "cag.metrics.intervals" in names
    assert extension.modules_of("cag.errors") == ["cag.errors"]
    with pytest.raises(LookupError, match=r"cag\.nothing"):
        extension.modules_of("cag.nothing")


@pytest.mark.parametrize("extension", ["term_tooltips"], indirect=True)
def test_definitions_are_read_by_term(extension: ModuleType) -> None:
    glossary = publish_doctree("run\n  One film\n  of one injection.\n")
    for term in glossary.findall(lambda node: node.tagname == "term"):
        term["ids"] = ["term-run"]
    assert extension.definitions(glossary) == {"term-run": "One film of one injection."}
