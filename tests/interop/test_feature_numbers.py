"""Numbers on a feature's page equal those that SAELens gives in a notebook for the same SAE, model and tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sae_lens import SAE as TheirSAE
from sae_lens import TopKSAE, TopKSAEConfig
from sae_lens.saes.sae import SAEMetadata
from sqlalchemy import select
from transformers import AutoModelForCausalLM

from mistudio.datasets.tokenize import open_tokens
from mistudio.features import library, pages
from mistudio.features.schemas import ExtractionCreate, ExtractionSettings
from mistudio.features.tables import Feature
from mistudio.sae import load_sae
from mistudio.saes.library import add_import, sae_folder
from mistudio.saes.schemas import SaeImport
from tests.models.job_runs import run_here
from tests.training.conftest import kinds, tiny_model, tokens

__all__ = ["kinds", "tiny_model", "tokens"]

HOOK = "blocks.1.hook_resid_post"
D_SAE, K = 64, 6


@pytest.fixture
def their_folder(tmp_path: Path) -> Path:
    """A TopK SAE with decoder directions of different lengths, written by SAELens itself."""
    config = TopKSAEConfig(
        d_in=32, d_sae=D_SAE, k=K, metadata=SAEMetadata(model_name="tiny", hook_name=HOOK, prepend_bos=True)
    )
    sae = TopKSAE(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    sae.save_model(str(tmp_path / "theirs"))
    return tmp_path / "theirs"


def notebook_latents(
    folder: Path, model_folder: Path, token_ids: np.ndarray[Any, Any], special: set[int], folded: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a notebook with transformers and SAELens gives: latents [n, m] and (sequence, position) [n, 2]."""
    theirs = TheirSAE.load_from_disk(str(folder))
    if folded:
        norms = theirs.W_dec.norm(dim=1)
    hf = AutoModelForCausalLM.from_pretrained(model_folder)
    ids = torch.from_numpy(token_ids.astype(np.int64))
    with torch.no_grad():
        states = hf(ids, output_hidden_states=True).hidden_states[2]  # after block 1
        z = theirs.encode(states)
    if folded:
        z = z * norms
    counts = ~torch.isin(ids, torch.tensor(sorted(special)))
    return z[counts].detach(), counts.nonzero()


@pytest.mark.parametrize("decoder_norm", ["raw", "folded"])
def test_the_page_equals_the_notebook(
    settings: Any,
    database: Any,
    tokens: str,
    tiny_model: Any,
    tiny_llama_folder: Path,
    their_folder: Path,
    decoder_norm: Any,
) -> None:
    with database.session() as session:
        row, job = add_import(session, settings, SaeImport(path=str(their_folder)), any_folder=True)
        sae_id = row.id
    run_here(settings, database, job.id)
    with database.session() as session:
        wanted = ExtractionCreate(settings=ExtractionSettings(decoder_norm=decoder_norm, window=16))
        extraction, job = library.create_extraction(session, sae_id, wanted)
    run_here(settings, database, job.id)

    store = open_tokens(settings, tokens)
    token_ids = store.tokens(0, store.n_sequences)
    z, places = notebook_latents(
        their_folder, tiny_llama_folder, token_ids, {0, 1, 2}, decoder_norm == "folded"
    )
    with database.reading() as session:
        rows = session.scalars(select(Feature).order_by(Feature.index)).all()
        assert len(rows) == D_SAE
        n = len(z)
        assert library.get_extraction(session, extraction.id).n_tokens == n
        # A token whose k-th and next latents are equal to the last bit may count for either.
        counts = np.array([r.frequency for r in rows]) * n
        np.testing.assert_allclose(counts, (z > 0).sum(0), atol=1.01)
        np.testing.assert_allclose([r.max_activation for r in rows], z.amax(0), rtol=1e-4, atol=1e-5)
        mean = z.sum(0) / (z > 0).sum(0).clamp_min(1)
        np.testing.assert_allclose([r.mean_activation for r in rows], mean, rtol=1e-2, atol=1e-4)
        W_dec = TheirSAE.load_from_disk(str(their_folder)).W_dec.detach()
        unembedding = AutoModelForCausalLM.from_pretrained(tiny_llama_folder).get_output_embeddings().weight
        for index in range(0, D_SAE, 5):
            page = pages.feature_page(session, settings, extraction.id, index)
            logits = W_dec[index] @ unembedding.detach().T
            values = [logit.value for logit in page.top_logits]
            np.testing.assert_allclose(values, logits.topk(10).values, rtol=1e-3, atol=1e-5)
            for example in page.examples:
                expected = np.zeros(store.context, np.float32)
                here = places[:, 0] == example.sequence
                expected[places[here, 1]] = z[here, index]
                shown = expected[example.window_start : example.window_start + 16]
                np.testing.assert_allclose(example.activations, shown, rtol=1e-3, atol=1e-4)
            tops = [e.strongest for e in page.examples if e.group == "top"]
            by_sequence = torch.zeros(store.n_sequences).scatter_reduce(0, places[:, 0], z[:, index], "amax")
            best = by_sequence.sort(descending=True).values[: len(tops)]
            np.testing.assert_allclose(tops, best, rtol=1e-3, atol=1e-4)


def test_mistudio_in_a_notebook_gives_the_same(
    settings: Any, database: Any, tiny_model: Any, their_folder: Path
) -> None:
    """The imported copy encodes exactly as the folder that it came from."""
    with database.session() as session:
        row, job = add_import(session, settings, SaeImport(path=str(their_folder)), any_folder=True)
        sae_id = row.id
    run_here(settings, database, job.id)
    x = torch.randn(300, 32)
    ours = load_sae(sae_folder(settings, sae_id)).encode(x).dense()
    theirs = TheirSAE.load_from_disk(str(their_folder)).encode(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
