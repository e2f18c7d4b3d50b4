"""Words out of tokens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mistudio.labels.words import BOUNDARY, passage, stem, token_texts
from mistudio.models.tokenizer import ModelTokenizer, open_tokenizer_folder
from tests.labels.passages import fires


@pytest.fixture(scope="module")
def tokenizer(tiny_llama_folder: Path) -> ModelTokenizer:
    return open_tokenizer_folder(tiny_llama_folder)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs", "Co", "Cc"]), max_size=60))
def test_token_texts_join_to_the_text(tokenizer: ModelTokenizer, text: str) -> None:
    ids = tokenizer.encode([text])[0].ids
    assert "".join(token_texts(tokenizer, ids)) == text


def test_special_tokens_are_boundaries_and_no_words(tokenizer: ModelTokenizer) -> None:
    ids = [tokenizer.bos_id, *tokenizer.encode([" one two"])[0].ids]
    texts = token_texts(tokenizer, ids)  # type: ignore[arg-type]
    assert texts[0] == BOUNDARY
    words = passage(texts, [0.0] * len(texts)).words
    assert [word.text for word in words][:2] == [BOUNDARY, "one"]


def test_pieces_become_whole_words_with_the_strongest_activation() -> None:
    found = passage([" the", " rati", "fic", "ation", ",", " sir"], [0, 0.2, 0.9, 0.5, 0, 0])
    assert [word.text for word in found.words] == ["the", "ratification", ","]
    assert found.words[1].activation == 0.9 and found.words[1].piece == "fic"
    assert found.strongest == 1 and found.firing == (1,)


def test_half_words_at_the_ends_are_left_out_unless_they_fire() -> None:
    assert [w.text for w in passage(["ation", " of", " go"], [0, 0, 0]).words] == ["of"]
    assert [w.text for w in passage(["ation", " of", " go"], [1, 0, 1]).words] == ["ation", "of", "go"]


@given(
    pieces=st.lists(st.text(alphabet="ab ,\n'", min_size=1, max_size=4), min_size=1, max_size=30),
    data=st.data(),
)
def test_no_activation_is_lost_and_none_is_invented(pieces: list[str], data: st.DataObject) -> None:
    activations = data.draw(
        st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=len(pieces), max_size=len(pieces))
    )
    found = passage(pieces, activations)
    shown = [a for piece, a in zip(pieces, activations, strict=True) if re.search(r"[^ ]", piece)]
    assert max((w.activation for w in found.words), default=0) == max(shown, default=0)
    for word in found.words:
        assert word.activation in (0.0, 0.5, 2.0)
        assert word.activation > 0 or word.piece == ""


def test_looks_of_words() -> None:
    found = fires("said . The U.S. met Brazil in 1889 and NATO too")
    names = {w.text: sorted(c) for w, c in zip(found.words, found.classes, strict=True)}
    assert names["The"] == [] and names["Brazil"] == ["name"]
    assert names["1889"] == ["number"] and names["NATO"] == ["capitals"]


@pytest.mark.parametrize(
    ("word", "root"),
    [
        ("wars", "war"),
        ("states", "state"),
        ("treaties", "treaty"),
        ("taxes", "tax"),
        ("nation's", "nation"),
        ("congress", "congress"),
        ("this", "this"),
        ("status", "status"),
        ("gas", "gas"),
    ],
)
def test_stems(word: str, root: str) -> None:
    assert stem(word) == root
