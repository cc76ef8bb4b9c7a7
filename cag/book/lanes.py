"""Work that depends on other work, done side by side: each piece starts when those it reads from have ended."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from typing import TypeVar

import torch
from dask.system import cpu_count as cores
from tqdm import tqdm

from cag.book.machine import memory_gb

R = TypeVar("R")


def side_by_side(
    needs: Mapping[str, Sequence[str]], work: Callable[[str, io.TextIOBase], R], lanes: int, stop: Callable[[], None]
) -> dict[str, R]:
    """Results of all pieces of work, in the order of ``needs``.

    Of the pieces that are ready, those named first in ``needs`` start first. When one fails no other is
    started; those under way are let finish, since what they compute is stored.

    Parameters
    ----------
    needs : mapping
        Piece -> the pieces that must have ended before it starts.
    work : callable
        Does a piece, given its name and a stream whose last line is shown while it runs.
    lanes : int
        Pieces that run at once.
    stop : callable
        Ends what the pieces under way are waiting for; called when the user interrupts.

    Raises
    ------
    Exception
        What the first failing piece raised.
    """
    order = TopologicalSorter(needs)
    order.prepare()
    ready: list[str] = []
    free = list(range(lanes))
    running: dict[Future[R], tuple[str, int]] = {}
    results: dict[str, R] = {}
    failure: BaseException | None = None
    with ThreadPoolExecutor(lanes) as pool:
        while (order.is_active() and failure is None) or running:
            ready = sorted({*ready, *order.get_ready()}, key=list(needs).index)
            while ready and free and failure is None:
                name, lane = ready.pop(0), free.pop(0)
                running[pool.submit(_in_lane, work, name, lane)] = name, lane
            try:
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt:
                stop()
                raise
            for future in ended:
                name, lane = running.pop(future)
                free.append(lane)
                failure = failure or future.exception()
                if future.exception() is None:
                    results[name] = future.result()
                    order.done(name)
    if failure is not None:
        raise failure
    return {name: results[name] for name in needs}


def lanes_for(pieces: int, gigabytes: float) -> int:
    """Pieces that run at once: two, where there are cores and memory for them and no card they would share.

    Two pieces with a core each end sooner than one after the other with both: much of a piece is not the
    networks' arithmetic.

    Parameters
    ----------
    gigabytes : float
        Memory that one piece may need.
    """
    if torch.cuda.is_available() or memory_gb() < 2 * gigabytes:
        return 1
    return min(2, cores(), pieces)


def _in_lane(work: Callable[[str, io.TextIOBase], R], name: str, lane: int) -> R:
    try:
        with LastLine(name, lane) as shown:
            return work(name, shown)
    finally:
        with contextlib.suppress(RuntimeError):  # there is none where nothing asynchronous was done
            asyncio.get_event_loop().close()  # a notebook's client leaves that of its thread open


class LastLine(io.TextIOBase):
    """A stream that shows the last line written to it, in a line of the terminal of its own.

    Nothing is shown where the errors' stream is no terminal.
    """

    def __init__(self, name: str, lane: int) -> None:
        self._name = name
        self._line = tqdm(total=0, position=lane, bar_format="{desc}", leave=False, dynamic_ncols=True, disable=None)
        self.write("starts")

    def write(self, text: str) -> int:
        """Show the last line of ``text`` that is not blank."""
        lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
        if lines:
            self._line.set_description_str(f"{self._name}: {lines[-1]}")
        return len(text)

    def close(self) -> None:
        """Give the line back."""
        self._line.close()
        super().close()
