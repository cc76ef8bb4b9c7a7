"""The ``package-reference`` directive: one section of API documentation per module, found on disk.

A module that is added to a package named here appears without an edit to the book::

    .. package-reference:: cag.metrics cag.anatomy
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.util import find_spec
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.nodes import nested_parse_with_titles

import cag


def modules_of(name: str) -> list[str]:
    """A module's own name, followed by those of the modules below it, in alphabetical order.

    Raises
    ------
    LookupError
        If there is no such module.
    """
    spec = find_spec(name)
    if spec is None:
        raise LookupError(f"there is no module {name}")
    below = pkgutil.walk_packages(spec.submodule_search_locations or [], prefix=f"{name}.")
    return [name, *sorted(found.name for found in below if not found.name.rpartition(".")[2].startswith("_"))]


def section(module: str) -> list[str]:
    """The reStructuredText that documents one module."""
    return [module, "=" * len(module), "", f".. automodule:: {module}", "   :members:", "   :show-inheritance:", ""]


class PackageReference(Directive):
    """Document the modules named, and those below them."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar[dict] = {}

    def run(self) -> list[nodes.Node]:
        """Parse one section a module."""
        try:
            names = [name for given in self.arguments[0].split() for name in modules_of(given)]
        except LookupError as error:
            raise self.error(str(error)) from None
        lines = [line for name in names for line in section(name)]
        container = nodes.Element()
        nested_parse_with_titles(self.state, StringList(lines, source="package-reference"), container)
        return container.children


def import_package(app: Sphinx) -> None:
    """Import every module before the first is documented.

    Autodoc writes inherited annotations into the settings models it documents; a model that is
    derived from them afterwards could no longer be built.
    """
    for found in pkgutil.walk_packages(cag.__path__, prefix="cag."):
        import_module(found.name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.connect("builder-inited", import_package)
    app.add_directive("package-reference", PackageReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
