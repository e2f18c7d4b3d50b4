"""Streaming text: the pieces are the text, characters are never torn, stop strings never shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mistudio.lm.text_stream import REPLACEMENT, TextStream


def decode(ids: list[int]) -> str:
    """A byte-level tokenizer: ids are bytes."""
    return bytes(ids).decode("utf-8", errors="replace")


def pieces(text: str, stop: list[str]) -> tuple[list[str], bool]:
    stream = TextStream(decode, b"Hi ", stop)
    data, out = text.encode(), []
    for i, byte in enumerate(data):
        out.append(stream.push(byte, last=i + 1 == len(data)))
        if stream.stopped:
            break
    return out, stream.stopped


@given(st.text(max_size=30).filter(lambda t: REPLACEMENT not in t))
def test_pieces_join_to_the_text_and_no_character_is_torn(text: str) -> None:
    out, stopped = pieces(text, [])
    assert "".join(out) == text and not stopped
    assert all(REPLACEMENT not in piece for piece in out)


@given(
    st.text(alphabet="abé", max_size=20),
    st.lists(st.text(alphabet="abé", min_size=1, max_size=4), max_size=3),
)
def test_text_ends_where_a_stop_string_begins(text: str, stop: list[str]) -> None:
    out, stopped = pieces(text, stop)
    # The first stop string to be complete ends the text; of several complete at once, the earliest.
    ends = [n for n in range(len(text) + 1) if any(s in text[:n] for s in stop)]
    if ends:
        so_far = text[: ends[0]]
        assert stopped and "".join(out) == so_far[: min(so_far.find(s) for s in stop if s in so_far)]
    else:
        assert not stopped and "".join(out) == text


def test_half_a_character_is_shown_as_broken_only_at_the_end() -> None:
    stream = TextStream(decode, [], [])
    assert stream.push("é".encode()[0]) == ""
    assert stream.push(ord("x")) == REPLACEMENT + "x"
    assert stream.push("é".encode()[0], last=True) == REPLACEMENT
