"""Fetching a public set from a local server: digest, safe unpacking, and the sentences where it fails."""

import io
import json
import threading
import zipfile
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from cag.data.public.fetch import RECORD, SOURCES, describe, fetch
from cag.settings import InputError


def danilov_zip(*, inner: bool = False, escape: bool = False, folder: str = "image_dir") -> bytes:
    """A set of two frames in the layout of Danilov et al."""
    image = io.BytesIO()
    Image.fromarray(np.full((16, 16), 90, np.uint8)).save(image, format="BMP")
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>6</ymax></bndbox>"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for frame in ("14_2_5_0001", "15_1_5_0001"):
            archive.writestr(f"data/{folder}/{frame}.bmp", image.getvalue())
            archive.writestr(f"data/xml_dir/{frame}.xml", f"<annotation><object>{box}</object></annotation>")
        if escape:
            archive.writestr("../evil", "x")
    if not inner:
        return buffer.getvalue()
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("published/set.zip", buffer.getvalue())
    return outer.getvalue()


class Server(ThreadingHTTPServer):
    """Serves one file; breaks off after ``stop`` bytes where asked to."""

    content = b""
    stop: int | None = None
    status = 200
    asked = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content[: self.server.stop])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    server = Server(("127.0.0.1", 0), Handler)
    server.content = danilov_zip()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/danilov.zip"
    monkeypatch.setitem(SOURCES, "danilov", SOURCES["danilov"]._replace(url=url))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def knows(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """From now on the set's digest is known."""
    monkeypatch.setitem(SOURCES, "danilov", SOURCES["danilov"]._replace(sha256=sha256(content).hexdigest()))


@pytest.mark.parametrize("inner", [False, True])
def test_a_set_is_fetched_read_and_found_again(server, tmp_path, inner):
    server.content = danilov_zip(inner=inner, escape=True)
    folder, found = fetch("danilov", tmp_path, progress=False)
    assert folder == tmp_path / "danilov" and (folder / "image_dir").is_dir()
    assert found.tables.manifest.patient_id.tolist() == ["D14_2", "D15_1"] and len(found.tables.boxes) == 2
    record = json.loads((tmp_path / "danilov" / RECORD).read_text())
    assert record["sha256"] == sha256(server.content).hexdigest() and "Attribution 4.0" in record["license"]
    fetch("danilov", tmp_path, progress=False)
    assert server.asked == 1, "not asked again"
    assert not list(tmp_path.parent.rglob("evil"))


def test_a_broken_download_is_begun_again(server, tmp_path, monkeypatch):
    knows(monkeypatch, server.content)
    server.stop = 700
    with pytest.raises(InputError, match=r"cannot be downloaded .* Run it again"):
        fetch("danilov", tmp_path, progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {"danilov.zip.part"}
    server.stop = None
    _, found = fetch("danilov", tmp_path, progress=False)
    assert server.asked == 2 and len(found.tables.manifest) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"danilov.zip", "danilov"}


def test_another_digest_is_refused(server, tmp_path, monkeypatch):
    knows(monkeypatch, b"something else")
    with pytest.raises(InputError, match=r"danilov.zip: SHA-256 is \w+ instead of"):
        fetch("danilov", tmp_path, progress=False)
    mine = tmp_path / "mine.zip"
    mine.write_bytes(server.content)
    with pytest.raises(InputError, match=r"mine.zip: SHA-256 is \w+ instead of"):
        fetch("danilov", tmp_path, archive=mine, progress=False)
    assert not (tmp_path / "danilov").exists()
    knows(monkeypatch, server.content)
    assert len(fetch("danilov", tmp_path, archive=mine)[1].tables.manifest) == 2
    with pytest.raises(InputError, match="no zip or tar archive"):
        fetch("cadica", tmp_path, archive=tmp_path / "absent.zip")


def test_what_is_not_the_set_is_refused(server, tmp_path):
    for content, expected in (
        (b"<html>Please log in</html>", "cannot be unpacked"),
        (danilov_zip(folder="other"), "known layout"),
    ):
        out = tmp_path / expected.replace(" ", "_")
        server.content = content
        with pytest.raises(InputError, match=expected):
            fetch("danilov", out, progress=False)
        assert [path.name for path in out.iterdir()] == ["danilov.zip"] and not (tmp_path / "evil").exists()


def test_a_refusing_server_is_one_sentence_with_a_way_out(server, tmp_path):
    server.status = 403
    with pytest.raises(InputError, match=r"\(403\)\. .* --archive"):
        fetch("danilov", tmp_path, progress=False)
    with pytest.raises(InputError, match=r"'imagenet' is no known set\. Known: arcade, cadica, danilov"):
        fetch("imagenet", tmp_path)
    for source in SOURCES.values():
        assert all(part in describe(source) for part in (source.url, "Creative Commons", "doi 10."))
