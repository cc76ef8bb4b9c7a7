from __future__ import annotations

import getpass
import json
import platform
import signal
import subprocess
import sys

from cag.machine import describe_machine, end_children, peak_memory_of_children_gb


def test_the_record_tells_what_decides_time_and_result():
    record = json.loads(json.dumps(describe_machine()))
    assert record["cores"] >= 1 and record["memory_gb"] > 0 and record["processor"]
    assert record["versions"]["torch"] and record["date"].count("-") == 2


def test_the_record_names_neither_machine_nor_user():
    values = {str(value) for value in describe_machine().values()}
    assert platform.node() not in values and getpass.getuser() not in values


def test_memory_of_children_is_a_number_of_gigabytes():
    assert 0 <= peak_memory_of_children_gb() < 10_000


def test_children_and_theirs_are_ended():
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'], stdin=sys.stdin)"
    child = subprocess.Popen([sys.executable, "-c", nested], stdin=subprocess.PIPE)
    end_children()
    assert child.wait(20) == -signal.SIGTERM
    child.stdin.close()
