"""The OpenAPI document is complete: the UI's client is made from it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi import APIRouter

from mistudio.app import openapi_document
from mistudio.settings import Settings
from mistudio.web.assembly import build_api


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document()


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_operation_is_named_described_and_tagged(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for where, operation in operations(document):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", operation["operationId"]), where
        assert operation.get("tags"), f"{where} has no tag"
        assert operation.get("summary"), f"{where} has no summary"


def test_every_operation_tells_its_errors_as_problems(document: dict[str, Any]) -> None:
    for where, operation in operations(document):
        assert {"403", "413", "422", "429", "500"} <= set(operation["responses"]), where
        for status, response in operation["responses"].items():
            if status >= "400" and not (where.endswith("/ready") and status == "503"):
                assert list(response["content"]) == ["application/problem+json"], f"{where} {status}"


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    references = set(re.findall(r"'\$ref': '#/components/schemas/([^']+)'", repr(document)))
    assert references <= set(schemas)
    assert "HTTPValidationError" not in schemas


def test_every_success_has_a_schema(document: dict[str, Any]) -> None:
    for where, operation in operations(document):
        for status, response in operation["responses"].items():
            for media, content in response.get("content", {}).items():
                if status < "300" and media == "application/json":
                    assert content["schema"] != {}, f"{where} says nothing about its answer"


def two_lists(*tags: str) -> list[APIRouter]:
    routers = [APIRouter(prefix=f"/{name}", tags=[tag]) for name, tag in zip("ab", tags, strict=True)]

    def list_users() -> None: ...

    for router in routers:
        router.get("")(list_users)
    return routers


def test_domains_that_share_a_function_name_are_told_apart_by_their_tags() -> None:
    document = build_api(Settings.model_construct(), two_lists("data-sets", "models")).openapi()
    names = [operation["operationId"] for _, operation in operations(document)]
    assert names == ["data_sets_list_users", "models_list_users"]


@pytest.mark.filterwarnings("ignore:Duplicate Operation ID")
def test_two_operations_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"GET /api/v1/a and GET /api/v1/b share the operation id"):
        build_api(Settings.model_construct(), two_lists("same", "same")).openapi()
