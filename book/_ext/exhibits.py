"""Figures and tables that can be cited: number, stable anchor, downloads, copyable citation, and one list of all.

The notebooks keep files and a record of each figure and table under its label (``cag.book.page``); this extension
puts links to them under the figure or table on its page, gives images their alternative text, and writes
``figures.json`` beside the pages and into the book's folder.
"""

from __future__ import annotations

import csv
import html
import json
import posixpath
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = "exhibits"
#: Where small prediction tables lie below it.
ROWS = "rows"
_PROSE = "pages"
_LABELS = {"figure": "Figure", "table": "Table"}
#: Signs that LaTeX would read as its own.
_SIGNS = re.compile(r"([&%$#_{}])")
#: A drawing whose name ends so is the form for narrow screens of the one without.
_TALL = "_tall"


@dataclass(frozen=True)
class Entry:
    """One figure or table of the book."""

    kind: str
    number: str
    id: str
    page: str
    caption: str
    alt: str = ""
    notebook: str = ""
    rows: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    citation: str = ""
    bibtex: str = ""

    @property
    def label(self) -> str:
        """Such as ``Figure 12``."""
        return f"{_LABELS[self.kind]} {self.number}"

    @property
    def headline(self) -> str:
        """Its caption up to the first stop."""
        return re.split(r"[.;:] ", self.caption)[0].rstrip(".")

    @property
    def title(self) -> str:
        """Its headline up to the first comma or bracket: enough to find it, since the caption follows."""
        return re.split(r", | \(", self.headline)[0]


def read_project(root: Path) -> dict[str, Any]:
    """What ``CITATION.cff`` says, its version with the tag or commit that git names."""
    project = yaml.safe_load((root / "CITATION.cff").read_text())
    asked = ["git", "describe", "--tags", "--always"] if shutil.which("git") else ["echo"]
    told = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    version = str(project["version"])
    return project | {"version": version if told.removeprefix("v") in ("", version) else f"{version} ({told})"}


def citation(project: dict[str, Any], entry: Entry, run_line: str, address: str = "") -> str:
    """One line that can be pasted into a manuscript."""
    authors = "; ".join(author.get("name") or author["family-names"] for author in project["authors"])
    year = str(project["date-released"])[:4]
    head = f"{authors} ({year}). {project['title']}, version {project['version']}"
    place = f"{entry.label}, {entry.page}.html#{entry.id}"
    return " ".join(part for part in (f"{head}.", f"{place}.", address and f"{address}.", run_line) if part)


def bibtex(project: dict[str, Any], entry: Entry | None = None, run_line: str = "", address: str = "") -> str:
    """The BibTeX entry of one figure or table, or of the whole study."""
    names = [author.get("name") or [author["family-names"], author["given-names"]] for author in project["authors"]]
    authors = " and ".join(f"{{{name}}}" if isinstance(name, str) else ", ".join(name) for name in names)
    year, title = str(project["date-released"])[:4], project["title"]
    fields = {"author": authors, "title": title, "year": year, "version": project["version"]}
    if entry is not None:
        fields["title"] = f"{entry.headline} ({entry.label} of {title})"
        fields["howpublished"] = f"{entry.page}.html#{entry.id}"
        fields["note"] = run_line
    else:
        fields["license"] = project.get("license", "")
    told = {name: value if name == "author" else _latex(value) for name, value in fields.items()} | {"url": address}
    lines = [f"  {name} = {{{value}}}" for name, value in told.items() if value]
    kind, key = ("misc", f"-{entry.id}") if entry else ("software", "")
    return f"@{kind}{{cag{year}{key},\n" + ",\n".join(lines) + "\n}"


def _latex(text: str) -> str:
    return _SIGNS.sub(r"\\\1", text)


