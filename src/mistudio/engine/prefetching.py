"""Reading a stream of batches on a thread, one or two ahead of the one that learns from them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")
AHEAD = 2


class _Ended:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetched(items: Iterator[T], ahead: int = AHEAD) -> Generator[T]:
    """The same items in the same order, made by a thread while the caller works on the one before.

    At most `ahead` items wait; with 0 there is no thread. What `items` raises is raised here, after the items before
    it. Closing this generator ends the thread and closes `items`.
    """
    if ahead == 0:
        try:
            yield from items
        finally:
            _close(items)
        return
    waiting: queue.Queue[T | _Ended] = queue.Queue(ahead)
    closed = threading.Event()

    def fill() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                while not closed.is_set():
                    with suppress(queue.Full):
                        waiting.put(item, timeout=0.1)
                        break
                if closed.is_set():
                    break
        except BaseException as raised:
            error = raised
        finally:
            _close(items)
            while not closed.is_set():
                with suppress(queue.Full):
                    waiting.put(_Ended(error), timeout=0.1)
                    break

    thread = threading.Thread(target=fill, name="activations-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = waiting.get()
            if isinstance(item, _Ended):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        closed.set()
        thread.join()


def _close(items: object) -> None:
    close = getattr(items, "close", None)
    if close is not None:
        close()
