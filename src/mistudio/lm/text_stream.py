"""Turning a stream of token ids into a stream of text, without ever showing half a character."""

from __future__ import annotations

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"


class TextStream:
    """Decodes one row of generated tokens piece by piece.

    Tokens of byte-level tokenizers may end in the middle of a character, and SentencePiece drops the space
    before the first token of what it decodes. So each token is decoded together with the tokens before it
    that it may depend on, and text is held back while it ends in half a character or could be the beginning
    of a stop string. The pieces, joined, are the decoded text up to the first stop string.

    `decode` maps ids to text; `context` holds the last ids of the prompt.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], context: Sequence[int], stop: Sequence[str] = ()
    ) -> None:
        self._decode = decode
        self._ids = list(context)
        self._shown_from = 0
        self._decoded_to = len(self._ids)
        self._held = ""
        self._stop = [s for s in stop if s]
        self.stopped = False

    def push(self, token: int, *, last: bool = False) -> str:
        """The text that `token` adds; `last` also gives out what was held back. Sets `stopped` when a stop
        string is complete; the text from there on is not returned."""
        self._ids.append(token)
        before = self._decode(self._ids[self._shown_from : self._decoded_to])
        after = self._decode(self._ids[self._shown_from :])
        if len(after) > len(before) and (last or not after.endswith(REPLACEMENT)):
            self._held += after[len(before) :]
            self._shown_from, self._decoded_to = self._decoded_to, len(self._ids)
        return self._release(last)

    def _release(self, last: bool) -> str:
        text = self._held
        ends = [text.find(s) for s in self._stop if s in text]
        if ends:
            self.stopped, self._held = True, ""
            return text[: min(ends)]
        keep = 0 if last else max((_overlap(text, s) for s in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
