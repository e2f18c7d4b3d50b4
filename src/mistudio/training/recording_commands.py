"""The commands of `mistudio train …` for what trainings recorded of themselves."""

from __future__ import annotations

from typing import Annotated

import typer

from mistudio.console import open_console
from mistudio.training import recordings
from mistudio.training.recordings import LooksAsked

TrainingId = Annotated[str, typer.Argument(metavar="TRAINING", help="Training (tr_…).")]


def histograms(
    training: TrainingId,
    name: Annotated[
        list[str] | None, typer.Option(help="Which of them; may be repeated. Default: all.")
    ] = None,
) -> None:
    """Print the newest histograms of its latents; with --json all that were recorded."""
    with open_console() as console:
        with console.reading() as session:
            found = recordings.histograms(session, console.settings, training, name)
        if console.as_json or not found.steps:
            console.emit(found)
            return
        for one in found.histograms:
            counts = one.counts[-1]
            rows = [
                {"from": f"{one.edges[i]:.3g}", "to": f"{one.edges[i + 1]:.3g}", "latents": count}
                for i, count in enumerate(counts)
                if count
            ]
            if one.none_words and one.none[-1]:
                rows.insert(0, {"from": one.none_words, "to": "", "latents": one.none[-1]})
            title = f"{one.title} after step {found.steps[-1]:,}"
            console.emit(rows, table=["from", "to", "latents"], title=title)


def looks(
    training: TrainingId,
    step: Annotated[
        int | None, typer.Option(min=0, help="The look of this step. Default: the newest.")
    ] = None,
    ask: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Have this latent in every look from now on; may be repeated."),
    ] = None,
) -> None:
    """Print what a few latents fire on, as the dictionary is now."""
    with open_console() as console:
        with console.reading() as session:
            if ask is not None:
                recordings.ask_looks(session, console.settings, training, LooksAsked(latents=ask))
            found = recordings.looks(session, console.settings, training, step)
        if console.as_json or found.look is None:
            console.emit(found)
            return
        rows = [
            {
                "latent": one.latent,
                "frequency": f"{one.frequency:.2g}",
                "maximum": f"{one.maximum:.3g}",
                "strongest": "".join(example.tokens[max(0, example.mark - 8) : example.mark])
                + f"›{example.tokens[example.mark]}‹"
                + "".join(example.tokens[example.mark + 1 : example.mark + 5]),
            }
            for one in found.look.latents
            for example in one.examples[:1]
        ]
        title = f"Latents after step {found.look.step:,}, on {found.look.sample_tokens:,} tokens"
        console.emit(rows, table=["latent", "frequency", "maximum", "strongest"], title=title)


def environment(training: TrainingId) -> None:
    """Print what its attempts ran in: packages, hardware, threads, seeds, settings."""
    with open_console() as console:
        with console.reading() as session:
            found = recordings.environments(session, console.settings, training)
        if console.as_json:
            console.emit(found)
            return
        for one in reversed(found):
            shown = one.model_dump(mode="json")
            shown["packages"] = ", ".join(f"{name} {version}" for name, version in one.packages.items())
            console.emit(shown, title=f"Attempt {one.attempt}" if one.attempt else None)
