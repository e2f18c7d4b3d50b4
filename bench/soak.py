"""`python -m bench.soak --minutes 60`: does anything grow while three trainings run and somebody watches?

A real server with three slots, three trainings of the 135M model at once (the model alongside, a point of the curves
at every step), and headless Chromium on the page of one of them. Every ten seconds: resident memory of the server,
of each training's process, and of the browser's renderer, and the page's JavaScript heap after a garbage collection.
Samples go to `bench/results/soak.json` as they come; `python -m bench.soak_plot` draws them.

Growth is the slope of a straight line through the samples after the first fifth, as a share of their mean per hour.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from playwright.sync_api import sync_playwright
from tests.e2e.chromium import ARGUMENTS, executable
from tests.e2e.server import Server

from bench.features import model_folder
from mistudio.demo.sources import fetch_addresses, source_cache

RESULT = Path(__file__).parent / "results" / "soak.json"
EVERY_SECONDS = 10
TRAININGS = 3


def main() -> int:
    """Run, and print how much each part grew in an hour."""
    parser = argparse.ArgumentParser(prog="bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        server = Server(
            Path(folder), {"cpu_slots": TRAININGS, "import_folders": [folder, str(model_folder())]}
        )
        server.start()
        try:
            samples = _watch(server, _start(server, Path(folder)), minutes)
        except BaseException:
            sys.stderr.write(server.log.read_text("utf-8")[-4000:])
            raise
        finally:
            server.stop()
    for name, share in growth(samples).items():
        print(f"{name}: {100 * share:+.1f} % an hour")
    return 0


def growth(samples: list[dict[str, Any]]) -> dict[str, float]:
    """Slope per hour over mean, by what was measured."""
    kept = samples[len(samples) // 5 :]
    hours = np.array([sample["seconds"] / 3600 for sample in kept])
    found: dict[str, float] = {}
    for name in kept[-1]:
        if name in ("seconds", "points") or any(sample.get(name) is None for sample in kept):
            continue
        values = np.array([sample[name] for sample in kept], float)
        found[name] = float(np.polyfit(hours, values, 1)[0] / values.mean())
    return found


def _start(server: Server, folder: Path) -> list[str]:
    """Model, text and tokens, then three trainings that outlast the watch; their ids."""
    text = folder / "addresses.txt"
    text.write_text("\n\n".join(address.text for address in fetch_addresses(source_cache())[:60]))
    model = server.ask("POST", "/models", {"source": {"kind": "folder", "path": str(model_folder())}})
    dataset = server.ask("POST", "/datasets", {"source": {"kind": "text", "path": str(text)}})
    server.wait_for_jobs()
    tokens = server.ask(
        "POST",
        f"/datasets/{dataset['id']}/tokenizations",
        {"model_id": model["id"], "settings": {"context_length": 128, "prepend_bos": True}},
    )
    server.wait_for_jobs()
    config = {
        "d_sae": 2048,
        "total_tokens": 10**9,
        "batch_size": 1024,
        "log_every": 1,
        "checkpoint_every": 200,
    }
    return [
        server.ask(
            "POST",
            "/trainings",
            {
                "name": f"soak {layer}",
                "sources": [{"tokenization_id": tokens["id"]}],
                "hooks": [f"blocks.{layer}.hook_resid_post"],
                "held_out_tokens": 2048,
                "config": config,
            },
        )["trainings"][0]["id"]
        for layer in range(1, TRAININGS + 1)
    ]


def _watch(server: Server, trainings: list[str], minutes: float) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
        page = browser.new_page()
        page.goto(f"{server.url}/trainings/{trainings[0]}")
        devtools = page.context.new_cdp_session(page)
        devtools.send("HeapProfiler.enable")
        began = time.monotonic()
        while time.monotonic() - began < 60 * minutes:
            page.wait_for_timeout(1000 * EVERY_SECONDS)
            devtools.send("HeapProfiler.collectGarbage")
            heap = devtools.send("Runtime.getHeapUsage")["usedSize"]
            points = server.get(f"/trainings/{trainings[0]}/metrics?max_points=4&columns=fvu")["total_points"]
            sample = {"seconds": round(time.monotonic() - began, 1), "points": points, "page heap": heap}
            sample |= _memory(server, trainings)
            samples.append(sample)
            RESULT.parent.mkdir(exist_ok=True)
            RESULT.write_text(json.dumps({"samples": samples, "growth per hour": growth(samples)}, indent=1))
            sys.stderr.write(f"{sample}\n")
        browser.close()
    return samples


def _memory(server: Server, trainings: list[str]) -> dict[str, int | None]:
    """Resident bytes of the server, of every training's process in order, and of all renderers of the browser."""
    main = psutil.Process(server.pid)
    busy = sorted(
        (child for child in main.children(recursive=True) if child.is_running()), key=lambda one: one.pid
    )
    jobs = [child.memory_info().rss for child in busy if child.memory_info().rss > 200_000_000]
    found: dict[str, int | None] = {"server": main.memory_info().rss}
    for number in range(len(trainings)):
        found[f"training {number + 1}"] = jobs[number] if number < len(jobs) else None
    found["renderer"] = sum(
        process.memory_info().rss
        for process in psutil.process_iter(["cmdline"])
        if "--type=renderer" in (process.info["cmdline"] or []) and _ours(process)
    )
    return found


def _ours(process: psutil.Process) -> bool:
    return psutil.Process() in process.parents()


if __name__ == "__main__":
    sys.exit(main())
