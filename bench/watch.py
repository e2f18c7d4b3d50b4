"""`metrics/…`, `events/…`, `training/frames`, `training/back`: from a run's step to the screen.

`metrics/serve-1m` is the real route over a log of a million points. `events/latency-20-runs` is a real server, job
processes that stream 20 runs, and a real Socket.IO client that follows them all: the time from a job's publishing to
the client's receiving. `training/frames` is headless Chromium, without a GPU, on the page of a sweep of eight runs with
20,000 points each while more points stream in: how many animation frames it gets a second. `training/back` is how long
that page shows an old state after the network is back, or the server that was restarted answers.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

SERVE_GOAL_MS = 100.0
LATENCY_GOAL_MS = 250.0
FRAMES_GOAL = 50.0
BACK_GOAL_SECONDS = 2.0


def serving(quick: bool) -> list[dict[str, Any]]:
    """The route's answer for all columns, of a log that grows, of its archive, and of a part that is zoomed to."""
    n = 100_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="mistudio-bench-") as scratch:
        data_dir = Path(scratch)
        (run,) = prepare(data_dir, 1)
        from bench.streaming import write_points
        from mistudio.store import archive_metrics

        folder = data_dir / "trainings" / run
        write_points(folder, n)
        size = (folder / "metrics.bin").stat().st_size
        path = f"/api/v1/trainings/{run}/metrics"
        with server(data_dir) as url:
            took = {"growing": median_ms(f"{url}{path}")}
            took["zoomed"] = median_ms(f"{url}{path}?after_step={n // 2}&up_to_step={n // 2 + 20_000}")
            began = time.perf_counter()
            archive_metrics(folder / "metrics.bin")
            archived = time.perf_counter() - began
            took["archived"] = median_ms(f"{url}{path}")
            share = (folder / "metrics.bin").stat().st_size / size
    slowest = max(took.values())
    words = ", ".join(f"{name} {ms:.0f}" for name, ms in took.items())
    note = f"{n:,} points of 17 metrics; {words} ms; archived in {archived:.0f} s to {share:.0%} of {size / 1e6:.0f} MB"
    return [row("metrics/serve-1m", slowest, "ms", SERVE_GOAL_MS, slowest < SERVE_GOAL_MS, note)]


def latency(quick: bool) -> list[dict[str, Any]]:
    """The 99th percentile over all events of 20 runs, ten steps a second each, in four jobs."""
    import socketio

    seconds = 5 if quick else 20
    with tempfile.TemporaryDirectory(prefix="mistudio-bench-") as scratch:
        data_dir = Path(scratch)
        runs = prepare(data_dir, 20)
        with server(data_dir, {"plugins": ["bench.streaming"], "cpu_slots": 4}) as url:
            client = socketio.Client()
            delays: list[float] = []
            ages: list[float] = []

            def hear(event: dict[str, Any]) -> None:
                now = time.time()
                if event["type"] == "metrics":
                    delays.append(1e3 * (now - event["data"]["sent_at"]))
                    ages.append(1e3 * (now - event["data"]["columns"]["time"][0]))

            client.on("event", hear)
            client.connect(url, transports=["websocket"])
            for run in runs:
                client.call("subscribe", {"channel": f"trainings/{run}"})
            for start in range(0, 20, 5):
                submit(data_dir, runs[start : start + 5], rate=10, seconds=seconds)
            wait_for(url, "succeeded", 4)
            client.disconnect()
    delays.sort()
    p99 = delays[int(len(delays) * 0.99)]
    note = (
        f"{len(delays):,} events of 20 runs in 4 jobs; median {statistics.median(delays):.0f} ms, "
        f"worst {delays[-1]:.0f} ms; from the oldest step in an event "
        f"{sorted(ages)[int(len(ages) * 0.99)]:.0f} ms (p99)"
    )
    return [row("events/latency-20-runs", p99, "ms", LATENCY_GOAL_MS, p99 < LATENCY_GOAL_MS, note)]


COUNT_FRAMES = """
seconds => new Promise(resolve => {
  const times = [];
  const began = performance.now();
  const frame = now => {
    times.push(now);
    if (now - began < seconds * 1000) requestAnimationFrame(frame);
    else resolve(times);
  };
  requestAnimationFrame(frame);
})
"""


