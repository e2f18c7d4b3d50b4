"""What the job `datasets.tokenize` does."""

from __future__ import annotations

from typing import Any

from mistudio.datasets.library import dataset_folder
from mistudio.datasets.tables import Tokenization
from mistudio.datasets.text_store import TextStore
from mistudio.datasets.tokenization_schemas import TokenizationSettings, TokenizeParams
from mistudio.datasets.tokenizations import get_tokenization
from mistudio.datasets.tokenize import open_tokens, tokenization_folder, tokenize_texts
from mistudio.errors import StudioError
from mistudio.jobs import JobCancelled, JobContext
from mistudio.models.library import open_tokenizer
from mistudio.models.subjects import announce_changed, working_for
from mistudio.store import delete_folder, folder_bytes, is_finished


def tokenize_dataset(context: JobContext, params: TokenizeParams) -> dict[str, Any]:
    """Tokenize, going on where an earlier attempt was killed."""
    with context.database.reading() as session:
        row = get_tokenization(session, params.tokenization_id)
        settings = TokenizationSettings.model_validate(row.settings)
        model, dataset = row.model, row.dataset
        model_id, model_name, vocab_size = model.id, model.name, model.vocab_size or 0
        dataset_id, dataset_name = dataset.id, dataset.name
        column = row.text_column or dataset.text_column or "text"
    folder = tokenization_folder(context.settings, params.tokenization_id)
    texts = TextStore(dataset_folder(context.settings, dataset_id))
    if column not in texts.schema.names:
        raise StudioError(
            "no_text_column",
            f"{dataset_name} has no column “{column}” any more.",
            hint="Compose it again, or make a tokenization of another column.",
        )
    n_rows = min(texts.n_rows, settings.max_rows or texts.n_rows)

    def progress(rows: int, tokens: int) -> None:
        if settings.max_tokens is not None:
            context.progress(tokens, settings.max_tokens, "tokens", "Tokenize")
        else:
            context.progress(min(rows, n_rows), n_rows, "rows", "Tokenize")

    with working_for(context, Tokenization, params.tokenization_id, folder):
        if is_finished(folder):  # by an attempt that died between its last two steps
            delete_folder(context.data_dir, folder)
        try:
            statistics = tokenize_texts(
                texts,
                column,
                open_tokenizer(context.settings, model_id),
                settings,
                folder,
                vocab_size=vocab_size,
                name=model_name,
                progress=progress,
            )
        except (StudioError, JobCancelled):
            delete_folder(context.data_dir, folder)
            raise
        store = open_tokens(context.settings, params.tokenization_id)
        with context.database.session() as session:
            tokenization = get_tokenization(session, params.tokenization_id)
            tokenization.n_sequences, tokenization.n_tokens = store.n_sequences, store.n_tokens
            tokenization.bytes = folder_bytes(folder)
            tokenization.statistics = statistics.model_dump()
    announce_changed(context, "tokenizations", params.tokenization_id)
    announce_changed(context, "datasets", dataset_id)
    return {"sequences": store.n_sequences, "tokens": store.n_tokens}
