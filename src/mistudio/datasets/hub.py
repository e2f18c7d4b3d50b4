"""Data sets from the Hugging Face hub, streamed by the real `datasets` client. Only job processes import this."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyarrow as pa

from mistudio.datasets.schemas import HubSource
from mistudio.errors import StudioError

BATCH_ROWS = 1_000


def open_hub_stream(
    source: HubSource, *, token: str | None, patience: float, log: Callable[[str], None] = lambda _: None
) -> tuple[Iterator[pa.RecordBatch], int | None]:
    """Batches of a split and its size in (Arrow) bytes, where the hub says it.

    Raises StudioError: `hub_not_found`, `hub_revision_not_found`, `hub_gated`, `hub_unreachable`, `hub_refused`,
    `hub_split_not_found`, `hub_config_not_found`, `hub_no_data`; the iterator raises them too.
    """
    from huggingface_hub import HfApi

    import datasets

    _lose_patience()
    with hub_dataset_errors(source):
        info = HfApi(token=token).dataset_info(source.repo, revision=source.revision, timeout=patience)
        commit = str(info.sha)
        log(f"{source.repo} is at commit {commit}")
        builder: Any = datasets.load_dataset_builder(
            source.repo, name=source.config, revision=commit, token=token
        )
        stream: Any = datasets.load_dataset(
            source.repo, name=source.config, split=source.split, revision=commit, token=token, streaming=True
        )
    split = (builder.info.splits or {}).get(source.split)
    total = int(split.num_bytes) if split is not None and split.num_bytes else None
    return _batches(stream, source), total


def _lose_patience() -> None:
    """Their defaults go on asking for minutes after the hub has gone; a job can be retried instead."""
    import datasets.config
    from huggingface_hub import hf_file_system
    from huggingface_hub.utils import http_backoff

    datasets.config.STREAMING_READ_MAX_RETRIES = datasets.config.STREAMING_OPEN_MAX_RETRIES = 1
    datasets.config.STREAMING_READ_RETRY_INTERVAL = datasets.config.STREAMING_OPEN_RETRY_INTERVAL = 1
    datasets.config.STREAMING_READ_SERVER_UNAVAILABLE_RETRY_INTERVAL = 2
    datasets.config.STREAMING_READ_RATE_LIMIT_RETRY_INTERVAL = 10
    files: Any = hf_file_system
    files.http_backoff = partial(http_backoff, max_retries=2, max_wait_time=2)


def _batches(stream: Any, source: HubSource) -> Iterator[pa.RecordBatch]:
    with hub_dataset_errors(source):
        for table in stream.with_format("arrow").iter(batch_size=BATCH_ROWS):
            # Features of the datasets library ride along as schema metadata, which is not ours to keep.
            yield from table.replace_schema_metadata(None).combine_chunks().to_batches()


@contextmanager
def hub_dataset_errors(source: HubSource) -> Generator[None]:
    """Turns what the hub's clients raise into one clear sentence."""
    try:
        yield
    except (StudioError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        found = _translated(error, source)
        if found is None:
            raise
        raise found from error


def _translated(error: BaseException, source: HubSource) -> StudioError | None:
    from huggingface_hub import errors as hub

    transport: Any = hub.HfHubHTTPError.__mro__[1]
    chain = list(_chain(error))
    texts = " ".join(str(link) for link in chain)
    repo = source.repo

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) for link in chain)

    status = next((link.response.status_code for link in chain if isinstance(link, hub.HfHubHTTPError)), 0)
    if has(hub.GatedRepoError) or "gated dataset" in texts:
        return StudioError(
            "hub_gated",
            f"The data set {repo} is gated: its authors ask for consent before anyone downloads it.",
            hint="Accept the terms on its hub page, then set hf_token (MISTUDIO_HF_TOKEN) to that account's token.",
        )
    if has(hub.RevisionNotFoundError):
        return StudioError(
            "hub_revision_not_found",
            f"The data set {repo} has no revision “{source.revision}”.",
            hint="Give a branch, tag or commit that it has.",
        )
    if has(hub.RepositoryNotFoundError, hub.HFValidationError):
        return StudioError(
            "hub_not_found",
            f"There is no data set “{repo}” on the hub.",
            hint="Check the id (organisation/name). A private one needs hf_token.",
        )
    if status == 429:
        return StudioError(
            "hub_rate_limited",
            f"The hub asks to slow down while reading {repo}.",
            hint="Try again in a few minutes.",
        )
    if 400 <= status < 500:
        return StudioError(
            "hub_refused",
            f"The hub refused to give {repo}: it answered {status}.",
            hint="Check hf_token and its rights." if status in (401, 403) else None,
        )
    if status >= 500 or has(transport, ConnectionError, TimeoutError, hub.OfflineModeIsEnabled):
        why = f"it answered {status}" if status else _reason(chain)
        return StudioError(
            "hub_unreachable",
            f"The hub could not be reached for {repo} ({why}).",
            hint="Check the network and HF_ENDPOINT, then retry; hub_timeout_seconds sets the patience.",
        )
    if "BuilderConfig" in texts or "Config name is missing" in texts:
        return StudioError(
            "hub_config_not_found",
            f"The data set {repo} has no configuration “{source.config or ''}”."
            if source.config
            else f"The data set {repo} has several configurations.",
            hint=_first_line(texts),
        )
    if "Unknown split" in texts or "Bad split" in texts:
        return StudioError(
            "hub_split_not_found",
            f"The data set {repo} has no split “{source.split}”.",
            hint=_first_line(texts),
        )
    if "scripts are no longer supported" in texts:
        return StudioError(
            "hub_no_data",
            f"The data set {repo} is a loading script, and code from the hub is never run.",
            hint="Look for a version of it in Parquet.",
        )
    names = {type(link).__name__ for link in chain}
    if names & {"DataFilesNotFoundError", "EmptyDatasetError", "DatasetNotFoundError"}:
        return StudioError(
            "hub_no_data",
            f"The data set {repo} holds no files that can be read as rows.",
            hint="It needs Parquet, JSONL, CSV or text files.",
        )
    if names & {"ArrowInvalid", "DatasetGenerationError", "JSONDecodeError", "CastError", "ParserError"}:
        return StudioError(
            "broken_file",
            f"A file of {repo} cannot be read: {_first_line(texts)}.",
            hint="Try another revision.",
        )
    return None


def _reason(chain: list[BaseException]) -> str:
    timed_out = any("Timeout" in type(link).__name__ for link in chain)
    return "it did not answer in time" if timed_out else "the connection broke or was refused"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:300].rstrip(".") if text.strip() else "no details"
