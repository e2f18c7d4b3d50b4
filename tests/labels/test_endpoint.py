"""The endpoint client against a real HTTP server: limits, faults, refusals, and keys that stay secret."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from mistudio.errors import StudioError
from mistudio.jobs import JobCancelled
from mistudio.labels.endpoint import Endpoint as Address
from mistudio.labels.endpoint import EndpointLabeller
from mistudio.labels.evidence import Evidence
from mistudio.labels.labeller import Failed, Found, Question
from mistudio.labels.schemas import LabellingPrompt
from mistudio.settings import Settings
from tests.labels.loopback import Endpoint, completion
from tests.labels.passages import fires, silent

KEY = "sk-very-secret"
Make = Callable[..., EndpointLabeller]


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def make(endpoint: Endpoint, pauses: list[float]) -> Iterator[Make]:
    made: list[EndpointLabeller] = []

    def make_one(**options: object) -> EndpointLabeller:
        settings = {"key": KEY, "examples": 4, "concurrency": 4} | options
        made.append(EndpointLabeller(Address(endpoint.url, "big-one"), pause=pauses.append, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make_one
    for one in made:
        one.close()


def evidence(index: int, word: str = "war") -> Evidence:
    return Evidence(index, [fires(f"x the «{word}» began x")] * 3, [], [], [])


def nothing() -> None:
    """Nobody asks to stop."""


def test_a_prompt_of_ones_own_is_what_is_asked(endpoint: Endpoint, make: Make) -> None:
    make(prompt=LabellingPrompt(task="Name the topic.", question="")).find([evidence(1)], nothing)
    asked = endpoint.requests[0]["messages"][0]["content"]
    assert asked.startswith("Name the topic.\n\n1. ") and asked.endswith("«war» began")
    make().find([evidence(1)], nothing)
    plain = endpoint.requests[1]["messages"][0]["content"]
    assert plain.startswith(LabellingPrompt().task) and plain.endswith(LabellingPrompt().question)


def test_labels_and_tests_go_through(endpoint: Endpoint, make: Make) -> None:
    labeller = make()
    assert labeller.source == "machine:openai:big-one"
    found = labeller.find([evidence(1, "war"), evidence(2, "gold")], nothing)
    assert found == [Found("passages with war"), Found("passages with gold")]
    assert endpoint.requests[0]["path"] == "/v1/chat/completions"
    assert endpoint.requests[0]["model"] == "big-one" and endpoint.requests[0]["temperature"] == 0
    assert endpoint.headers[0]["Authorization"] == f"Bearer {KEY}"
    passages = [silent(f"x it was {word} here x") for word in ("war", "peace", "war", "a", "b", "c", "war")]
    (answers,) = labeller.hold([Question(Found("passages with war"), passages)], nothing)
    assert answers == [1, -1, 1, -1, -1, -1, 1]


def test_limits_and_faults_are_waited_out(endpoint: Endpoint, make: Make, pauses: list[float]) -> None:
    endpoint.first.extend([(429, {"Retry-After": "7"}, {}), (500, {}, {}), (503, {}, {})])
    (found,) = make(concurrency=1).find([evidence(1)], nothing)
    assert isinstance(found, Found)
    assert pauses[0] == 7.0, "as long as the endpoint asks for"
    assert len(pauses) == 3 and pauses[2] > pauses[1] > 1, "and longer each time"


def test_a_failed_feature_is_reported_and_is_no_label(endpoint: Endpoint, make: Make) -> None:
    def answer(body: dict[str, object]) -> object:
        text = str(body["messages"])
        if "«bad»" in text:
            return 429, {}, {"error": {"message": "Rate limit reached for requests"}}
        if "«odd»" in text:
            return 400, {}, {"error": {"message": "too long"}}
        if "«empty»" in text:
            return completion("")
        if "«html»" in text:
            return 200, {}, b"<html>"
        return completion("a good label")

    endpoint.answer = answer  # type: ignore[assignment]
    words = ["war", "bad", "odd", "empty", "html"]
    found = make().find([evidence(i, word) for i, word in enumerate(words)], nothing)
    assert found[0] == Found("a good label")
    assert all(isinstance(one, Failed) and not one.skipped for one in found[1:])
    reasons = [one.reason for one in found[1:]]  # type: ignore[union-attr]
    assert reasons[0] == "the endpoint answered 429 6 times"
    assert reasons[1] == "the endpoint refused the request (400: too long)"
    assert reasons[2] == "the model's answer holds no label"
    assert reasons[3] == "the endpoint's answer is not a chat completion"


def test_an_answer_that_is_no_list_of_marks_gives_no_score(endpoint: Endpoint, make: Make) -> None:
    endpoint.answer = lambda body: completion("I think the first one.")
    (answers,) = make().hold([Question(Found("war"), [silent("a b c")] * 3)], nothing)
    assert isinstance(answers, Failed) and len(endpoint.requests) == 2
    endpoint.first.append(completion("hm"))
    endpoint.answer = lambda body: completion("[1, 0, 0]")
    (answers,) = make().hold([Question(Found("war"), [silent("a b c")] * 3)], nothing)
    assert answers == [1, -1, -1]


@pytest.mark.parametrize(("status", "words"), [(401, "refused the key"), (404, "does not know")])
def test_a_refused_key_or_model_ends_the_run(endpoint: Endpoint, make: Make, status: int, words: str) -> None:
    endpoint.answer = lambda body: (status, {}, {"error": {"message": f"bad key {KEY}"}})
    with pytest.raises(StudioError, match=words) as error:
        make().find([evidence(i) for i in range(8)], nothing)
    assert error.value.code == "labels_endpoint_refused" and KEY not in str(error.value)


def test_an_endpoint_that_is_down_ends_the_run(pauses: list[float]) -> None:
    with Endpoint() as gone:
        url = gone.url
    labeller = EndpointLabeller(Address(url, "m"), key=None, examples=2, concurrency=2, pause=pauses.append)
    with pytest.raises(StudioError, match="cannot be reached") as error:
        labeller.find([evidence(1), evidence(2)], nothing)
    assert error.value.code == "labels_endpoint_down" and len(pauses) == 10
    labeller.close()


def test_requests_run_at_once_up_to_the_limit(endpoint: Endpoint, make: Make) -> None:
    endpoint.delay = 0.05
    make(concurrency=3).find([evidence(i) for i in range(12)], nothing)
    assert endpoint.most_at_once == 3


def test_cancelling_does_not_wait_for_the_rest(endpoint: Endpoint, make: Make) -> None:
    endpoint.delay = 0.3

    def cancelled() -> None:
        raise JobCancelled

    with pytest.raises(JobCancelled):
        make(concurrency=1).find([evidence(i) for i in range(50)], cancelled)
    assert len(endpoint.requests) < 5


def test_the_key_is_shown_nowhere(endpoint: Endpoint, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    endpoint.answer = lambda body: (400, {}, {"error": {"message": f"Incorrect key: {KEY}"}})
    with caplog.at_level(logging.DEBUG):
        labeller = make()
        (found,) = labeller.find([evidence(1)], nothing)
    assert isinstance(found, Failed)
    assert KEY not in found.reason and KEY not in caplog.text
    assert KEY not in repr(vars(labeller)) and KEY not in repr(labeller.endpoint)


def test_an_endpoint_that_is_not_set_is_named(settings: Settings) -> None:
    with pytest.raises(StudioError, match="No endpoint for labels is set") as error:
        Address.of(settings, "m")
    assert "MISTUDIO_LABELS_BASE_URL" in str(error.value.hint)
    odd = settings.model_copy(update={"labels_base_url": "ftp://x"})
    with pytest.raises(StudioError, match="not an http or https address"):
        Address.of(odd, "m")
