"""The wheel carries everything: installed where there is no Node and no checkout, it serves the whole UI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "src" / "mistudio" / "web" / "static"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, so that the checkout stays as it is."""
    assert (STATIC / "index.html").is_file(), "the web UI is not built: run `make ui`"
    copy = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "hatch_build.py", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (made,) = out.glob("*.whl")
    return made


def test_it_holds_the_interface_the_migrations_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    built = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()}
    assert {f"mistudio/web/static/{name}" for name in built} <= set(names)
    assert any(re.fullmatch(r"mistudio/db/.*versions/\w+\.py", name) for name in names)
    for name in names:
        assert name.startswith(("mistudio/", "mistudio-")), f"{name} lies outside the package"
        assert "__pycache__" not in name and "node_modules" not in name


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it, which finds our dependencies where they already are."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    interpreter = folder / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(interpreter),
        "install",
        "--no-deps",
        "--no-index",
    ]
    done = subprocess.run([*install, str(wheel)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    # A path line adds the folder but does not read its own .pth files: the editable install stays out of sight.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    return interpreter


def surroundings(python: Path) -> dict[str, str]:
    """An environment with this Python alone on its path."""
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}
    return kept | {"PATH": str(python.parent), "HOME": str(python.parent.parent), "PYTHONUNBUFFERED": "1"}


def test_it_is_the_installed_package_and_there_is_no_node(python: Path, tmp_path: Path) -> None:
    program = "import mistudio, shutil; print(mistudio.__file__, shutil.which('node'), shutil.which('npm'))"
    done = subprocess.run(
        [python, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=surroundings(python)
    )
    file, node, npm = done.stdout.split()
    assert Path(file).is_relative_to(python.parent.parent)
    assert (node, npm) == ("None", "None")


@pytest.fixture
def address(python: Path, tmp_path: Path) -> Iterator[str]:
    """`mistudio serve` from the installed environment, in a folder that knows nothing of the sources."""
    command = [str(python.parent / "mistudio"), "--data-dir", str(tmp_path / "data"), "serve", "--port", "0"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env=surroundings(python),
    )
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"miStudio is at (http://\S+)", line):
                break
        else:
            pytest.fail(f"it did not start: {said}")
        watchdog.cancel()
        yield found[1]
    finally:
        watchdog.cancel()
        process.terminate()
        process.communicate(timeout=30)


def fetch(address: str) -> tuple[str, bytes]:
    with urllib.request.urlopen(address, timeout=30) as answer:
        assert answer.status == 200
        return answer.headers["Content-Type"], answer.read()


def test_the_installed_package_serves_the_whole_interface(address: str) -> None:
    kind, page = fetch(address)
    assert kind.startswith("text/html") and b'id="root"' in page
    assets = re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.decode())
    assert any(asset.endswith(".js") for asset in assets)
    assert any(asset.endswith(".css") for asset in assets)
    for asset in assets:
        assert re.search(r"-[\w-]{8}\.\w+$", asset), f"{asset} has no hash in its name"
        _, content = fetch(address + asset)
        assert content == (STATIC / asset.lstrip("/")).read_bytes()
    assert fetch(f"{address}/features/anything")[1] == page
    kind, health = fetch(f"{address}/api/v1/health")
    assert kind.startswith("application/json") and b"ok" in health
    assert fetch(f"{address}/api/v1/datasets")[1].startswith(b"{")
