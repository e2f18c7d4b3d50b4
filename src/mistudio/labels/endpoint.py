"""Labels by an OpenAI-compatible endpoint: many requests at once, patient with limits, honest about failures."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from mistudio.errors import StudioError
from mistudio.labels.evidence import Evidence
from mistudio.labels.labeller import Check, Failed, Found, Question
from mistudio.labels.prompts import Messages, detection_messages, label_messages, read_label, read_marks
from mistudio.labels.schemas import LabellingPrompt, ScoreMethod
from mistudio.settings import Settings

Result = TypeVar("Result")

_ATTEMPTS = 6
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_TIMEOUT = httpx.Timeout(120.0, connect=10.0)
_PASSAGES_AT_ONCE = 5  # Delphi's default
_REFUSED = {
    401: "refused the key",
    403: "refused the key",
    404: "does not know this address or model",
}


@dataclass(frozen=True)
class Endpoint:
    """Where requests go. The key is in no other object, so that it cannot be printed with one."""

    base_url: str
    model: str

    @classmethod
    def of(cls, settings: Settings, model: str) -> Endpoint:
        """The endpoint of the settings. Raises StudioError `labels_endpoint_unset` or `labels_endpoint_invalid`."""
        if not settings.labels_base_url:
            raise StudioError(
                "labels_endpoint_unset",
                "No endpoint for labels is set.",
                hint="Set MISTUDIO_LABELS_BASE_URL (and MISTUDIO_LABELS_API_KEY if it needs a key) and restart.",
            )
        url = settings.labels_base_url.rstrip("/")
        if not url.startswith(("http://", "https://")):
            raise StudioError(
                "labels_endpoint_invalid", "The setting labels_base_url is not an http or https address."
            )
        return cls(url, model)


class EndpointFailure(Exception):
    """A request that failed for good. `endpoint_down` says that the fault is not this request's own."""

    def __init__(self, reason: str, *, endpoint_down: bool) -> None:
        super().__init__(reason)
        self.reason, self.endpoint_down = reason, endpoint_down


class EndpointLabeller:
    """Labels and detection by a chat model behind an OpenAI-compatible endpoint."""

    method: ScoreMethod = "detection"
    others = 1

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        key: str | None,
        examples: int,
        concurrency: int,
        seed: int = 0,
        prompt: LabellingPrompt | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint = endpoint
        self.source = f"machine:openai:{endpoint.model}"
        self._examples, self._seed, self._prompt = examples, seed, prompt
        self._pause = pause
        self._client = httpx.Client(
            timeout=_TIMEOUT,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            follow_redirects=False,
        )
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="labels")
        self._leave = False

    def close(self) -> None:
        """End the connections; requests under way are given up."""
        self._leave = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def find(self, evidence: Sequence[Evidence], check: Check) -> list[Found | Failed]:
        """A label for each feature. Raises StudioError when the endpoint refuses the key, the model, or everything."""

        def one(evidence: Evidence) -> Found | Failed:
            if not evidence.shown:
                return Failed("it has no examples", skipped=True)
            messages = label_messages(evidence.shown, self._examples, self._prompt)
            answer = self._ask(messages, max_tokens=64)
            text = read_label(answer)
            return Found(text) if text else Failed("the model's answer holds no label")

        return self._all(one, evidence, check)

    def hold(self, questions: Sequence[Question], check: Check) -> list[list[float] | Failed]:
        """Detection, five passages a request; an answer that is no list of marks is asked for once more."""

        def one(question: Question) -> list[float] | Failed:
            predictions: list[float] = []
            for start in range(0, len(question.passages), _PASSAGES_AT_ONCE):
                part = question.passages[start : start + _PASSAGES_AT_ONCE]
                messages = detection_messages(question.label.text, part)
                marks = read_marks(self._ask(messages, max_tokens=64), len(part))
                marks = marks or read_marks(self._ask(messages, max_tokens=64), len(part))
                if marks is None:
                    return Failed("the model did not answer the test with a list of marks")
                predictions += marks
            return predictions

        return self._all(one, questions, check)

    def _all(
        self, work: Callable[[Any], Result | Failed], items: Sequence[Any], check: Check
    ) -> list[Result | Failed]:
        """The work of all items at once, in their order."""
        futures: list[Future[Result | Failed]] = [self._pool.submit(work, item) for item in items]
        try:
            while wait(futures, timeout=0.2).not_done:
                check()
        except BaseException:
            self.close()
            raise
        results: list[Result | Failed] = []
        down: list[str] = []
        for future in futures:
            try:
                results.append(future.result())
            except EndpointFailure as failure:
                results.append(Failed(failure.reason))
                if failure.endpoint_down:
                    down.append(failure.reason)
        if items and len(down) == len(items):
            raise StudioError(
                "labels_endpoint_down",
                f"No request to the endpoint succeeded: {down[-1]}.",
                hint="Check MISTUDIO_LABELS_BASE_URL and that the endpoint is up, then retry: what was labelled stays.",
            )
        return results

    def _ask(self, messages: Messages, *, max_tokens: int) -> str:
        """One answer. Waits and asks again at 429, 5xx and broken connections, as long as `Retry-After` says.

        Raises EndpointFailure when that does not help, StudioError when asking again is pointless for any feature.
        """
        body = {
            "model": self.endpoint.model,
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": 0,
            "seed": self._seed,
        }
        reason, down = "", True
        for attempt in range(_ATTEMPTS):
            if self._leave:
                raise EndpointFailure("the run ended", endpoint_down=False)
            pause = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE) * random.uniform(0.75, 1.25)
            try:
                response = self._client.post(f"{self.endpoint.base_url}/chat/completions", json=body)
            except httpx.TimeoutException:
                reason, down = "the endpoint did not answer in time", True
            except httpx.HTTPError as error:
                reason, down = f"the endpoint cannot be reached ({type(error).__name__})", True
            else:
                status = response.status_code
                if status == 200:
                    return _content(response)
                if status in _REFUSED:
                    raise StudioError(
                        "labels_endpoint_refused",
                        f"The endpoint {_REFUSED[status]} ({status}).",
                        hint="Check MISTUDIO_LABELS_API_KEY, MISTUDIO_LABELS_BASE_URL and the model's name "
                        f"(“{self.endpoint.model}”).",
                    )
                if status != 429 and status < 500:
                    raise EndpointFailure(
                        f"the endpoint refused the request ({status}{_detail(response)})", endpoint_down=False
                    )
                reason, down = f"the endpoint answered {status} {_ATTEMPTS} times", True
                pause = max(pause, _retry_after(response))
            if attempt + 1 < _ATTEMPTS:
                self._pause(min(pause, _LONGEST_PAUSE))
        raise EndpointFailure(reason, endpoint_down=down)


def _content(response: httpx.Response) -> str:
    try:
        content = response.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        raise EndpointFailure("the endpoint's answer is not a chat completion", endpoint_down=False) from None
    return content if isinstance(content, str) else ""


def _detail(response: httpx.Response) -> str:
    """What the endpoint says about a refused request, if it says it the usual way. It may quote no key of ours."""
    try:
        message = response.json()["error"]["message"]
    except (ValueError, LookupError, TypeError):
        return ""
    key = response.request.headers.get("Authorization", "").removeprefix("Bearer ")
    text = " ".join(str(message).split())[:200]
    return "" if key and key in text else f": {text}"


def _retry_after(response: httpx.Response) -> float:
    try:
        return float(response.headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0
