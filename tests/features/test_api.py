"""SAEs and features over HTTP: the same functions, through the real application."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from mistudio.app import create_app
from mistudio.features import labels_current
from mistudio.jobs import Job
from mistudio.sae import save_sae
from mistudio.settings import LoadedSettings
from tests.features.make_sae import random_sae
from tests.models.job_runs import run_here

API = "/api/v1"


@pytest.fixture
def http(settings: Any, database: Any) -> Iterator[TestClient]:
    app = create_app(LoadedSettings(settings, {}), migrate=False, dispatcher=lambda *_: None)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def test_from_an_upload_to_a_feature(
    settings: Any, database: Any, tokens: str, http: TestClient, tmp_path: Any
) -> None:
    save_sae(random_sae(), tmp_path / "sae")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in (tmp_path / "sae").iterdir():
            archive.write(file, file.name)
    sent = http.post(
        f"{API}/saes/upload", files={"file": ("sae.zip", packed.getvalue())}, data={"name": "uploaded"}
    )
    assert sent.status_code == 202, sent.text
    sae_id = sent.json()["id"]
    assert sent.json()["job"]["state"] == "queued" and not sent.json()["ready"]
    early = http.post(f"{API}/saes/{sae_id}/extractions")
    assert (early.status_code, early.json()["code"]) == (409, "sae_not_ready")
    assert http.get(f"{API}/saes/{sae_id}/download").status_code == 409
    with database.reading() as session:
        import_job = session.scalars(select(Job.id).where(Job.kind == "saes.import")).one()
    run_here(settings, database, import_job)

    listed = http.get(f"{API}/saes", params={"q": "upload", "sort": "-d_sae"}).json()
    assert [item["id"] for item in listed["items"]] == [sae_id]
    assert listed["items"][0]["model_name"] == "tiny"
    assert http.get(f"{API}/saes/{sae_id}/weights").json()["decoder_norms"]["counts"]
    zipped = http.get(f"{API}/saes/{sae_id}/download")
    assert zipped.headers["content-type"] == "application/zip"
    assert zipfile.ZipFile(io.BytesIO(zipped.content)).testzip() is None

    made = http.post(f"{API}/saes/{sae_id}/extractions")
    assert made.status_code == 202, made.text
    extraction_id = made.json()["id"]
    at = f"{API}/extractions/{extraction_id}"
    assert http.get(f"{at}/features").json()["items"] == []
    assert http.get(f"{at}/features/3").json()["code"] == "extraction_not_ready"
    with database.reading() as session:
        job = session.scalars(select(Job.id).where(Job.kind == "features.extract")).one()
    run_here(settings, database, job)

    shown = http.get(at).json()
    assert shown["ready"] and shown["conventions"]["skip_bos"] and shown["summary"]["n_latents"] == 48
    table = http.get(f"{at}/features", params={"sort": "-max_activation", "limit": 5}).json()
    assert table["total"] == 48 and len(table["items"]) == 5
    best = table["items"][0]
    assert best["top_tokens"] and best["max_activation"] >= table["items"][4]["max_activation"]
    assert http.get(f"{at}/features", params={"min_frequency": 2}).status_code == 422
    assert http.get(f"{at}/features", params={"sort": "beauty"}).json()["code"] == "sort_unknown"
    page = http.get(f"{at}/features/{best['index']}").json()
    assert page["row"] == best
    assert page["examples"][0]["group"] == "top"
    assert {e["group"] for e in page["examples"]} == {"top", "q4", "q3", "q2", "q1"}
    assert len(page["top_logits"]) == len(page["bottom_logits"]) == len(page["neighbours"]) == 10
    assert page["token_counts"][0]["count"] >= 1
    assert http.get(f"{at}/features/48").status_code == 404

    starred = http.patch(f"{at}/features/7", json={"starred": True, "notes": "odd"})
    assert starred.json()["starred"] and starred.json()["notes"] == "odd"
    with database.session() as session:
        labels_current.set_label(session, extraction_id, 7, "seven", "person", None)
    assert http.get(at).json()["starred"] == http.get(at).json()["labelled"] == 1
    assert http.get(f"{at}/features", params={"q": "odd"}).json()["total"] == 1
    assert http.patch(at, json={"name": "renamed"}).json()["name"] == "renamed"
    assert http.get(f"{API}/extractions", params={"sae_id": sae_id}).json()["total"] == 1
    assert http.get(f"{API}/saes/{sae_id}").json()["extraction_count"] == 1

    assert http.delete(f"{API}/saes/{sae_id}").status_code == 204
    assert http.get(at).status_code == 404
    assert http.get(f"{API}/saes").json()["total"] == 0


def test_refusals(http: TestClient, tmp_path: Any) -> None:
    (tmp_path / "nothing").mkdir()
    unknown = http.post(f"{API}/saes/import", json={"path": str(tmp_path / "gone")})
    assert unknown.json()["code"] == "path_not_found"
    outside = http.post(f"{API}/saes/import", json={"path": "/etc"})
    assert (outside.status_code, outside.json()["code"]) == (403, "path_not_allowed")
    empty = http.post(f"{API}/saes/upload", files={"file": ("a.zip", b"")})
    assert empty.json()["code"] == "file_empty"
    for path in ("saes/sa_no", "extractions/ex_no", "extractions/ex_no/features/1", "saes/sa_no/weights"):
        assert http.get(f"{API}/{path}").status_code == 404
    assert http.get(f"{API}/extractions/ex_no/features").status_code == 404
    assert http.post(f"{API}/saes/sa_no/extractions", json={"settings": {"speed": 1}}).status_code == 422
