"""The picture of a sweep."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio.engine import EvaluationSettings, Report, pareto_svg
from mistudio.engine.evaluation.pareto import NothingToPlot, Point, frontier

SVG = "{http://www.w3.org/2000/svg}"


def report(name: str, l0: float, score: float, architecture: str = "topk", hook: str = "h") -> Report:
    return Report(
        name=name,
        model="m",
        reads=[hook],
        writes=[hook],
        architecture=architecture,
        d_in=4,
        d_out=4,
        d_sae=8,
        tokens=1,
        spliced_tokens=1,
        metrics={"l0": l0, "ce_loss_score": score},
        histograms={},
        settings=EvaluationSettings(),
    )


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), min_size=1))
def test_the_frontier_is_what_nothing_beats(pairs: list[tuple[int, int]]) -> None:
    points = [Point(x, y, str(i), "") for i, (x, y) in enumerate(pairs)]
    best = frontier(points)
    assert best == sorted(best, key=lambda p: p.x)
    for p in points:
        beaten = any((q.x <= p.x and q.y >= p.y) and (q.x, q.y) != (p.x, p.y) for q in points)
        assert beaten == ((p.x, p.y) not in {(q.x, q.y) for q in best})


def test_a_sweep_is_drawn_whole() -> None:
    sweep = {f"k {k}": report(f"k <{k}>", k, 1 - 1 / k) for k in (8, 16, 32, 64)}
    sweep["other"] = report("jump", 20, 0.5, architecture="jump_relu")
    root = ElementTree.fromstring(pareto_svg(sweep, title="L0 & loss"))
    titles = [element.text for element in root.iter(f"{SVG}title")]
    assert len(titles) == 5 and any("k <16>" in (title or "") for title in titles)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"L0 & loss", "topk", "jump_relu", "CE recovered", "L0 (latents per token)"} <= set(texts)
    line = next(root.iter(f"{SVG}polyline")).attrib["points"].split()
    assert len(line) == 4, "the point below the others is not on the frontier"
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for pair in line:
        x, y = map(float, pair.split(","))
        assert 0 < x < width and 0 < y < height


def test_one_point_and_nothing() -> None:
    ElementTree.fromstring(pareto_svg([report("one", 0.0, 1.0)]))
    several = pareto_svg([report("a", 3, 0.1, hook="h1"), report("b", 4, 0.2, hook="h2")])
    assert "topk, h1" in several and "topk, h2" in several
    with pytest.raises(NothingToPlot, match="l0 and ce_loss_score"):
        pareto_svg([])