class Catalog:
    """Every figure and table of a build, found once all pages are numbered."""

    def __init__(self, app: Sphinx) -> None:
        self.app = app
        self.root = Path(app.srcdir)
        self.run = json.loads((self.root / "_exhibits" / "run.json").read_text())
        self.project = read_project(self.root.parent)
        self.records = {path.stem: path for path in (self.root / "_exhibits").glob("*/*.json")}
        self.entries: dict[tuple[str, str], Entry] = {}
        for docname in sorted(app.env.found_docs, key=self._order):
            self._collect(docname)

    def _order(self, docname: str) -> tuple[int, str]:
        numbers = self.app.env.toc_fignumbers.get(docname, {})
        first = min((number for kind in numbers.values() for number in kind.values()), default=(10**6,))
        return int(first[-1]), docname

    def _collect(self, docname: str) -> None:
        doctree = self.app.env.get_doctree(docname)
        for node in doctree.findall(lambda node: isinstance(node, nodes.figure | nodes.table)):
            title = next(iter(node.findall(lambda part: isinstance(part, nodes.caption | nodes.title))), None)
            if title is not None and node["ids"]:
                entry = self._entry(docname, node, self._words(title, docname))
                self.entries[docname, entry.id] = entry

    def _words(self, title: nodes.Element, docname: str) -> str:
        """A caption without its citations, other pages by their titles."""
        copy = title.deepcopy()
        for link in list(copy.findall(addnodes.pending_xref)):
            text = "" if link["refdomain"] == "cite" else link.astext()
            if link["reftype"] == "doc" and not link.get("refexplicit"):
                place = posixpath.normpath(posixpath.join(posixpath.dirname(docname), link["reftarget"]))
                text = self.app.env.titles[place.lstrip("/")].astext()
            link.parent.replace(link, nodes.Text(text))
        return copy.astext()

    def _entry(self, docname: str, node: nodes.Element, caption: str) -> Entry:
        kind = "figure" if isinstance(node, nodes.figure) else "table"
        ids = node["ids"]
        numbers = self.app.env.toc_fignumbers.get(docname, {}).get(kind, {})
        number = next((".".join(map(str, numbers[key])) for key in ids if key in numbers), "")
        anchor = next((key for key in ids if key in self.records), ids[0])
        base = {"kind": kind, "number": number, "id": anchor, "page": docname, "caption": " ".join(caption.split())}
        own = self._of_notebook(self.records[anchor]) if anchor in self.records else self._of_page(base, node)
        own["alt"] = next((image.get("alt", "") for image in node.findall(nodes.image)), "")
        entry = Entry(**base, **own)
        told = self.project, entry, self.run_line(Path(docname).name), self.app.config.repository_address
        return Entry(**{**asdict(entry), "citation": citation(*told), "bibtex": bibtex(*told)})

    def _of_notebook(self, record: Path) -> dict[str, Any]:
        section, kept = record.parent.name, json.loads(record.read_text())
        there = [suffix for suffix in kept["files"] if record.with_suffix(f".{suffix}").exists()]
        stem = next(stem for stem, named in self.run["sections"].items() if named == section)
        return {
            "notebook": f"{stem}.ipynb",
            "rows": [f"{table}.parquet" for table in kept["rows"]],
            "files": {suffix: f"{FOLDER}/{section}/{record.stem}.{suffix}" for suffix in there},
        }

    def _of_page(self, base: dict[str, Any], node: nodes.Element) -> dict[str, Any]:
        """A drawing or table that stands in the prose itself."""
        if base["kind"] == "table":
            return {"files": {"csv": f"{FOLDER}/{_PROSE}/{base['id']}.csv"}}
        image = next(iter(node.findall(nodes.image)))
        return {"files": {"svg": f"_images/{Path(image['uri']).name}"}}

    def run_line(self, stem: str = "") -> str:
        """The line that says which run a notebook shows; of the cohort's notebook where there is none."""
        sections = self.run["sections"]
        chosen = sections.get(stem) or next(iter(sections.values()))
        path = self.root / "_exhibits" / chosen / "run_line.txt"
        if stem == "real_angiograms":  # the one page whose numbers are another run's
            path = self.root.parent / "results" / "published" / "measured" / "arcade" / "run_line.txt"
        return path.read_text().strip() if path.exists() else ""


def catalog(app: Sphinx) -> Catalog:
    """The catalog of this build, made when it is first asked for."""
    if not hasattr(app, "exhibit_catalog"):
        app.exhibit_catalog = Catalog(app)
    return app.exhibit_catalog


def tools(entry: Entry, base: str, shown: str, there: Path) -> str:
    """HTML of the line under a figure or table; ``shown`` is the profile of the book, ``there`` its exhibits."""
    named = {"svg": "SVG", "csv": "data, CSV" if entry.kind == "table" else "points, CSV"}
    links = [
        f'<a href="{base}{path}" download="{entry.id}.{suffix}" aria-label="{entry.label}: {named[suffix]}">'
        f"{named[suffix]}</a>"
        for suffix, path in entry.files.items()
    ]
    anchor = f'<a class="exhibit-anchor" href="#{entry.id}" aria-label="Link to {entry.label}">#{entry.id}</a>'
    ways = {"citation": f'<p class="exhibit-citation">{html.escape(entry.citation)}</p>'}
    ways["BibTeX entry"] = f'<pre class="exhibit-citation">{html.escape(entry.bibtex)}</pre>'
    button = '<button type="button" class="exhibit-copy" aria-label="Copy the {} of {}">Copy</button>'
    told = "".join(f"<div>{text}{button.format(way, entry.label)}</div>" for way, text in ways.items())
    cite = f"<details><summary>Cite</summary>{told}</details>"
    return f'<div class="exhibit-tools">{" ".join([anchor, *links, *_rows(entry, base, shown, there), cite])}</div>'