def frames(quick: bool) -> list[dict[str, Any]]:
    """Animation frames a second on the page of a sweep while it streams; the same on an empty page beside it."""
    from playwright.sync_api import sync_playwright
    from tests.e2e.chromium import ARGUMENTS, executable

    points, seconds = 20_000, 5 if quick else 15
    with tempfile.TemporaryDirectory(prefix="mistudio-bench-") as scratch:
        data_dir = Path(scratch)
        runs = prepare(data_dir, 8)
        from bench.streaming import write_points

        for number, run in enumerate(runs):
            write_points(data_dir / "trainings" / run, points, number / 7)
        with (
            server(data_dir, {"plugins": ["bench.streaming"], "rate_limit_per_minute": 100_000}) as url,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1920, "height": 1080})
            idle = rate_of(page.evaluate(COUNT_FRAMES, 2))
            page.goto(f"{url}/trainings/{runs[0]}?sweep=true&smooth=0.3")
            page.get_by_role("slider").first.wait_for()
            while drawn(page) < 8 * points:
                page.wait_for_timeout(200)
            submit(data_dir, runs, rate=10, seconds=seconds + 60, first_step=points)
            while drawn(page) <= 8 * points:
                page.wait_for_timeout(200)
            page.wait_for_timeout(3_000)
            before, busy = drawn(page), processor_seconds()
            times = page.evaluate(COUNT_FRAMES, seconds)
            streamed, busy = drawn(page) - before, processor_seconds() - busy
            browser.close()
    if streamed <= 0:
        raise RuntimeError("no points arrived while the frames were counted")
    got = rate_of(times)
    gaps = sorted(later - earlier for earlier, later in pairwise(times))
    note = (
        f"8 runs of {points:,} points each, {streamed:,} points streamed in {seconds} s, 9 charts in view, smoothed; "
        f"longest frame {gaps[-1]:.0f} ms, p99 {gaps[int(len(gaps) * 0.99)]:.0f} ms; an empty page gets {idle:.0f}; "
        f"the browser took {busy / seconds:.2f} s of processor time a second; load {os.getloadavg()[0]:.0f} on "
        f"{os.cpu_count()} cores; "
        "software rendering"
    )
    return [row("training/frames", got, "frames/s", FRAMES_GOAL, got >= FRAMES_GOAL, note)]


def back(quick: bool) -> list[dict[str, Any]]:
    """The worst of several times each; every time the run has another number of points when the page is back."""
    from playwright.sync_api import sync_playwright
    from tests.e2e.chromium import ARGUMENTS, executable

    took: dict[str, list[float]] = {"network": [], "server": []}
    with tempfile.TemporaryDirectory(prefix="mistudio-bench-") as scratch:
        data_dir = Path(scratch)
        (run,) = prepare(data_dir, 1)
        from bench.streaming import write_points
        from mistudio.store import MetricLog

        folder, points = data_dir / "trainings" / run, 20_000
        write_points(folder, points)

        def step_back() -> int:
            kept = last_step(folder) - 1_000
            with MetricLog(folder / "metrics.bin", []) as log:
                log.truncate_after(kept)
            return kept

        def go_on(url: str, finished: int) -> int:
            first = last_step(folder)
            submit(data_dir, [run], rate=20, seconds=2, first_step=first)
            wait_for(url, "succeeded", finished)
            return last_step(folder)

        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
            page = browser.new_page()
            port = 0
            for again in range(1 + (3 if quick else 7)):
                with server(data_dir, {"plugins": ["bench.streaming"]}, port) as url:
                    began = time.monotonic()
                    port = int(url.rsplit(":", 1)[1])
                    if not again:
                        page.goto(f"{url}/trainings/{run}")
                    wait_until_drawn(page, points)
                    if again:
                        took["server"].append(time.monotonic() - began)
                    page.context.set_offline(True)
                    points = go_on(url, again + 1)
                    page.context.set_offline(False)
                    began = time.monotonic()
                    wait_until_drawn(page, points)
                    took["network"].append(time.monotonic() - began)
                points = step_back()
                page.wait_for_timeout(5_000 * again)
            browser.close()
    worst = max(max(times) for times in took.values())
    note = "; ".join(
        f"{name} {statistics.median(times):.2f} s, worst {max(times):.2f} of {len(times)}"
        for name, times in took.items()
    )
    return [row("training/back", worst, "s", BACK_GOAL_SECONDS, worst < BACK_GOAL_SECONDS, note)]


