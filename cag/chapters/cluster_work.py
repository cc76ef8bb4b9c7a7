"""A task as it travels: what is packed here, and what a worker makes of it."""

from __future__ import annotations

import dataclasses
import io
import pickle
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cag.chapters.claims import fill
from cag.chapters.store import RunFolder, Store
from cag.chapters.task import Task
from cag.data.cohort import Cohort
from cag.settings import InputError, Settings

#: Pieces of work whose frames and maps a worker keeps: of the experiment at hand and of the one before.
KEPT = 2

#: Seconds between looks at the work that another process is doing.
PAUSE = 0.5

_COHORT = "cohort"
_works: OrderedDict[tuple[str, bytes], Callable[..., None]] = OrderedDict()


@dataclasses.dataclass(frozen=True)
class Parcel:
    """A task ready to be sent.

    Attributes
    ----------
    name : str
        Its folder, ``<kind>/<key>``.
    settings : Settings
    work : bytes
        Its function with what it shares; the same bytes for all tasks that share it.
    """

    name: str
    settings: Settings
    work: bytes = dataclasses.field(repr=False)  # it may name files, and what workers log is no place for that


def pack(task: Task, folder: RunFolder, cohort: Cohort) -> Parcel:
    """A task as it travels: without the cohort, which travels once, and without anything computed.

    Raises
    ------
    InputError
        If its function has no name by which another process finds it.
    """
    stream = io.BytesIO()
    try:
        _Packer(stream, cohort).dump(task.work)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        remedy = "Make it a named function of a module, or mark the task as one to be done here"
        raise InputError(f"cannot be sent to a worker ({error})", field=task.kind, remedy=remedy) from None
    return Parcel(f"{folder.path.parent.name}/{folder.path.name}", task.settings, stream.getvalue())


def work_there(parcel: Parcel, cohort: Cohort, root: Path, mark: str) -> InputError | None:
    """Do a task on this machine, into the shared store; an input that is refused is the answer.

    Another process may be at it, for example a worker that the scheduler took for dead: then wait for its end.
    """
    store = Store(root)
    if not (store.working / f"shared-{mark}").exists():
        remedy = "Put the project's folder on a disk that all machines see at the same place"
        return InputError("a worker does not see the results folder", file=root.name, remedy=remedy)
    folder = RunFolder(root / parcel.name)
    try:
        work = _work(parcel.work, cohort, mark)
        while not fill(store, folder, parcel.settings, lambda draft: work(cohort, parcel.settings, draft)):
            time.sleep(PAUSE)
    except InputError as error:
        return error
    return None


def _work(packed: bytes, cohort: Cohort, mark: str) -> Callable[..., None]:
    """The function with what it shares, kept from task to task so that frames are loaded once a process."""
    key = (mark, packed)
    if key not in _works:
        _works[key] = _Unpacker(io.BytesIO(packed), cohort).load()
        while len(_works) > KEPT:
            _works.popitem(last=False)
    _works.move_to_end(key)
    return _works[key]


class _Packer(pickle.Pickler):
    """Leaves the cohort out, and of dataclasses all that they computed from their fields."""

    def __init__(self, stream: io.BytesIO, cohort: Cohort) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self.cohort = cohort

    def persistent_id(self, value: object) -> str | None:
        return _COHORT if value is self.cohort else None

    def reducer_override(self, value: Any) -> Any:
        if not dataclasses.is_dataclass(value) or isinstance(value, type):
            return NotImplemented
        fields = dataclasses.fields(value)
        if not all(field.init and not field.kw_only for field in fields):
            return NotImplemented
        return type(value), tuple(getattr(value, field.name) for field in fields)


class _Unpacker(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, cohort: Cohort) -> None:
        super().__init__(stream)
        self.cohort = cohort

    def persistent_load(self, name: str) -> Cohort:
        if name != _COHORT:
            raise pickle.UnpicklingError(f"nothing is known of {name!r}")
        return self.cohort
