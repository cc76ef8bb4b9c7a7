"""The code of a notebook's cells, run on small tables."""

import ast
from types import SimpleNamespace
from typing import Any

import nbformat

from cag.settings import ROOT


def run_cells(notebook: str, *ids: str, **names: Any) -> dict[str, Any]:
    """What the cells with these ids leave, after the notebook's imports; ``names`` are what they use of other cells."""
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    code = {cell.id: cell.source for cell in cells if cell.cell_type == "code"}
    nodes = ast.parse("\n".join(code.values())).body
    imports: list[ast.stmt] = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    namespace: dict[str, Any] = {}
    exec(compile(ast.Module(imports, []), notebook, "exec"), namespace)
    namespace |= names
    for name in ids:
        exec(compile(code[name], f"{notebook}, {name}", "exec"), namespace)
    return namespace


def page_of(**known: Any) -> SimpleNamespace:
    """A page that keeps the figures and tables it is given by label, in ``shown``."""
    shown: dict[str, Any] = {}

    def keep(name: str, what: Any, caption: str, **more: Any) -> None:
        assert caption
        shown[name] = what

    silent = dict.fromkeys(("text", "keep", "run_line"), lambda *told, **more: None)
    return SimpleNamespace(shown=shown, figure=keep, table=keep, **silent, **known)
