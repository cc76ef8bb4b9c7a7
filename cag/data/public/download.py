"""One archive by HTTP: resumed where it stopped, checked by its digest."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from cag.data.public.sources import PublicSource
from cag.settings import InputError

#: Bytes after which a server is no longer believed.
MAX_BYTES = 2**35
#: Bytes written at a time (at most so many are lost when a connection breaks), and seconds without an answer.
_CHUNK, _PATIENCE = 2**16, 60


def download(source: PublicSource, out: Path, *, progress: bool = True) -> Path:
    """The archive in ``out``: found again when its digest fits, else downloaded; a part of it is continued.

    Raises
    ------
    InputError
        If the server fails, or what it sends has another digest.
    """
    import pooch  # imports every download protocol; nobody who only reads needs them

    pooch.get_logger().setLevel("ERROR")
    resume = _Resumed(out / f"{source.archive}.part", progress)
    known = f"sha256:{source.sha256}" if source.sha256 else None
    try:
        found = pooch.retrieve(source.url, known_hash=known, fname=source.archive, path=out, downloader=resume)
    except ValueError:  # what pooch raises for another digest
        problem = f"what {source.url} sends has not the digest {source.sha256}"
        remedy = f"Try again; if it stays so, download it from {source.page} and look what changed there"
        raise InputError(problem, field="fetch", remedy=remedy) from None
    except OSError as error:  # requests' errors are among them
        status = getattr(getattr(error, "response", None), "status_code", None)
        problem = f"{source.url} cannot be downloaded ({status or type(error).__name__})"
        remedy = f"Run it again to go on, or download it from {source.page} and give the file with --archive"
        raise InputError(problem, field="fetch", remedy=remedy) from None
    return Path(found)


class _Resumed:
    """A downloader for pooch that keeps what it received in a file of its own until all is there."""

    def __init__(self, part: Path, progress: bool) -> None:
        self._part, self._tag, self._progress = part, part.with_suffix(".tag"), progress

    def __call__(self, url: str, output_file: str, _: object) -> None:
        import requests

        have = self._part.stat().st_size if self._part.is_file() and self._tag.is_file() else 0
        headers = {"Accept-Encoding": "identity"}
        headers |= {"Range": f"bytes={have}-", "If-Range": self._tag.read_text()} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=_PATIENCE) as answer:
            answer.raise_for_status()
            have = have if answer.status_code == 206 else 0
            self._remember(answer.headers)
            total = have + int(answer.headers.get("Content-Length", 0))
            self._receive(answer, have, total)
        self._part.replace(output_file)
        self._tag.unlink(missing_ok=True)

    def _remember(self, headers: object) -> None:
        """Keep what identifies this version of the file; without it a part cannot be continued."""
        tag = headers.get("ETag") or headers.get("Last-Modified")  # type: ignore[attr-defined]
        if tag and not tag.startswith("W/"):
            self._tag.write_text(tag)
        else:
            self._tag.unlink(missing_ok=True)

    def _receive(self, answer: object, have: int, total: int) -> None:
        bar = tqdm(total=total or None, initial=have, unit="B", unit_scale=True, disable=not self._progress)
        with bar, self._part.open("ab" if have else "wb") as file:
            for chunk in answer.iter_content(_CHUNK):  # type: ignore[attr-defined]
                have += len(chunk)
                if have > MAX_BYTES:
                    raise OSError("more bytes than any known set has")
                file.write(chunk)
                bar.update(len(chunk))
        if total and have < total:
            raise OSError("the connection ended early")
