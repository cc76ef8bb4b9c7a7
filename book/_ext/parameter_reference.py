"""The ``parameter-reference`` directive: what every notebook can be told, read from the notebooks themselves.

Name, default and meaning come from the parameters cell; type and range from the settings model that
checks it. A parameter that the model knows but the cell leaves out is listed after them.
"""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import nbformat
from docutils import nodes
from docutils.statemachine import StringList
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from cag.settings import ROOT, Settings

NOTEBOOKS = ROOT / "notebooks"
Row = tuple[str, str, str, str, str]
_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "max_length": "length ≤"}

#: Meanings of names that several notebooks share and neither their cells nor their models explain.
SHARED = {
    "device": "where to compute; auto takes a graphics card where there is one",
    "epochs": "passes over the training samples, at most",
    "inner_share": "share of the training patients that are left out to choose the epoch",
    "patience": "epochs without a better inner score before training stops",
    "batch_size": "samples a step of training",
    "learning_rate": "step of the optimizer (Adam)",
    "clip_norm": "largest norm of the gradients of a step; 0 leaves them as they are",
    "backbone": "``inception_v3``, ``efficientnet_lite0``, or another convolutional network of torchvision",
    "head": "head of the classifiers: the published one with attention, or a plain one",
    "schedule": "learning rate over training: constant as published, or one cycle",
    "cam_method": "how the activation map is made",
    "frames_per_run": "frames of a run that take part, at most",
    "max_images": "images that take part, at most; 0 takes all",
    "min_percent": "lesions below this percent stenosis do not take part",
}


def parameters_cell(notebook: nbformat.NotebookNode) -> str:
    """Source of the cell tagged ``parameters``."""
    return next(cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))


def listed(source: str) -> dict[str, tuple[str, str]]:
    """Default (as written) and comment of each parameter of a cell."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            line = source.splitlines()[node.end_lineno - 1]
            found[node.targets[0].id] = (ast.unparse(node.value), line[node.end_col_offset :].strip(" #"))
    return found


def model_of(notebook: nbformat.NotebookNode) -> type[Settings]:
    """The settings model a notebook checks its parameters with, found by its import.

    Raises
    ------
    LookupError
        If the notebook never calls ``notebook_parameters``.
    """
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    tree = ast.parse(source)
    origins = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "notebook_parameters":
            first, *rest = ast.unparse(node.args[2]).split(".")
            module, name = origins[first]
            if rest:
                return getattr(import_module(f"{module}.{name}"), rest[0])
            return getattr(import_module(module), name)
    raise LookupError("no call of notebook_parameters")


def kind(annotation: Any) -> str:
    """A type as a reader would write it."""
    choices = get_args(annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        return "one of " + ", ".join(f"``{choice}``" for choice in choices)
    name = getattr(annotation, "__name__", "") if not choices else ""
    words = {"str": "text", "int": "whole number", "float": "number", "bool": "True or False"}
    return words.get(name) or f"``{str(annotation).replace('typing.', '').replace('NoneType', 'None')}``"


def span(info: FieldInfo) -> str:
    """The range a value must lie in."""
    limits = []
    for constraint in info.metadata:
        found = {name: getattr(constraint, name, None) for name in _SIGNS}
        limits += [f"{_SIGNS[name]} {value:g}" for name, value in found.items() if value is not None]
    return ", ".join(limits)


def rows_of(path: Path) -> list[Row]:
    """Name, type, default, range and meaning of what a notebook can be told."""
    notebook = nbformat.read(path, as_version=4)
    model, cell = model_of(notebook), listed(parameters_cell(notebook))
    meanings = attributes(model)
    rows = []
    for name in [*cell, *(field for field in model.model_fields if field not in cell)]:
        info = model.model_fields[name]
        default, meaning = cell.get(name, (repr(info.default), ""))
        rows.append((name, kind(info.annotation), default, span(info), meaning or meanings.get(name) or shared(name)))
    return rows


def shared(name: str) -> str:
    """The meaning of a common name; ``cnn_patience`` is the ``patience`` of the part ``cnn``."""
    for known, meaning in SHARED.items():
        if name == known:
            return meaning
        if name.endswith(f"_{known}") or (known == "batch_size" and name.endswith("_batch")):
            return f"{meaning}, of the {name.partition('_')[0]} part"
    return ""


def attributes(model: type[Settings]) -> dict[str, str]:
    """Meanings from the ``Attributes`` sections of a model's docstring and its bases', and from ``#:`` comments."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        found |= commented(inspect.getsource(base)) if issubclass(base, Settings) else {}
        names: list[str] = []
        for line in (base.__doc__ or "").splitlines() if issubclass(base, Settings) else []:
            head, colon, _ = line.strip().partition(" : ")
            if colon and not line.startswith("        "):
                names = head.split(", ")
                found |= dict.fromkeys(names, "")
            elif names and line.startswith("        "):  # a meaning may go on over several lines
                found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
            else:
                names = []
    return found


def commented(source: str) -> dict[str, str]:
    """Meanings of a class's fields from the ``#:`` comments above or behind them."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in source.splitlines():
        code, _, comment = (part.strip() for part in line.partition("#:"))
        name = re.match(r"(\w+): ", code)
        if name and (comment or above):
            found[name[1]] = " ".join([*above, comment]).strip()
        above = [*above, comment] if comment and not code else []
    return found


class ParameterReference(SphinxDirective):
    """One table a notebook."""

    def run(self) -> list[nodes.Node]:
        """Write the tables as reStructuredText and parse them."""
        self.env.note_reread()
        lines: list[str] = []
        for path in sorted(NOTEBOOKS.glob("*.ipynb"))[1:]:  # the playground is no chapter: its controls say all
            lines += [f".. list-table:: Parameters of notebook ``{path.stem}``.", f"   :name: tab-par-{path.stem[:2]}"]
            lines += ["   :header-rows: 1", "   :widths: 24 20 14 12 30", ""]
            header = ("Name", "Type", "Default", "Range", "Meaning")
            body = [(f"``{n}``", t, f"``{d}``", s, m.replace("*", "\\*")) for n, t, d, s, m in rows_of(path)]
            for row in [header, *body]:
                lines += [f"   {'* -' if column == 0 else '  -'} {text}" for column, text in enumerate(row)]
            lines += [""]
        container = nodes.Element()
        self.state.nested_parse(StringList(lines, source="parameter-reference"), 0, container)
        return container.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("parameter-reference", ParameterReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
