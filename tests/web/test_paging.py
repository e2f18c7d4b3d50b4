"""Lists: paging, sorting, searching; and transactions around routes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

ANIMALS = "/api/v1/sample/animals"
NAMES = ["ant", "bee_1", "beeX1", "Cat", "dog", "100%"]


@pytest.fixture(scope="module", autouse=True)
def _animals(http: httpx.Client) -> None:
    for name in NAMES:
        http.post(f"{ANIMALS}/{name.replace('%', '%25')}").raise_for_status()


def test_pages_follow_one_another_without_gap(http: httpx.Client) -> None:
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = http.get(
            ANIMALS, params={"limit": 2, "sort": "-id"} | ({"cursor": cursor} if cursor else {})
        ).json()
        assert page["total"] == len(NAMES)
        seen += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == NAMES[::-1]
    assert http.get(ANIMALS, params={"offset": 4, "sort": "id"}).json()["items"] == NAMES[4:]
    assert http.get(ANIMALS, params={"offset": 100}).json()["next_cursor"] is None


@pytest.mark.parametrize(
    ("q", "found"),
    [("bee", ["bee_1", "beeX1"]), ("_", ["bee_1"]), ("%", ["100%"]), ("CAT", ["Cat"]), ("zebra", [])],
)
def test_search_takes_every_character_as_itself(http: httpx.Client, q: str, found: list[str]) -> None:
    assert sorted(http.get(ANIMALS, params={"q": q, "sort": "id"}).json()["items"]) == sorted(found)


def test_an_unknown_sort_names_the_known_ones(http: httpx.Client) -> None:
    response = http.get(ANIMALS, params={"sort": "-colour"})
    assert (response.status_code, response.json()["code"]) == (422, "sort_unknown")
    assert response.json()["hint"].startswith("Sort by name, legs, id")


def test_a_failing_route_leaves_nothing_behind(http: httpx.Client) -> None:
    assert http.post(f"{ANIMALS}/unicorn").status_code == 409
    assert http.get(ANIMALS, params={"q": "unicorn"}).json()["total"] == 0


def test_a_commit_that_fails_is_an_error_and_not_a_201(http: httpx.Client) -> None:
    response = http.post(f"{ANIMALS}/ghost", params={"eats": 999_999})  # the foreign key is checked at commit
    assert response.status_code == 500
    assert http.get(ANIMALS, params={"q": "ghost"}).json()["total"] == 0


def test_what_was_answered_is_committed(http: httpx.Client) -> None:
    for number in range(30):
        http.post(f"{ANIMALS}/fish{number}").raise_for_status()
        assert http.get(ANIMALS, params={"q": f"fish{number}"}).json()["total"] >= 1


@pytest.mark.slow
def test_many_readers_and_writers_at_once(server: str) -> None:
    """More requests at once than threads and connections there are: all are answered, none in a deadlock."""
    with httpx.Client(base_url=server, limits=httpx.Limits(max_connections=120), timeout=25) as http:

        def one(number: int) -> int:
            if number % 3 == 0:
                return http.post(f"{ANIMALS}/swarm").status_code
            return http.get(ANIMALS if number % 3 == 1 else "/api/v1/sample/locked").status_code

        with ThreadPoolExecutor(120) as pool:
            statuses = list(pool.map(one, range(360)))
    assert set(statuses) == {200, 201}
