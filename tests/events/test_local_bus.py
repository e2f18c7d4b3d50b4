"""The bus of one process: numbers, memory, threads, and a client that keeps order over a bad network."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.events import ChannelInvalid, Event, LocalBus, check_channel
from mistudio.events.following import Follower


@pytest.fixture
def bus() -> Iterator[LocalBus]:
    bus = LocalBus()
    yield bus
    bus.close()


def heard(bus: LocalBus) -> list[Event]:
    events: list[Event] = []
    bus.listen(events.append)
    return events


def test_numbers_grow_by_one_per_channel_from_many_threads(bus: LocalBus) -> None:
    events = heard(bus)

    def publish(name: str) -> None:
        for number in range(200):
            bus.publish(f"jobs/{number % 3}", "step", {"from": name, "n": number})

    threads = [threading.Thread(target=publish, args=(str(i),)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bus.flush()
    assert len(events) == 1000
    for channel in ("jobs/0", "jobs/1", "jobs/2"):
        mine = [event for event in events if event["channel"] == channel]
        assert [event["seq"] for event in mine] == list(range(mine[0]["seq"], mine[0]["seq"] + len(mine)))
        for name in "01234":
            numbers = [event["data"]["n"] for event in mine if event["data"]["from"] == name]
            assert numbers == sorted(numbers), "one publisher's events changed places"


def test_history_replays_exactly_what_was_missed(bus: LocalBus) -> None:
    start = bus.read("jobs/x").seq
    for number in range(10):
        bus.publish("jobs/x", "step", {"n": number})
    assert bus.flush()
    replay = bus.read("jobs/x", start + 4)
    assert replay.seq == start + 10
    assert replay.events is not None
    assert [event["data"]["n"] for event in replay.events] == [4, 5, 6, 7, 8, 9]
    assert bus.read("jobs/x", start + 10).events == []


@pytest.mark.parametrize("last_seq", [0, -5, 2**52])
def test_a_number_that_history_does_not_cover_gets_no_events(bus: LocalBus, last_seq: int) -> None:
    bus.publish("jobs/x", "step", {})
    assert bus.flush()
    assert bus.read("jobs/x", last_seq).events is None


def test_numbers_go_on_above_earlier_ones_after_a_restart(bus: LocalBus) -> None:
    bus.publish("jobs/x", "step", {})
    assert bus.flush()
    before = bus.read("jobs/x").seq
    again = LocalBus()
    assert again.read("jobs/x", before).seq > before
    assert again.read("jobs/x", before).events is None
    assert before < 2**53


def test_history_is_bounded_in_count_time_channels_and_bytes() -> None:
    now = [1000.0]
    bus = LocalBus(lambda: now[0], history=5, max_channels=3, max_bytes=500)
    start = bus.read("jobs/x").seq
    for number in range(8):
        bus.publish("jobs/x", "step", {"n": number})
    assert bus.flush()
    assert bus.read("jobs/x", start + 2).events is None
    kept = bus.read("jobs/x", start + 3).events
    assert kept is not None and len(kept) == 5
    now[0] += 601
    assert bus.read("jobs/x", start + 3).events is None
    for name in "abcd":
        bus.publish(f"jobs/{name}", "step", {"text": "y" * 200})
    assert bus.flush()
    assert bus.read("jobs/a", bus.read("jobs/d").seq).events is None
    bus.close()


def test_ten_a_second_with_the_newest_last(bus: LocalBus) -> None:
    events = heard(bus)
    began = time.monotonic()
    while time.monotonic() - began < 0.55:
        bus.publish("jobs/x", "progress", {"at": time.monotonic() - began}, key="progress")
        time.sleep(0.002)
    bus.publish("jobs/x", "progress", {"at": "last"}, key="progress")
    assert bus.flush()
    assert len(events) <= 8
    assert events[-1]["data"] == {"at": "last"}
    bus.publish("jobs/x", "progress", {"at": "late"}, key="progress")
    bus.publish("jobs/x", "job", {"state": "succeeded"})
    assert bus.flush()
    assert [event["type"] for event in events[-2:]] == ["progress", "job"]


def test_closing_delivers_what_waits_and_then_takes_nothing(bus: LocalBus) -> None:
    events = heard(bus)
    for number in range(5):
        bus.publish("jobs/x", "progress", {"n": number}, key="progress")
    bus.close()
    assert [event["data"]["n"] for event in events] in ([0, 4], [4])
    bus.publish("jobs/x", "progress", {"n": 5})
    assert events[-1]["data"] == {"n": 4}


def test_data_is_what_json_can_hold(bus: LocalBus) -> None:
    events = heard(bus)
    data: dict[str, Any] = {"loss": float("nan"), "text": "ß"}
    bus.publish("jobs/x", "metrics", data)
    data["text"] = "changed after publishing"
    assert bus.flush()
    assert events[0]["data"] == {"loss": None, "text": "ß"}


def test_a_listener_that_fails_does_not_stop_the_bus(bus: LocalBus) -> None:
    events = heard(bus)

    def fail(event: Event) -> None:
        if event["data"]["n"] == 0:
            raise RuntimeError("no")

    bus.listen(fail)
    bus.publish("jobs/x", "step", {"n": 0})
    assert bus.flush()
    bus.publish("jobs/x", "step", {"n": 1})
    assert bus.flush()
    assert [event["data"]["n"] for event in events] == [0, 1]


@pytest.mark.parametrize(
    "name", ["jobs", "jobs/jb_01jd3m8x5k7q2r9w", "system/gpu/0", "datasets/ds_1/tokenizations/tk_2"]
)
def test_channel_names(name: str) -> None:
    assert check_channel(name) == name


@pytest.mark.parametrize(
    "name", ["", "/jobs", "jobs/", "jobs//x", "Jobs", "jobs/../x", "jobs x", "x" * 201, None, 3]
)
def test_names_that_no_channel_can_have(name: object) -> None:
    with pytest.raises(ChannelInvalid, match="not the name of a channel"):
        check_channel(name)


class Client:
    """A follower whose state is the list of numbers it was told, over a network that the test controls."""

    def __init__(self) -> None:
        self.state: list[int] = []
        self.follower = Follower(self._replace, lambda event: self.state.append(event["data"]["n"]))

    def _replace(self, snapshot: list[int]) -> None:
        self.state = list(snapshot)


ACTIONS = st.lists(
    st.sampled_from(
        ["publish", "publish", "publish", "deliver", "deliver", "lose", "repeat", "swap", "cut", "subscribe"]
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(ACTIONS, st.integers(1, 8))
def test_order_loss_and_duplication_over_a_bad_network(actions: list[str], history: int) -> None:
    """Whatever the network loses, repeats or swaps: what the client shows is always a true past state, and once
    the network is well again, the present one."""
    bus = LocalBus(history=history)
    published: list[int] = []
    wire: list[Event] = []
    bus.listen(wire.append)
    client = Client()

    def subscribe() -> None:
        if client.follower.wants_subscribe:
            asked = client.follower.subscribing().get("last_seq")
            replay = bus.read("counter", asked)
            answer: dict[str, Any] = {"seq": replay.seq, "events": replay.events}
            client.follower.subscribed(
                answer if replay.events is not None else {"seq": replay.seq, "snapshot": published}
            )

    def check() -> None:
        assert client.state == published[: len(client.state)]

    for action in actions:
        if action == "publish":
            published.append(len(published))
            bus.publish("counter", "counted", {"n": published[-1]})
            assert bus.flush()
        elif action == "deliver" and wire:
            client.follower.received(dict(wire.pop(0)))
        elif action == "lose" and wire:
            wire.pop(0)
        elif action == "repeat" and wire:
            client.follower.received(dict(wire[0]))
        elif action == "swap" and len(wire) > 1:
            wire[0], wire[1] = wire[1], wire[0]
        elif action == "cut":
            client.follower.lost_connection()
        elif action == "subscribe":
            subscribe()
        check()
    wire.clear()
    client.follower.lost_connection()
    subscribe()
    assert client.state == published
    bus.close()
