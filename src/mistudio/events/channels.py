"""Names of channels: the same words and ids that name a resource, `jobs/jb_…`, `system/gpu/0`."""

from __future__ import annotations

import re

from mistudio.errors import StudioError

MAX_LENGTH = 200
_NAME = re.compile(r"[a-z][a-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")


class ChannelInvalid(StudioError):
    """The name is not one that a channel can have."""

    def __init__(self, channel: object) -> None:
        shown = str(channel)[:60]
        super().__init__(
            "channel_invalid",
            f"“{shown}” is not the name of a channel.",
            hint="A channel is a path of plain words and ids, such as jobs/jb_01jd3m8x5k7q2r9w.",
        )


def check_channel(channel: object) -> str:
    """The channel name itself, if it is one. Raises ChannelInvalid."""
    if not isinstance(channel, str) or len(channel) > MAX_LENGTH or not _NAME.fullmatch(channel):
        raise ChannelInvalid(channel)
    return channel
