from __future__ import annotations

import getpass
import json
import platform

from cag.machine import describe_machine, peak_memory_of_children_gb


def test_the_record_tells_what_decides_time_and_result():
    record = json.loads(json.dumps(describe_machine()))
    assert record["cores"] >= 1 and record["memory_gb"] > 0 and record["processor"]
    assert record["versions"]["torch"] and record["date"].count("-") == 2


def test_the_record_names_neither_machine_nor_user():
    values = {str(value) for value in describe_machine().values()}
    assert platform.node() not in values and getpass.getuser() not in values


def test_memory_of_children_is_a_number_of_gigabytes():
    assert 0 <= peak_memory_of_children_gb() < 10_000
