"""How far a set of tasks is: counted, shown, and stopped when the study's hours are over."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from tqdm import tqdm

from cag.settings import InputError

#: Set while a study runs that was given hours: when they end, in seconds since 1970.
DEADLINE_VARIABLE = "CAG_DEADLINE"


class OutOfTime(InputError):
    """The hours of a study are over; what is stored stays, and the next call goes on."""


class Progress:
    """Tasks done of a total, with a bar, and the running study's deadline.

    Parameters
    ----------
    label : str
        What the tasks are.
    total : int
    shown : bool
        Show a bar; none is shown where there is nothing to do.
    """

    def __init__(self, label: str, total: int, shown: bool = True) -> None:
        self.label, self.total, self.done = label, total, 0
        self.end = float(os.environ.get(DEADLINE_VARIABLE, "inf"))
        self.longest = 0.0
        self._bar = tqdm(total=total, desc=label, unit="task", disable=not shown or not total)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def step(self) -> None:
        """One task more is done."""
        self.done += 1
        self._bar.update()

    def say(self, words: str) -> None:
        """Words beside the bar."""
        self._bar.set_postfix_str(words)

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Take the time of one task: the longest is taken to be the next one's."""
        start = time.monotonic()
        yield
        self.longest = max(self.longest, time.monotonic() - start)

    def check(self) -> None:
        """Stop before a task that would not end in the study's hours.

        Raises
        ------
        OutOfTime
        """
        if time.time() + self.longest >= self.end:
            remedy = "What is done is stored; run the same command again to go on"
            problem = f"the hours are over: {self.done} of {self.total} open tasks were done"
            raise OutOfTime(problem, field=self.label, remedy=remedy)
