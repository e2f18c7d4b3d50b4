"""The web's tokenizer against `transformers`' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.errors import StudioError
from mistudio.models.tokenizer import ModelTokenizer, open_tokenizer_folder


@pytest.fixture(scope="module")
def ours(tiny_llama_folder: Path) -> ModelTokenizer:
    return ModelTokenizer(tiny_llama_folder)


@pytest.fixture(scope="module")
def theirs(tiny_llama_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_llama_folder)


def test_special_tokens_are_those_of_the_configuration(ours: ModelTokenizer, theirs: Any) -> None:
    assert (ours.bos_id, ours.eos_id, ours.pad_id) == (
        theirs.bos_token_id,
        theirs.eos_token_id,
        theirs.pad_token_id,
    )
    assert ours.special_ids == set(theirs.all_special_ids)
    assert ours.adds_bos == (theirs("a").input_ids[0] == theirs.bos_token_id)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=80))
def test_tokens_are_transformers_tokens(ours: ModelTokenizer, theirs: Any, text: str) -> None:
    tokens = ours.tokenize(text)
    assert [token.id for token in tokens] == theirs(text).input_ids
    assert all(0 <= token.start <= token.end <= len(text) for token in tokens)
    plain = [token for token in tokens if not token.special and "�" not in token.text]
    assert all(token.text == text[token.start : token.end] for token in plain)


@settings(max_examples=50, deadline=None)
@given(text=st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=80))
def test_the_texts_of_tokens_join_to_the_text(ours: ModelTokenizer, text: str) -> None:
    ids = [token.id for token in ours.tokenize(text, special_tokens=False)]
    assert "".join(token.text for token in ours.tokens_of(ids)) == text
    assert ours.decode(ids) == text


def test_half_a_character_is_shown_as_such(ours: ModelTokenizer) -> None:
    tokens = ours.tokenize("🦊", special_tokens=False)
    assert len(tokens) > 1
    assert {token.text for token in tokens} == {"�"}


def test_a_saved_truncation_does_not_cut_texts(tiny_llama_folder: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    cutting = Tokenizer.from_file(str(tiny_llama_folder / "tokenizer.json"))
    cutting.enable_truncation(4)
    cutting.enable_padding(length=9)
    cutting.save(str(tmp_path / "tokenizer.json"))
    tokenizer = ModelTokenizer(tmp_path)
    assert len(tokenizer.encode(["import os " * 50])[0].ids) > 20
    assert len(tokenizer.encode(["a"])[0].ids) == 1


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="no readable tokenizer"):
        open_tokenizer_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(StudioError):
        open_tokenizer_folder(tmp_path)


def test_sentencepiece_tokens_keep_their_spaces(tmp_path: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    pieces = [("<unk>", 0.0), ("▁the", -1.0), ("▁", -2.0), ("cat", -3.0), ("<0xE2>", -9.0), ("<0x41>", -9.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken("<unk>", special=True)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = ModelTokenizer(tmp_path)
    assert [loaded.text_of(i) for i in range(6)] == ["<unk>", " the", " ", "cat", "�", "A"]
