"""Archives: what is in them is found, and nothing leaves them, links out of them, or grows without end."""

import gzip
import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cag.data import archives
from cag.data.archives import leads_out, members, opened, tree_entries
from cag.settings import InputError

CONTENT = {"a/one.txt": b"one", "../out.txt": b"evil", "/etc/absolute": b"evil", "b/two.txt": b"two" * 100}
LINKS = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "pipe": tarfile.FIFOTYPE}
KINDS = ("a.zip", "a.tar", "a.tar.gz", "a.TGZ")


def write(path: Path) -> Path:
    """An archive of `CONTENT`, and of what is no plain file."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in CONTENT.items():
                archive.writestr(name, content)
            for name in LINKS:
                info = zipfile.ZipInfo(name)
                info.external_attr = 0o120777 << 16
                archive.writestr(info, "/etc/passwd")
        return path
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as tar:
        for name, content in CONTENT.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, kind in LINKS.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    return path


@pytest.mark.parametrize("name", KINDS)
def test_plain_files_come_out_and_the_rest_is_told(tmp_path, name):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    read = {}
    for member in members(write(tmp_path / name), scratch):
        read[member.name] = member.path.read_bytes() if member.path else member.problem
    assert read["a/one.txt"] == b"one" and read["b/two.txt"] == CONTENT["b/two.txt"]
    outside = {key for key, value in read.items() if "leads out of the archive. Pack it again" in str(value)}
    assert outside == {"../out.txt", "/etc/absolute"}
    assert all(read[key].startswith("is a link or no plain file. Put the") for key in LINKS)
    assert not list(scratch.iterdir()) and not (tmp_path / "out.txt").exists()
    assert all(map(leads_out, ["../a", "a/../../b", "/a", "C:/a", "..\\a", "a\0b"])) and not leads_out("a/b..c/d.dcm")


def bomb(path: Path) -> Path:
    (path.parent / "bomb").mkdir()
    (path.parent / "bomb" / "zeros").write_bytes(bytes(2_000_000))
    name, kind = str(path).split(".")[0], "zip" if path.suffix == ".zip" else "gztar"
    return Path(shutil.make_archive(name, kind, path.parent / "bomb"))


def test_a_zip_that_declares_less_than_it_holds_gives_no_more_and_absurd_headers_are_refused(tmp_path):
    raw = bytearray(bomb(tmp_path / "bomb.zip").read_bytes())
    for place, offset in ((raw.find(b"PK\x03\x04"), 22), (raw.find(b"PK\x01\x02"), 24)):
        raw[place + offset : place + offset + 4] = (1000).to_bytes(4, "little")
    (tmp_path / "bomb.zip").write_bytes(raw)
    with pytest.raises(InputError, match="cannot be unpacked"):
        list(members(tmp_path / "bomb.zip", tmp_path))
    assert (tmp_path / "member_1").stat().st_size <= 1000
    info = tarfile.TarInfo("x")
    info.size, info.type = 10**9, tarfile.XHDTYPE
    with gzip.open(tmp_path / "pax.tar.gz", "wb") as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT) + bytes(10_000))
    with pytest.raises(InputError, match="cannot be unpacked"):
        list(members(tmp_path / "pax.tar.gz", tmp_path))


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.tar.gz"])
@pytest.mark.parametrize("limit, most", [("MAX_BYTES", 10**6), ("MAX_MEMBERS", 0)])
def test_limits_hold_before_anything_is_unpacked(tmp_path, name, limit, most, monkeypatch):
    monkeypatch.setattr(archives, limit, most)
    with pytest.raises(InputError, match=f"{name}: holds more than .*{most}"):
        list(members(bomb(tmp_path / name), tmp_path))
    assert not list(tmp_path.glob("member*"))


def test_encrypted_and_foreign_compressions_are_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x", b"x" * 100)
    (lzma,) = members(tmp_path / "a.zip", tmp_path)
    assert lzma.problem == "is compressed in a way that is not read. Unpack it first"
    raw = bytearray(write(tmp_path / "b.zip").read_bytes())
    place = raw.find(b"PK\x01\x02")
    raw[place + 8] |= 1
    (tmp_path / "b.zip").write_bytes(raw)
    assert next(members(tmp_path / "b.zip", tmp_path)).problem == "is encrypted. Unpack it first, with its password"


@pytest.mark.parametrize("name", KINDS)
def test_damaged_archives_are_read_or_refused(tmp_path, name):
    whole, rng = write(tmp_path / name).read_bytes(), np.random.default_rng(1)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 8)):
            damaged[place] = rng.integers(256)
        (tmp_path / name).write_bytes(damaged[: rng.integers(len(whole) // 2, len(whole) + 1)])
        try:
            list(members(tmp_path / name, tmp_path))
        except InputError as error:
            assert str(error).startswith(name)
            refused += 1
    assert refused


def test_nothing_outside_is_reached_and_nothing_is_passed_over(tmp_path, monkeypatch):
    walk, outside, study = os.walk, tmp_path / "outside", tmp_path / "study"
    (outside / "deep").mkdir(parents=True)
    (outside / "secret.dcm").write_bytes(b"secret")
    (study / "a").mkdir(parents=True)
    (study / "a" / "run.dcm").write_bytes(b"run")
    (study / "file_link.dcm").symlink_to(outside / "secret.dcm")
    (study / "folder_link").symlink_to(outside)
    (study / "loop").symlink_to(study)
    os.mkfifo(study / "pipe.dcm")
    why = {name: "is a link, and links are not followed" for name in ("file_link.dcm", "folder_link", "loop")}
    why |= {"pipe.dcm": "is a link or no plain file", "closed": "is a folder that cannot be opened"}
    (study / "closed").mkdir()
    closed = OSError(13, "", str(study / "closed"))
    monkeypatch.setattr(os, "walk", lambda top, onerror: [*walk(top), onerror(closed)][:-1])
    found = {entry.name: entry.problem for entry in tree_entries(study)}
    assert {name: problem.partition(".")[0] for name, problem in found.items()} == {"a/run.dcm": "", **why}
    assert all(". " in problem for name, problem in found.items() if name in why), "each with what to do"


def test_archives_are_opened_once(tmp_path):
    study = tmp_path / "study"
    study.mkdir()
    (study / "z.dcm").write_bytes(b"last")
    with zipfile.ZipFile(study / "a.zip", "w") as archive:
        archive.writestr("in/one.dcm", "one")
        archive.writestr("in/more.zip", "PK")
        archive.writestr("../out.dcm", "evil")
    (study / "b.zip").write_bytes(b"no archive")
    zipfile.ZipFile(study / "c.zip", "w").close()
    read = [(f.name, f.path.read_bytes() if f.path else f.problem) for f in opened(tree_entries(study))]
    assert read == [
        ("a.zip/in/one.dcm", b"one"),
        ("a.zip/in/more.zip", "is an archive within an archive. Unpack it first"),
        ("a.zip/../out.dcm", "its name leads out of the archive. Pack it again by a name below one folder"),
        ("b.zip", f"cannot be unpacked (BadZipFile); it is damaged or no such archive. {archives._AGAIN}"),
        ("c.zip", "holds no file. " + archives._AGAIN),
        ("z.dcm", b"last"),
    ]
    assert next(f.name for f in opened(tree_entries(study / "a.zip"))) == "a.zip/in/one.dcm"


def test_what_is_no_study_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="holds no file"):
        tree_entries(tmp_path)
    (tmp_path / "x.dcm").write_bytes(b"x")
    for path in (tmp_path / "x.dcm", tmp_path / "absent"):
        with pytest.raises(InputError, match="neither a folder nor an archive"):
            tree_entries(path)
    monkeypatch.setattr(archives, "MAX_FILES", 0)
    with pytest.raises(InputError, match="more than 0 files"):
        tree_entries(tmp_path)