def last_step(folder: Path) -> int:
    from mistudio.store import read_metrics

    return int(read_metrics(folder / "metrics.bin")["step"][-1])


def wait_until_drawn(page: Any, points: int) -> None:
    page.locator(f'[data-total="{points}"]').first.wait_for(timeout=60_000)


def drawn(page: Any) -> int:
    """How many points the page says that the runs have."""
    words = page.get_by_text(re.compile(r"points\.$")).first.get_attribute("data-total")
    return int(words)


def processor_seconds() -> float:
    """What the browser's processes have used so far."""
    import psutil

    used = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "chrom" in process.name():
                used += sum(process.cpu_times()[:2])
    return used


def rate_of(times: list[float]) -> float:
    return 1e3 * (len(times) - 1) / (times[-1] - times[0])


def prepare(data_dir: Path, n: int) -> list[str]:
    """A data folder with `n` trainings; their ids."""
    from bench.streaming import insert_runs
    from mistudio.db import Database
    from mistudio.db.migrate import upgrade
    from mistudio.domains import all_domains, import_tables
    from mistudio.settings import Settings

    database = Database(Settings(data_dir=data_dir).effective_database_url)
    upgrade(database, import_tables(all_domains()))
    with database.session() as session:
        runs = insert_runs(session, n)
    database.dispose()
    return runs


def submit(data_dir: Path, runs: list[str], *, rate: float, seconds: float, first_step: int = 0) -> None:
    """Queue a job that streams, as another process than the server does."""
    from bench.streaming import StreamParams, domain
    from mistudio.db import Database
    from mistudio.domains import all_domains, import_tables, job_kinds
    from mistudio.jobs import register_kinds
    from mistudio.jobs import submit as queue
    from mistudio.settings import Settings

    domains = [*all_domains(), domain]
    import_tables(domains)
    register_kinds(job_kinds(domains))
    database = Database(Settings(data_dir=data_dir).effective_database_url)
    with database.session() as session:
        params = StreamParams(training_ids=runs, rate=rate, seconds=seconds, first_step=first_step)
        queue(session, "bench.stream", subject="bench/stream", title="Stream", params=params)
    database.dispose()


def wait_for(url: str, state: str, n: int, timeout: float = 180.0) -> None:
    """Until so many jobs are in this state."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{url}/api/v1/jobs?state={state}&limit=50") as answer:
            if json.load(answer)["total"] >= n:
                return
        time.sleep(0.25)
    raise RuntimeError(f"not all jobs were {state} after {timeout:.0f} s")


def median_ms(url: str, repeats: int = 9) -> float:
    """Milliseconds until the whole answer is there, without the first."""
    took: list[float] = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        with urllib.request.urlopen(url) as answer:
            answer.read()
        took.append(1e3 * (time.perf_counter() - began))
    return statistics.median(took[1:])


@contextmanager
def server(data_dir: Path, settings: dict[str, Any] | None = None, port: int = 0) -> Iterator[str]:
    """`mistudio serve` on this data folder, at a free port unless one is given."""
    from tests.e2e.server import Server

    with tempfile.TemporaryDirectory() as beside:
        one = Server(Path(beside), settings, data_dir=data_dir, port=port)
        one.start()
        try:
            one.get("/health")  # it announces its address a moment before
            yield one.url
        finally:
            one.stop()


def row(name: str, ours: float, unit: str, goal: float, holds: bool, note: str) -> dict[str, Any]:
    """A line of the table."""
    return {
        "name": name,
        "ours": round(ours, 2),
        "peer": None,
        "unit": unit,
        "ratio": None,
        "goal": goal,
        "holds": holds,
        "note": note,
    }


if __name__ == "__main__":
    chosen = {"serving": serving, "latency": latency, "frames": frames, "back": back}
    for name in [one for one in sys.argv[1:] if one in chosen] or chosen:
        for line in chosen[name](quick="--quick" in sys.argv):
            print(line)
