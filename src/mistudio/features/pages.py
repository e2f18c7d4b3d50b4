"""One feature's page, from memory-mapped files, in milliseconds and without PyTorch."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.datasets.tokenize import open_tokens
from mistudio.errors import StudioError
from mistudio.features.histogram import histogram_edges
from mistudio.features.labels_current import get_feature
from mistudio.features.library import extraction_folder, ready_extraction
from mistudio.features.schemas import (
    GROUPS,
    Example,
    FeaturePage,
    FeatureRow,
    Neighbour,
    TokenCount,
    TokenLogit,
)
from mistudio.features.tables import Extraction, Feature
from mistudio.models.library import model_folder
from mistudio.models.tokenizer import ModelTokenizer, open_tokenizer_folder
from mistudio.saes.schemas import Histogram
from mistudio.settings import Settings
from mistudio.store import ExampleStore, LatentPage, StoreError


def feature_page(session: Session, settings: Settings, extraction_id: str, index: int) -> FeaturePage:
    """Everything about one latent. Raises NotFound, Conflict `extraction_not_ready`, `TornFile`."""
    extraction = ready_extraction(session, extraction_id)
    row = get_feature(session, extraction_id, index)
    page = open_examples(settings, extraction_id).page(index)
    pieces = open_pieces(settings, extraction)
    columns = page.columns
    edges, counts = histogram_edges(
        int(columns["histogram_exponent"]), float(columns["maximum"]), columns["histogram"]
    )
    examples = examples_out(settings, extraction, page, pieces)
    return FeaturePage(
        extraction_id=extraction_id,
        sae_id=extraction.sae_id,
        row=FeatureRow.model_validate(row),
        count=int(columns["count"]),
        n_tokens=extraction.n_tokens or 0,
        histogram=Histogram(edges=edges, counts=counts),
        quantiles=columns["quantiles"].tolist(),
        examples=examples,
        top_logits=_logits(columns, "top", pieces),
        bottom_logits=_logits(columns, "bottom", pieces),
        neighbours=_neighbours(session, extraction_id, columns),
        token_counts=token_counts(examples),
        decoder_norm=float(columns["decoder_norm"]),
    )


@lru_cache(maxsize=8)
def _cached_store(folder: Path, _made: int) -> ExampleStore:
    return ExampleStore(folder)


def open_examples(settings: Settings, extraction_id: str) -> ExampleStore:
    """The examples of a finished extraction; the last few stay open. Raises `TornFile`."""
    folder = extraction_folder(settings, extraction_id)
    try:
        made = folder.stat().st_mtime_ns
    except FileNotFoundError:
        made = 0
    return _cached_store(folder, made)


class Pieces:
    """Token ids as readable text; ids in angle brackets when the model, and with it the tokenizer, is gone."""

    def __init__(self, tokenizer: ModelTokenizer | None) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, str] = {}

    def __getitem__(self, id: int) -> str:
        if id not in self._known:
            self._known[id] = self._tokenizer.text_of(id) if self._tokenizer is not None else f"‹{id}›"
        return self._known[id]


@lru_cache(maxsize=4)
def _cached_pieces(tokenizer: ModelTokenizer | None) -> Pieces:
    return Pieces(tokenizer)


def open_pieces(settings: Settings, extraction: Extraction) -> Pieces:
    """The texts of tokens, by the tokenizer of the SAE's model."""
    try:
        folder = model_folder(settings, extraction.sae.model_id) if extraction.sae.model_id else None
        return _cached_pieces(open_tokenizer_folder(folder) if folder is not None else None)
    except StudioError:
        return _cached_pieces(None)


def examples_out(
    settings: Settings, extraction: Extraction, page: LatentPage, pieces: Pieces
) -> list[Example]:
    """A latent's examples with their tokens as text and where in the data set they come from."""
    sources = _sources(settings, extraction, page)
    out: list[Example] = []
    for number, (ids, activations) in enumerate(page.windows()):
        listed = ids.tolist()
        row, offset = sources[number]
        out.append(
            Example(
                group=GROUPS[int(page.group[number])],
                sequence=int(page.sequence[number]),
                position=int(page.position[number]),
                strongest=float(page.strongest[number]),
                window_start=int(page.window_start[number]),
                token_ids=listed,
                tokens=[pieces[id] for id in listed],
                activations=activations.tolist(),
                row=row,
                offset=offset,
            )
        )
    return out


def _sources(
    settings: Settings, extraction: Extraction, page: LatentPage
) -> list[tuple[int | None, int | None]]:
    unknown: list[tuple[int | None, int | None]] = [(None, None)] * len(page)
    if extraction.tokenization_id is None:
        return unknown
    try:
        tokens = open_tokens(settings, extraction.tokenization_id)
    except (StoreError, OSError):
        return unknown  # the examples stand on their own; only their place in the data set is lost
    found: list[tuple[int | None, int | None]] = []
    for sequence in page.sequence.tolist():
        source = tokens.sources(sequence, sequence + 1)
        found.append((int(source.row[0]), int(source.offset[0])))
    return found


def _logits(columns: dict[str, Any], side: str, pieces: Pieces) -> list[TokenLogit]:
    ids, values = columns[f"{side}_ids"].tolist(), columns[f"{side}_values"].tolist()
    return [TokenLogit(id=id, token=pieces[id], value=value) for id, value in zip(ids, values, strict=True)]


def _neighbours(session: Session, extraction_id: str, columns: dict[str, Any]) -> list[Neighbour]:
    ids, cosines = columns["neighbour_ids"].tolist(), columns["neighbour_cosines"].tolist()
    rows = session.scalars(
        select(Feature).where(Feature.extraction_id == extraction_id, Feature.index.in_(ids))
    )
    by_index = {row.index: row for row in rows}
    return [
        Neighbour(
            index=id,
            cosine=cosine,
            label=by_index[id].label,
            frequency=by_index[id].frequency,
            max_activation=by_index[id].max_activation,
        )
        for id, cosine in zip(ids, cosines, strict=True)
        if id in by_index
    ]


def token_counts(examples: list[Example]) -> list[TokenCount]:
    """The strongest tokens of these examples, the most frequent first."""
    counts: dict[str, TokenCount] = {}
    for example in examples:
        token = example.tokens[example.position - example.window_start]
        seen = counts.setdefault(token, TokenCount(token=token, count=0, max_activation=0.0))
        seen.count += 1
        seen.max_activation = max(seen.max_activation, example.strongest)
    return sorted(counts.values(), key=lambda c: (-c.count, -c.max_activation))