def _rows(entry: Entry, base: str, shown: str, there: Path) -> list[str]:
    """The prediction tables that an entry was computed from, folded; those that lie beside the pages as links."""
    if not entry.rows:
        return []
    names = [
        f'<a href="{base}{FOLDER}/{ROWS}/{name}" download>{name}</a>' if (there / ROWS / name).exists() else name
        for name in map(html.escape, entry.rows)
    ]
    return [
        f'<details class="exhibit-rows"><summary>Rows behind it</summary><p>{entry.label} was computed from '
        f"{', '.join(names)} in <code>results/{html.escape(shown)}</code>.</p></details>"
    ]


def dress_page(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the tools under every figure and table of a page, and words behind every image."""
    if app.builder.format != "html":
        return
    found = catalog(app)
    base = "../" * docname.count("/")
    for node in list(doctree.findall(lambda node: isinstance(node, nodes.figure | nodes.table))):
        entry = next((found.entries[docname, key] for key in node["ids"] if (docname, key) in found.entries), None)
        if entry is None:
            continue
        for image in node.findall(nodes.image):
            image["alt"] = image.get("alt") or f"{entry.caption} {entry.alt}".strip()
        if app.builder.name == "html":  # a printed page has nothing to download
            line = nodes.raw("", tools(entry, base, found.run["shown"], found.root / "_exhibits"), format="html")
            node.parent.insert(node.parent.index(node) + 1, line)
            if entry.notebook and entry.id not in app.config.open_exhibits:
                fold(node, line, f"{entry.label}: {entry.title}")


def fold(node: nodes.Element, line: nodes.Element, summary: str) -> None:
    """Put a figure or table and the line under it behind a summary."""
    opened = f'<details class="folded-exhibit"><summary>{html.escape(summary)}</summary>'
    node.parent.insert(node.parent.index(node), nodes.raw("", opened, format="html"))
    line.parent.insert(line.parent.index(line) + 1, nodes.raw("", "</details>", format="html"))


def stand_upright(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: nodes.document) -> None:
    """Show a drawing's tall form, where there is one, on narrow screens."""
    for path in (Path(app.srcdir) / "_static").glob(f"*{_TALL}.svg"):
        tall = f'<source media="(max-width: 720px)" srcset="{context["pathto"](f"_static/{path.name}", 1)}"/>'
        drawn = rf'(<img [^>]*/{path.stem.removesuffix(_TALL)}\.svg"[^>]*>)'
        context["body"] = re.sub(drawn, rf"<picture>{tall}\1</picture>", context.get("body", ""))


class CiteStudy(SphinxDirective):
    """The BibTeX entry of the study, from its citation file."""

    def run(self) -> list[nodes.Node]:
        """A block to copy."""
        text = bibtex(read_project(Path(self.env.srcdir).parent), address=self.config.repository_address)
        return [nodes.literal_block(text, text, language="bibtex")]


def write_files(app: Sphinx, error: Exception | None) -> None:
    """Copy the downloads beside the pages and write the list of all figures and tables."""
    if error is not None or app.builder.name != "html":
        return
    found, out = catalog(app), Path(app.outdir)
    shutil.rmtree(out / FOLDER, ignore_errors=True)
    ignored = shutil.ignore_patterns("*.json", "*.txt")
    shutil.copytree(found.root / "_exhibits", out / FOLDER, ignore=ignored)
    for (docname, key), entry in found.entries.items():
        if not entry.notebook and entry.kind == "table":
            write_prose_table(app.env.get_doctree(docname), key, out / entry.files["csv"])
    listed = [asdict(entry) for entry in found.entries.values()]
    text = json.dumps({"version": str(found.project["version"]), "figures": listed}, indent=1, ensure_ascii=False)
    for path in (out / "figures.json", found.root / "figures.json"):
        path.write_text(text + "\n", encoding="utf-8")


def write_prose_table(doctree: nodes.document, key: str, path: Path) -> None:
    """The cells of a table that stands in the prose, as CSV."""
    table = next(node for node in doctree.findall(nodes.table) if key in node["ids"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        for row in table.findall(nodes.row):
            csv.writer(file).writerow(" ".join(entry.astext().split()) for entry in row.children)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect after references are resolved; Jupyter Book loads ``exhibits.js``, as every script of its folder."""
    app.add_config_value("open_exhibits", [], "html", [list])
    # A setting, so that every page is written anew when the version that its citations name is another.
    app.add_config_value("described_version", read_project(Path(app.srcdir).parent)["version"], "html", [str])
    app.add_directive("cite-study", CiteStudy)
    app.connect("doctree-resolved", dress_page, priority=850)
    app.connect("html-page-context", stand_upright)
    app.connect("build-finished", write_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
