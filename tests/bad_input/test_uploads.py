"""What is sent may be larger than other requests, wherever in the application its route is declared."""

from __future__ import annotations

from pathlib import Path

import pytest

from mistudio.sae import save_sae
from mistudio.saes import archive
from tests.features.make_sae import random_sae
from tests.models.api import Api

FIVE_MB = 5_000_000


def test_a_text_of_5_mb_is_taken(api: Api) -> None:
    assert api.settings.max_body_bytes < FIVE_MB
    text = b"A line of forty-two characters, as it is.\n" * (FIVE_MB // 42)
    added = api.ask("POST", "/datasets/upload", 202, files={"file": ("long.txt", text)})
    api.work(added)
    assert api.ask("GET", f"/datasets/{added['id']}")["bytes"] > 0


@pytest.mark.slow
def test_a_zipped_sae_of_5_mb_is_taken(api: Api, tmp_path: Path) -> None:
    folder = tmp_path / "large"
    save_sae(random_sae(d_in=32, d_sae=22_000), folder)
    packed = b"".join(archive.zip_folder(folder))
    assert len(packed) > FIVE_MB
    added = api.ask("POST", "/saes/upload", 202, files={"file": ("large.zip", packed)})
    api.work(added)
    assert api.ask("GET", f"/saes/{added['id']}")["d_sae"] == 22_000


def test_other_bodies_keep_their_limit_and_say_so(api: Api) -> None:
    refused = api.ask("POST", "/datasets", 413, content=b" " * FIVE_MB)
    assert "2" in refused["detail"] and refused["hint"]
    assert api.ask("GET", "/datasets")["total"] == 0
