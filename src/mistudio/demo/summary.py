"""What the demo reports: the sizes, the time of each stage, how good the SAE is, and what steering did."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field
from rich.console import Console
from rich.table import Table

from mistudio.sae.metric_info import METRICS
from mistudio.steering.schemas import GenerationOut


class TopFeature(BaseModel):
    """A feature worth looking at."""

    index: int
    label: str
    label_score: float = Field(
        description="Balanced accuracy of the label at telling held-out examples from other text."
    )
    frequency: float
    max_activation: float
    top_tokens: list[str]


class Summary(BaseModel):
    """Everything the demo measured. Sizes are bytes, durations seconds."""

    model: dict[str, Any]
    dataset: dict[str, Any]
    tokenization: dict[str, Any]
    activations: dict[str, Any]
    sae: dict[str, Any]
    l0: float
    fvu: float
    dead_fraction: float
    features: dict[str, Any]
    top_features: list[TopFeature]
    steering: GenerationOut
    seconds_per_stage: dict[str, float] = Field(description="Of each stage's job, whenever it ran.")
    reused: list[str] = Field(description="Stages that were finished before this run.")
    seconds: float = Field(description="This run.")


def print_summary(summary: Summary) -> None:
    """The summary as tables on stdout."""
    out = Console(highlight=False)
    sizes = Table(box=None, show_header=False, pad_edge=False, title="What was made", title_justify="left")
    model, dataset, tokens = summary.model, summary.dataset, summary.tokenization
    cache, sae = summary.activations, summary.sae
    for name, text in (
        ("model", f"{model['name']}, {model['parameters']:,} parameters"),
        ("data set", f"{dataset['name']}, {dataset['rows']:,} rows, {_bytes(dataset['bytes'])}"),
        ("tokenization", f"{tokens['tokens']:,} tokens in {tokens['sequences']:,} sequences"),
        ("activations", f"{cache['tokens']:,} tokens at {cache['hook']}, {_bytes(cache['bytes'])}"),
        ("SAE", f"TopK k={sae['k']}, {sae['d_in']} → {sae['d_sae']:,}, {sae['trained_tokens']:,} tokens"),
        ("L0", f"{summary.l0:.1f}   {METRICS['l0'].formula}"),
        ("FVU", f"{summary.fvu:.4f}   {METRICS['fvu'].formula} on held-out tokens"),
        (
            "dead latents",
            f"{summary.dead_fraction:.2%} on held-out tokens; {summary.features['dead']} of all",
        ),
    ):
        sizes.add_row(name, text)
    out.print(sizes)

    stages = Table("stage", "seconds", "", box=None, pad_edge=False, header_style="bold")
    for name, seconds in summary.seconds_per_stage.items():
        stages.add_row(name, f"{seconds:.1f}", "done before" if name in summary.reused else "")
    stages.add_row("this run", f"{summary.seconds:.1f}", "")
    out.print("", stages)

    features = Table("latent", "label", "score", "fires on", "top tokens", box=None, pad_edge=False)
    for feature in summary.top_features:
        features.add_row(
            str(feature.index),
            feature.label,
            f"{feature.label_score:.2f}",
            f"{feature.frequency:.2%}",
            " ".join(repr(token)[1:-1] for token in feature.top_tokens[:6]),
        )
    out.print("", features)

    made = summary.steering
    steered = made.features[0]
    out.print(
        f"\n{steered.mode} {steered.strength:g} × the maximum of latent {steered.index} ({steered.label}) to: "
        f"“{made.request.prompt}”",
        markup=False,
    )
    for side, text in made.outputs.items():
        perplexity = f"  (perplexity {text.perplexity:.1f})" if text.perplexity is not None else ""
        out.print(f"  {side:<10} {text.text.strip()!r}{perplexity}", markup=False)


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"
