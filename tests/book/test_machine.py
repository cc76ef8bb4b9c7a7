from __future__ import annotations

import getpass
import json
import os
import platform
import signal
import subprocess
import sys

import pytest

from cag.book import machine
from cag.book.machine import (
    describe_machine,
    end_children,
    longest_before,
    memory_gb,
    peak_memory_of_children_gb,
)
from cag.networks.runtime import cores


def test_the_record_tells_what_decides_time_and_result():
    record = json.loads(json.dumps(describe_machine()))
    assert record["cores"] >= 1 and record["memory_gb"] > 0 and record["processor"]
    assert record["versions"]["torch"] and record["date"].count("-") == 2


def test_the_record_names_neither_machine_nor_user():
    values = {str(value) for value in describe_machine().values()}
    assert platform.node() not in values and getpass.getuser() not in values


def test_the_longest_execution_before_is_kept_while_the_time_of_found_work_is_unknown(tmp_path):
    stamp, same = tmp_path / "03.json", {"profile": "demo", "overrides": {}}
    timed, untimed = ({"tasks": {"made": [], "found": {"a/b": took}}} for took in (3.0, None))
    assert longest_before(stamp, same | untimed) == {}
    stamp.write_text(json.dumps(same | {"seconds": 1000, "date": "2026-11-28"}))
    first = {"before": {"seconds": 1000, "date": "2026-11-28"}}
    assert longest_before(stamp, same | untimed) == first
    assert longest_before(stamp, same | timed) == {}
    assert longest_before(stamp, same | untimed | {"profile": "paper"}) == {}
    stamp.write_text(json.dumps(same | {"seconds": 90, "date": "2026-11-29"} | first))
    assert longest_before(stamp, same | untimed) == first


def test_memory_of_children_is_a_number_of_gigabytes():
    assert 0 <= peak_memory_of_children_gb() < 10_000


def test_children_and_theirs_are_ended():
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'], stdin=sys.stdin)"
    child = subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE)
    end_children()
    assert child.wait(20) == -signal.SIGTERM
    child.stdin.close()


@pytest.mark.parametrize(("quota", "found"), [("max 100000", 64), ("150000 100000", 2), ("50000 100000", 1), ("", 64)])
def test_a_container_has_the_cores_it_is_given(tmp_path, monkeypatch, quota, found):
    monkeypatch.setattr(machine, "CONTAINER", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    if quota:
        (tmp_path / "cpu.max").write_text(quota + "\n")
    assert cores() == found


def test_a_container_has_the_memory_it_is_given(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CONTAINER", tmp_path)
    whole = memory_gb()
    (tmp_path / "memory.max").write_text("1000000000\n")
    assert memory_gb() == 1
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_gb() == whole
