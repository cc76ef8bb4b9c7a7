from __future__ import annotations

import getpass
import json
import platform
import signal
import subprocess
import sys

from cag.book.machine import (
    describe_machine,
    end_children,
    longest_before,
    peak_memory_of_children_gb,
)


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
