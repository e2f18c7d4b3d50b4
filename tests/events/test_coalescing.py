"""Keyed events are thinned to ten a second; nothing that must arrive is lost, and order is kept."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mistudio.events.coalescing import MAX_READY, MAX_WAITING_KEYS, Announcement, Coalescer

CHANNELS = st.sampled_from(["jobs/a", "jobs/b"])
KEYS = st.sampled_from([None, "progress", "metrics", "rate"])
STEPS = st.lists(st.tuples(st.floats(0, 0.3), CHANNELS, KEYS), max_size=120)


def announcement(channel: str, number: int, key: str | None) -> Announcement:
    return Announcement(channel, "event", str(number), "", key)


def run(
    steps: list[tuple[float, str, str | None]],
) -> tuple[list[Announcement], list[tuple[float, Announcement]]]:
    """Offer everything at its time, take whenever something is due, as the bus's thread does."""
    coalescer, now = Coalescer(), 100.0
    offered: list[Announcement] = []
    left: list[tuple[float, Announcement]] = []

    def take_until(end: float) -> None:
        while (due := coalescer.next_due(now)) is not None and due <= end:
            moment = max(due, now)
            left.extend((moment, item) for item in coalescer.take(moment))

    for number, (pause, channel, key) in enumerate(steps):
        take_until(now + pause)
        now += pause
        offered.append(announcement(channel, number, key))
        coalescer.offer(offered[-1], now)
        left.extend((now, item) for item in coalescer.take(now))
    take_until(now + 60)
    assert coalescer.next_due(now) is None
    assert coalescer.drain() == []
    return offered, left


@given(STEPS)
def test_every_keyless_event_and_the_last_of_every_key_gets_through(
    steps: list[tuple[float, str, str | None]],
) -> None:
    offered, left = run(steps)
    delivered = [item for _, item in left]
    assert len(set(delivered)) == len(delivered), "an event left twice"
    assert [item for item in offered if item.key is None and item not in delivered] == []
    newest = {(item.channel, item.key): item for item in offered}
    assert all(item in delivered for item in newest.values())


@given(STEPS)
def test_order_is_kept_per_key_and_around_keyless_events(steps: list[tuple[float, str, str | None]]) -> None:
    _, left = run(steps)
    streams: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for _, item in left:
        streams[item.channel, item.key].append(int(item.text))
    assert all(a < b for numbers in streams.values() for a, b in pairwise(numbers))
    for channel in ("jobs/a", "jobs/b"):
        barrier = -1
        for item in (item for _, item in left if item.channel == channel):
            assert int(item.text) > barrier, "an event came after a later keyless one"
            if item.key is None:
                barrier = int(item.text)


@given(STEPS)
def test_at_most_ten_keyed_events_a_second_besides_those_a_keyless_one_pushes_out(
    steps: list[tuple[float, str, str | None]],
) -> None:
    _, left = run(steps)
    for channel in ("jobs/a", "jobs/b"):
        here = [(moment, item.key) for moment, item in left if item.channel == channel]
        pushed = {moment for moment, key in here if key is None}
        free = [moment for moment, key in here if key is not None and moment not in pushed]
        for start in free:
            assert sum(start <= moment < start + 1 - 1e-9 for moment in free) <= 10


def test_an_event_waits_no_longer_than_its_turn() -> None:
    coalescer = Coalescer()
    for number, key in enumerate(["a", "b", "c"]):
        coalescer.offer(announcement("jobs/x", number, key), 0.0)
    assert [item.key for item in coalescer.take(0.0)] == ["a"]
    assert coalescer.next_due(0.0) == 0.1
    for number in range(3, 30):  # a busy key must not push the others back
        coalescer.offer(announcement("jobs/x", number, "a"), 0.05)
    assert [item.key for item in coalescer.take(0.1)] == ["b"]
    assert [item.key for item in coalescer.take(0.2)] == ["c"]
    assert [item.text for item in coalescer.take(0.31)] == ["29"]


def test_memory_is_bounded_when_nobody_takes() -> None:
    coalescer = Coalescer()
    for number in range(MAX_READY + 50):
        coalescer.offer(announcement("jobs/x", number, None), 0.0)
    for number in range(MAX_WAITING_KEYS + 50):
        coalescer.offer(announcement("jobs/y", number, f"key-{number}"), 0.0)
    taken = coalescer.take(0.0)
    assert len(taken) == MAX_READY
    assert coalescer.dropped > 0
    assert len(coalescer.drain()) <= MAX_WAITING_KEYS


def test_what_could_not_be_delivered_goes_first_the_next_time() -> None:
    coalescer = Coalescer()
    for number in range(3):
        coalescer.offer(announcement("jobs/x", number, None), 0.0)
    taken = coalescer.take(0.0)
    coalescer.offer(announcement("jobs/x", 3, None), 0.0)
    coalescer.put_back(taken[1:])
    assert [item.text for item in coalescer.take(0.0)] == ["1", "2", "3"]
