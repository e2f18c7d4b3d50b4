"""Texts to ids by looking words up: the ids of the `tokenizers` library itself, for tokenizers of many kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from mistudio.datasets import encoding
from mistudio.datasets.encoding import PartEncoder, TextEncoder, open_encoder
from mistudio.datasets.word_splits import safe_cuts
from mistudio.models.tokenizer import ModelTokenizer

CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPACES = [" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u2003", "\x1c", "\u200b"]
WORDS = ["w", ".x", "_y", "(", "):", "    ", "word", "Word", "it's", "IT'S", "12345", "x1", "...", "-"]
WIDE = ["é", "e\u0301", "\u0301", "日本語", "🙂"]
SPECIAL = ["<s>", "</s>", "<mask>", "a<s>b"]
TEXTS = st.lists(
    st.one_of(
        st.text(alphabet=st.characters(codec="utf-8"), max_size=30),
        st.lists(st.sampled_from(SPACES + WORDS + WIDE + SPECIAL), max_size=20).map("".join),
    ),
    max_size=6,
)


def _byte_level(kind: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel
    steps: dict[str, list[Any]] = {
        "gpt2": [level(add_prefix_space=False)],
        "prefix": [level(add_prefix_space=True)],
        "digits": [pre_tokenizers.Digits(individual_digits=True), level(add_prefix_space=False)],
        "cl100k": [
            pre_tokenizers.Split(Regex(CL100K), "isolated"),
            level(add_prefix_space=False, use_regex=False),
        ],
        "nfc": [
            pre_tokenizers.Split(Regex(GPT2), "isolated"),
            level(add_prefix_space=False, use_regex=False),
        ],
        "spaces": [level(add_prefix_space=False)],
    }
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps[kind])
    tokenizer.decoder = decoders.ByteLevel()
    if kind == "nfc":
        tokenizer.normalizer = normalizers.NFC()
    text = Path(__file__).read_text("utf-8") * 2
    tokenizer.train_from_iterator(
        [text, text.upper()],
        trainers.BpeTrainer(
            vocab_size=700,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    if kind == "spaces":  # as GPT-NeoX has them
        tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in range(8, 1, -1)])
        tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    return tokenizer


def _sentence_piece(kind: str) -> Tokenizer:
    """As Llama 2 (`llama`), Gemma (`gemma`) and newer Llama 2 and Mistral files (`metaspace`) have them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    text = Path(__file__).read_text("utf-8").replace("</s>", "") * 2
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator([text], trainers.BpeTrainer(vocab_size=900, special_tokens=tokens))
    specification = json.loads(tokenizer.to_str())
    specification["added_tokens"] = specification["added_tokens"][:3]
    steps: list[Any] = [normalizers.Prepend("▁")] if kind == "llama" else []
    plain = Tokenizer.from_str(json.dumps(specification))
    plain.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    if kind == "metaspace":
        plain.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        plain.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
        plain.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return plain


KINDS = ["gpt2", "prefix", "digits", "cl100k", "nfc", "spaces", "llama", "gemma", "metaspace"]


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelTokenizer:
    folder = tmp_path_factory.mktemp(request.param)
    make = _sentence_piece if request.param in ("llama", "gemma", "metaspace") else _byte_level
    make(request.param).save(str(folder / "tokenizer.json"))
    return ModelTokenizer(folder)


def encoders(tokenizer: ModelTokenizer) -> tuple[PartEncoder, TextEncoder]:
    dtype = np.dtype(np.uint16)
    fast, plain = open_encoder(tokenizer, dtype), open_encoder(tokenizer, dtype, remember=False)
    assert isinstance(fast, PartEncoder) and isinstance(plain, TextEncoder)
    return fast, plain


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(batches=st.lists(TEXTS, max_size=3))
def test_looking_words_up_changes_no_id_and_no_place(
    tokenizer: ModelTokenizer, batches: list[list[str]]
) -> None:
    fast, plain = encoders(tokenizer)
    for texts in batches:
        ours = fast.encode(pa.array(texts, pa.large_string()))
        theirs = plain.encode(pa.array(texts, pa.large_string()))
        expected = [encoding.ids for encoding in tokenizer.encode(texts)]
        assert ours.ids.tolist() == [id for ids in expected for id in ids]
        assert (
            ours.bounds.tolist() == theirs.bounds.tolist() == [0, *np.cumsum([len(ids) for ids in expected])]
        )
        every = np.arange(len(ours.ids))
        assert ours.places(every).tolist() == theirs.places(every).tolist()


def test_what_is_remembered_is_bounded_and_forgetting_changes_nothing(
    tokenizer: ModelTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "MAX_PARTS", 50)
    fast, _ = encoders(tokenizer)
    for start in range(0, 400, 20):
        texts = [f"row {i} of {i * i} words and  more\n\twords" for i in range(start, start + 20)]
        ours = fast.encode(pa.array(texts, pa.large_string()))
        assert ours.ids.tolist() == [id for e in tokenizer.encode(texts) for id in e.ids]
        assert len(fast._known) < 50 + 200


def test_slices_of_arrow_arrays_are_read_where_they_lie(tokenizer: ModelTokenizer) -> None:
    fast, _ = encoders(tokenizer)
    texts = ["not this one", "but this", "", "and this  one", "not that"]
    ours = fast.encode(pa.array(texts, pa.large_string()).slice(1, 3))
    assert ours.ids.tolist() == [id for e in tokenizer.encode(texts[1:4]) for id in e.ids]
    assert len(ours.bounds) == 4


def test_special_tokens_in_the_text_are_parsed_or_not(tokenizer: ModelTokenizer) -> None:
    dtype = np.dtype(np.uint16)
    texts = pa.array(["one </s> two"], pa.large_string())
    end = tokenizer._tokenizer.token_to_id("</s>")
    parsed = open_encoder(tokenizer, dtype).encode(texts).ids
    for remember in (True, False):
        as_text = open_encoder(tokenizer, dtype, special_in_text=False, remember=remember).encode(texts).ids
        assert end in parsed and end not in as_text
        assert tokenizer.decode(as_text).strip() == "one </s> two"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}}, "strips"),
        ({"normalizer": {"type": "Prepend", "prepend": "▁"}}, "prepends to each word"),
        ({"pre_tokenizer": None}, "one piece"),
        ({"pre_tokenizer": {"type": "ByteLevel", "use_regex": False}}, "no words"),
        (
            {
                "pre_tokenizer": {
                    "type": "Split",
                    "pattern": {"Regex": r"\w+ \w+|\s+"},
                    "behavior": "Isolated",
                    "invert": False,
                }
            },
            "a pattern over spaces",
        ),
        (
            {
                "pre_tokenizer": {
                    "type": "Split",
                    "pattern": {"Regex": r"\p{L}+"},
                    "behavior": "Isolated",
                    "invert": False,
                }
            },
            "spaces left unmatched",
        ),
        ({"added_tokens": [{"content": "two words"}]}, "a token over a space"),
        ({"added_tokens": [{"content": "<m>", "rstrip": True}]}, "a token that swallows spaces"),
        ({"added_tokens": [{"content": "<m>", "single_word": True}]}, "a token that looks around"),
        ({"model": {"type": "BPE", "dropout": 0.1}}, "chance"),
    ],
)
def test_tokenizers_that_look_across_words_are_left_alone(change: dict[str, Any], why: str) -> None:
    plain = json.loads(_byte_level("gpt2").to_str())
    assert safe_cuts(plain) is not None
    assert safe_cuts(plain | change) is None, why
