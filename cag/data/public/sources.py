"""Where the public sets are to be had, under which license, and what each can answer."""

from __future__ import annotations

from dataclasses import dataclass

_CC_BY = "Creative Commons Attribution 4.0 (https://creativecommons.org/licenses/by/4.0/)"


@dataclass(frozen=True)
class PublicSource:
    """A public set.

    Attributes
    ----------
    title : str
    page, url : str
        Page of the set, and address of the archive.
    archive : str
        Name the archive is kept under.
    sha256 : str or None
        Digest of the archive; None where the publisher packs it anew for each version.
    license, citation : str
    answers : str
        What it can test here, and what not.
    """

    title: str
    page: str
    url: str
    archive: str
    sha256: str | None
    license: str
    citation: str
    answers: str


def _of_mendeley(key: str, *, name: str, title: str, citation: str, answers: str) -> PublicSource:
    """A set of Mendeley Data in its second version: the publisher packs the archive anew, so it has no digest."""
    return PublicSource(
        title=title,
        page=f"https://data.mendeley.com/datasets/{key}/2",
        url=f"https://data.mendeley.com/public-api/zip/{key}/download/2",
        archive=f"{name}.zip",
        sha256=None,
        license=_CC_BY,
        citation=f"{citation}, doi 10.17632/{key}.2",
        answers=answers,
    )


SOURCES: dict[str, PublicSource] = {
    "arcade": PublicSource(
        title="ARCADE: 1,500 angiograms with stenosis outlines",
        page="https://zenodo.org/records/10390295",
        url="https://zenodo.org/records/10390295/files/arcade.zip?download=1",
        archive="arcade.zip",
        sha256="a396cdea7c92c55dc97bbf3dd8e3df517d76872b289a8bcb45513bdb3350837f",
        license=_CC_BY,
        citation="Popov et al., Scientific Data 2024, doi 10.5281/zenodo.10390295",
        answers="localization; no patient numbers, hardly an image without stenosis, so no classification",
    ),
    "cadica": _of_mendeley(
        "p9bpx9ctcv",
        name="cadica",
        title="CADICA: selected videos of 42 patients with boxes by severity class",
        citation="Jimenez-Partinen et al. 2024",
        answers="localization and classification by patient; neither angles nor artery, so no standard views",
    ),
    "danilov": _of_mendeley(
        "ydrm75xywg",
        name="danilov",
        title="Danilov et al.: 8,325 frames of one-vessel disease with boxes",
        citation="Danilov et al., Scientific Reports 2021",
        answers="localization by patient; every frame shows a stenosis, so no classification",
    ),
}


def describe(source: PublicSource) -> str:
    """What is to be known before a download, line by line."""
    digest = source.sha256 or "not published for this archive; that of the first download is written beside it"
    rows = {
        "Set": source.title,
        "Page": source.page,
        "Address": source.url,
        "SHA-256": digest,
        "License": source.license,
        "Cite": source.citation,
        "Can test": source.answers,
    }
    return "\n".join(f"{name + ':':10}{text}" for name, text in rows.items())
