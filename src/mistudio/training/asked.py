"""The changes of settings that a training's job is asked for, out of its inbox."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mistudio.engine.changes import Wanted
from mistudio.jobs import JobContext

_LOOK_SECONDS = 0.25


class ChangesAsked:
    """Called between batches: the changes that have arrived since, looked for a few times a second.

    A message is deleted only when it is asked the next time: what it wanted has been made and noted by then, so that
    a process which dies in between finds it again, and making a change a second time changes nothing.
    """

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._looked_at = float("-inf")
        self._made: list[int] = []

    def __call__(self) -> Sequence[Wanted]:
        """What is wanted now."""
        if time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return []
        self._looked_at = time.monotonic()
        self._context.forget_messages(self._made)
        found = self._context.messages()
        self._made = [message.id for message in found]
        return [
            Wanted(str(m.body["change"]), float(m.body["value"]), str(m.body["run"]))
            for m in found
            if "change" in m.body
        ]
