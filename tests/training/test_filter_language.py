"""The filter language: whatever is rendered parses to the same tree, and whatever is typed parses or says where not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio.training.filter_language import (
    OPERATORS,
    And,
    Filter,
    FilterError,
    Not,
    Or,
    Term,
    Text,
    both,
    parse,
    render,
)

_texts = st.text(min_size=1, max_size=12)
_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,8}", fullmatch=True)
_terms = st.builds(
    Term, _names, st.sampled_from(OPERATORS), st.lists(_texts, min_size=1, max_size=3).map(tuple)
)


def _several(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    parts = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.builds(Not, inner) | st.builds(And, parts) | st.builds(Or, parts)


trees = st.recursive(st.builds(Text, _texts) | _terms, _several, max_leaves=8)


@given(trees)
def test_what_is_rendered_parses_to_the_same(tree: Filter) -> None:
    assert parse(render(tree)) == tree


@given(st.text(alphabet='ab1.:=<>!~()"\\- ,OR\n', max_size=40) | st.text(max_size=40))
def test_anything_typed_parses_or_says_where_not(text: str) -> None:
    try:
        tree = parse(text)
    except FilterError as refused:
        assert 0 <= refused.start <= refused.end <= len(text)
        assert refused.fields["filter.start"] == str(refused.start)
    else:
        assert tree == And(()) or parse(render(tree)) == tree


def test_the_language() -> None:
    assert parse("  ") == And(())
    assert parse("k=2") == Term("k", "=", ("2",))
    assert parse('d_sae >= 8192 layer:6,7 name~"a b"') == And(
        (Term("d_sae", ">=", ("8192",)), Term("layer", ":", ("6", "7")), Term("name", "~", ("a b",)))
    )
    # Side by side binds tighter than OR; ORANGE is a word.
    assert parse("a b OR -c ORANGE") == Or(
        (And((Text("a"), Text("b"))), And((Not(Text("c")), Text("ORANGE"))))
    )
    assert parse("-(a OR tag:x)") == Not(Or((Text("a"), Term("tag", ":", ("x",)))))
    assert parse(both("a OR b", "c")) == And((Or((Text("a"), Text("b"))), Text("c")))


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("k>=", 0, 3),
        ("a (b", 2, 3),
        ("a) b", 1, 2),
        ('x "open', 2, 7),
        ("a OR", 2, 4),
        ("fvu<1 -", 6, 7),
        ("()", 0, 2),
    ],
)
def test_errors_point_at_the_place(text: str, start: int, end: int) -> None:
    with pytest.raises(FilterError) as refused:
        parse(text)
    assert (refused.value.start, refused.value.end) == (start, end)
