"""Every way to fail is a problem+json that says what, where and what to do, and never more than that."""

from __future__ import annotations

import logging

import httpx
import pytest

FORM = "/api/v1/sample/form"


def problem(response: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert set(body) == {"type", "title", "status", "detail", "code", "hint", "fields", "request_id"}
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:mistudio:problem:{code}"
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["detail"]
    return body


def test_a_studio_error_is_shown_as_it_stands(http: httpx.Client) -> None:
    body = problem(http.get("/api/v1/sample/things/taken"), 409, "name_taken")
    assert (body["detail"], body["hint"]) == ("The name is taken.", "Choose another.")
    assert body["fields"] == {"name": "taken"}
    problem(http.get("/api/v1/sample/things/x"), 404, "thing_not_found")


def test_an_error_of_the_science_floor_is_shown_as_well(http: httpx.Client) -> None:
    body = problem(http.get("/api/v1/sample/things/torn"), 400, "torn_file")
    assert (body["detail"], body["hint"]) == ("The file shard-3 is torn.", "Harvest again.")


def test_a_full_disk_is_told_without_paths(http: httpx.Client) -> None:
    response = http.get("/api/v1/sample/things/full")
    problem(response, 507, "disk_full")
    assert "secret" not in response.text


def test_invalid_fields_are_named_by_dotted_path(http: httpx.Client) -> None:
    body = problem(http.post(FORM, json={"layers": [{"width": 1}, {"width": 0}]}), 422, "invalid_input")
    assert set(body["fields"]) == {"name", "layers.1.width"}  # type: ignore[arg-type]
    assert body["fields"]["layers.1.width"] == "Input should be greater than 0"  # type: ignore[index]
    body = problem(http.get("/api/v1/sample/animals?limit=0"), 422, "invalid_input")
    assert set(body["fields"]) == {"limit"}  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"[1,"])
def test_a_body_that_is_no_json(http: httpx.Client, content: bytes) -> None:
    response = http.post(FORM, content=content, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == "application/problem+json"


def test_unknown_addresses_and_methods(http: httpx.Client) -> None:
    problem(http.get("/api/v1/nothing"), 404, "not_found")
    problem(http.get("/api"), 404, "not_found")
    response = http.delete(FORM)
    problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    problem(http.post("/datasets"), 405, "method_not_allowed")


def test_a_defect_leaks_nothing_and_is_logged_under_its_id(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "mistudio.web"):
        response = http.get("/api/v1/sample/things/crash", headers={"X-Request-ID": "my-request.7"})
    body = problem(response, 500, "internal_error")
    assert body["request_id"] == "my-request.7"
    for secret in ("secret", "RuntimeError", "Traceback", "/very", ".py"):
        assert secret not in response.text
    record = next(record for record in caplog.records if "my-request.7" in record.getMessage())
    assert record.exc_info is not None
    assert "secret-password" in str(record.exc_info[1])


def test_an_answer_that_breaks_off_is_not_taken_for_whole(http: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        http.get("/api/v1/sample/broken-stream")


@pytest.mark.parametrize("given", ["short", "a" * 64])
def test_a_request_id_is_taken_over(http: httpx.Client, given: str) -> None:
    assert http.get("/api/v1/health", headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a" * 65, "new line?", "<script>"])
def test_a_request_id_that_could_do_harm_is_replaced(http: httpx.Client, given: str) -> None:
    received = http.get("/api/v1/health", headers={"X-Request-ID": given}).headers["x-request-id"]
    assert received != given
    assert len(received) == 16


def test_every_answer_carries_the_security_headers(http: httpx.Client) -> None:
    for path in ("/api/v1/health", "/api/v1/nothing", "/", "/api/v1/sample/things/crash", "/socket.io/"):
        headers = http.get(path).headers
        policy = headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert http.get("/api/v1/health").headers["cache-control"] == "no-store"


def test_health_ready_and_settings(http: httpx.Client) -> None:
    assert http.get("/api/v1/health").json()["status"] == "ok"
    ready = http.get("/api/v1/ready")
    assert (ready.status_code, ready.json()) == (
        200,
        {"ready": True, "checks": {"database": None, "events": None}},
    )
    settings = {item["name"]: item for item in http.get("/api/v1/settings").json()}
    assert settings["max_body_bytes"]["value"] == 10_000
    assert settings["max_body_bytes"]["default"] == 2_000_000
    assert settings["port"]["source"] == "flag"
    assert settings["hf_token"] | {"description": ""} == {
        "name": "hf_token", "value": None, "default": None, "source": "default", "description": "", "secret": True,
    }  # fmt: skip
    assert all(item["description"] for item in settings.values())
