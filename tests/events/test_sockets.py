"""Socket.IO against a real server: join, snapshot, replay, limits, origins, and polling as the way out."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import socketio
import websockets.sync.client
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mistudio.app import create_app
from mistudio.settings import LoadedSettings, Settings
from tests.events import counter
from tests.events.client import FollowingClient
from tests.web.live import live_server, wait_until


def make_app(data_dir: Path, **settings: Any) -> Any:
    loaded = LoadedSettings(Settings(data_dir=data_dir, **settings), {})
    app = create_app(loaded, domains=[counter.domain], migrate=False, dispatcher=lambda *_: None)
    counter.metadata.create_all(app.state.studio.database.engine)
    return app


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_app(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def server(app: Any) -> Iterator[str]:
    with live_server(app) as url:
        yield url


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_join_gives_a_snapshot_and_then_every_event(server: str, transport: str) -> None:
    channel = f"counter/{transport}"
    for n in range(3):
        httpx.post(f"{server}/api/v1/{channel}/{n}").raise_for_status()
    with FollowingClient(server, transport) as client:
        answer = client.follow(channel)
        assert answer["snapshot"] == {"numbers": [0, 1, 2]}
        for n in range(3, 20):
            httpx.post(f"{server}/api/v1/{channel}/{n}").raise_for_status()
        wait_until(lambda: client.numbers(channel) == list(range(3, 20)), what="every event")
        event = client.events[channel][0]
        assert set(event) == {"channel", "seq", "type", "data", "at"}
        assert (event["channel"], event["type"], event["seq"]) == (channel, "counted", answer["seq"] + 1)
        client.io.call("unsubscribe", {"channel": channel})
        httpx.post(f"{server}/api/v1/{channel}/99").raise_for_status()
        state = httpx.get(f"{server}/api/v1/state/{channel}").json()
        assert state["snapshot"]["numbers"][-1] == 99
        assert client.numbers(channel)[-1] == 19, "an event came after leaving"


@pytest.mark.slow
def test_nothing_is_lost_between_snapshot_and_room(server: str) -> None:
    """Clients join while numbers are published as fast as they go: snapshot and events together have no hole."""
    channel, stop = "counter/busy", threading.Event()

    def publish() -> None:
        n = 0
        with httpx.Client() as http:
            while not stop.is_set() and n < 5_000:
                http.post(f"{server}/api/v1/{channel}/{n}").raise_for_status()
                n += 1

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        wait_until(lambda: httpx.get(f"{server}/api/v1/state/{channel}").json()["snapshot"]["numbers"])
        for _ in range(6):
            with FollowingClient(server) as client:
                shown = client.follow(channel)["snapshot"]["numbers"]
                wait_until(lambda: len(client.numbers(channel)) > 10)
                events = client.numbers(channel)
                assert shown == list(range(len(shown)))
                # The state may run ahead of its number, so events may repeat its end, but must follow on it.
                assert events[0] <= len(shown)
                assert events == list(range(events[0], events[0] + len(events)))
    finally:
        stop.set()
        publisher.join()


def test_a_client_that_comes_back_gets_what_it_missed(server: str) -> None:
    channel = "counter/back"
    with FollowingClient(server) as client:
        client.follow(channel)
        httpx.post(f"{server}/api/v1/{channel}/0").raise_for_status()
        wait_until(lambda: client.numbers(channel) == [0])
        client.io.eio.ws.close()  # the network breaks; the client reconnects by itself
        for n in range(1, 6):
            httpx.post(f"{server}/api/v1/{channel}/{n}").raise_for_status()
        wait_until(lambda: client.numbers(channel) == [0, 1, 2, 3, 4, 5], what="the replay")
        assert len(client.snapshots[channel]) == 1
        assert "events" in client.answers[-1]
        seqs = [event["seq"] for event in client.events[channel]]
        assert all(b == a + 1 for a, b in pairwise(seqs))


def test_one_that_was_away_too_long_gets_a_snapshot(server: str, app: Any) -> None:
    channel = "counter/away"
    with FollowingClient(server) as client:
        client.follow(channel)
        for n in range(600):
            app.state.studio.events.publish(channel, "counted", {"n": n})
        assert app.state.studio.events.flush(10)
        answer = client.io.call("subscribe", {"channel": channel, "last_seq": client.answers[0]["seq"]})
        assert answer["snapshot"] == {"numbers": []}


def test_polling_reads_the_same_state(server: str) -> None:
    httpx.post(f"{server}/api/v1/counter/poll/7").raise_for_status()
    with FollowingClient(server) as client:
        answer = client.follow("counter/poll")
    state = httpx.get(f"{server}/api/v1/state/counter/poll").json()
    assert state == {"channel": "counter/poll", **answer}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"channel": "../etc"}, "channel_invalid"),
        ({}, "channel_invalid"),
        (None, "channel_invalid"),
        ("counter/x", "channel_invalid"),
        ({"channel": "counter/missing"}, "counter_not_found"),
        ({"channel": "counter/broken"}, "internal_error"),
    ],
)
def test_a_bad_subscription_is_answered(server: str, request_: Any, code: str) -> None:
    with FollowingClient(server) as client:
        answer = client.io.call("subscribe", request_, timeout=5)
        assert answer["error"]["code"] == code
        assert "secret" not in answer["error"]["message"]


def test_a_channel_that_only_announces_has_no_snapshot(server: str, app: Any) -> None:
    with FollowingClient(server) as client:
        assert client.follow("notices")["snapshot"] is None
        app.state.studio.events.publish("notices", "created", {"n": 1})
        wait_until(lambda: client.numbers("notices") == [1])


def test_a_socket_follows_a_bounded_number_of_channels(server: str) -> None:
    with FollowingClient(server) as client:
        for number in range(200):
            assert "error" not in client.io.call("subscribe", {"channel": f"notices/{number}"})
        assert (
            client.io.call("subscribe", {"channel": "notices/more"})["error"]["code"] == "too_many_channels"
        )
        assert "error" not in client.io.call("subscribe", {"channel": "notices/7"})


def test_progress_comes_at_most_ten_times_a_second_and_the_last_state_always(server: str, app: Any) -> None:
    channel = "counter/progress"
    with FollowingClient(server) as client:
        client.follow(channel)
        for n in range(5_000):
            app.state.studio.events.publish(channel, "progress", {"n": n}, key="progress")
        app.state.studio.events.publish(channel, "job", {"n": "succeeded"})
        wait_until(lambda: client.numbers(channel)[-1:] == ["succeeded"])
        assert client.numbers(channel)[-2] == 4_999
        assert len(client.numbers(channel)) < 30


def test_a_page_of_another_origin_cannot_connect(server: str) -> None:
    address = f"{server.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket"
    with pytest.raises(InvalidStatus) as refused:
        websockets.sync.client.connect(address, origin="http://evil.example")  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403
    assert b"origin_not_allowed" in (refused.value.response.body or b"")
    with websockets.sync.client.connect(address, origin=server) as socket:  # type: ignore[arg-type]
        assert str(socket.recv()).startswith("0{")
    response = httpx.get(
        f"{server}/socket.io/?EIO=4&transport=polling", headers={"Origin": "http://evil.example"}
    )
    assert response.status_code == 403


@pytest.mark.slow
def test_open_sockets_of_one_address_are_limited(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        app = make_app(tmp_path, sockets_per_address=3)
        server = stack.enter_context(live_server(app))
        clients = [
            stack.enter_context(FollowingClient(server, transport))
            for transport in ("websocket", "polling", "websocket")
        ]
        for transport in ("websocket", "polling"):
            extra = socketio.Client(reconnection=False)
            with pytest.raises(socketio.exceptions.ConnectionError):
                extra.connect(server, transports=[transport])
        clients[0].close()
        wait_until(lambda: app.state.sockets.connected == 2)
        stack.enter_context(FollowingClient(server))
        raw = f"{server.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket"
        # Two websockets are open; one that never says what it wants counts as well.
        with websockets.sync.client.connect(raw), pytest.raises(InvalidStatus) as refused:
            websockets.sync.client.connect(raw)
        assert refused.value.response.status_code == 429


@pytest.mark.slow
def test_a_client_that_never_reads_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mistudio.events.sockets.MAX_BEHIND", 100)
    monkeypatch.setattr("mistudio.events.sockets._SLOW_CHECK_SECONDS", 0.1)
    app = make_app(tmp_path)
    with live_server(app) as server:
        address = f"{server.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket"
        with websockets.sync.client.connect(address, max_queue=1) as slow, FollowingClient(server) as good:
            slow.recv()
            slow.send("40")
            slow.recv()
            slow.send('42["subscribe",{"channel":"notices"}]')
            good.follow("notices")
            wait_until(lambda: app.state.sockets.connected == 2)
            n = 0
            while app.state.sockets.connected == 2 and n < 2_000:
                app.state.studio.events.publish(
                    "notices", "created", {"n": n, "text": secrets.token_hex(25_000)}
                )
                wait_until(lambda: good.numbers("notices")[-1:] == [n])  # noqa: B023
                n += 1
            assert app.state.sockets.connected == 1
            assert good.numbers("notices") == list(range(n))
            assert len(good.answers) == 1, "the client that reads was cut off as well"
            with pytest.raises(ConnectionClosed):
                while True:
                    slow.recv(timeout=5)
    assert "is cut off" in caplog.text
