"""`mistudio features …`"""

from __future__ import annotations

from typing import Annotated

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.console import open_console
from mistudio.errors import NotFound
from mistudio.features import browse, library, pages
from mistudio.features.schemas import Density, ExtractionCreate, ExtractionSettings, FeaturePage, LabelState
from mistudio.features.tables import Extraction
from mistudio.models.carrying import carry_out
from mistudio.models.names import find_row
from mistudio.saes.tables import Sae
from mistudio.web import PageRequest

app = typer.Typer(no_args_is_help=True, help="Features of an SAE: find, list, look at.")

EXTRACTION_COLUMNS = (
    "id",
    "name",
    "sae_name",
    "n_tokens",
    "summary.l0",
    "summary.n_dead",
    "labelled",
    "job.state",
)
FEATURE_COLUMNS = ("index", "frequency", "max_activation", "label", "label_source", "label_score", "tokens")


@app.command("extract")
def extract(
    sae: Annotated[str, typer.Argument(help="The SAE (id or name).")],
    tokenization: Annotated[str | None, typer.Option(help="Tokenization to read (tk_…).")] = None,
    cache: Annotated[str | None, typer.Option(help="Activation cache to read (ac_…).")] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run the model even if a cache fits.")] = False,
    tokens: Annotated[int | None, typer.Option(min=1, help="How many tokens to read.")] = None,
    folded: Annotated[
        bool, typer.Option("--folded", help="Multiply activations by decoder norms, as SAEDashboard does.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="What to call the extraction.")] = None,
) -> None:
    """Find an SAE's features: one pass over tokens."""
    with open_console() as console:
        with console.session() as session:
            wanted = ExtractionCreate(
                name=name,
                tokenization_id=tokenization,
                cache_id=cache,
                use_cache=not no_cache,
                settings=ExtractionSettings(n_tokens=tokens, decoder_norm="folded" if folded else "raw"),
            )
            sae_id = find_row(session, Sae, sae, "sae").id
            extraction, job = library.create_extraction(session, sae_id, wanted)
            extraction_id, job_id = extraction.id, job.id
        carry_out(
            console,
            job_id,
            lambda session: library.delete_extraction(session, console.settings, extraction_id),
        )
        with console.reading() as session:
            out = library.extractions_out(session, [library.get_extraction(session, extraction_id)])[0]
        console.emit(out, table=[*EXTRACTION_COLUMNS[:-1], "summary.seconds"])


@app.command("list")
def list_features(
    extraction: Annotated[
        str | None,
        typer.Argument(help="Extraction (ex_…) or SAE (its newest). Without one: the extractions."),
    ] = None,
    search: Annotated[
        str | None, typer.Option(help="In labels, notes and top tokens; #123 for a number.")
    ] = None,
    sort: Annotated[
        str, typer.Option(help="E.g. -max_activation, frequency, -label_score, index.")
    ] = "-max_activation",
    label_state: Annotated[
        LabelState | None, typer.Option(help="By whether, or by whom, it is labelled.")
    ] = None,
    density: Annotated[Density | None, typer.Option(help="By how often it fires.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="How many to pass over.")] = 0,
) -> None:
    """List extractions, or the features of one."""
    with open_console() as console, console.reading() as session:
        if extraction is None:
            found = session.scalars(select(Extraction).order_by(Extraction.created_at.desc())).all()
            console.emit(
                library.extractions_out(session, found), table=EXTRACTION_COLUMNS, title="extractions"
            )
            return
        filters = browse.Filters(label_state=label_state, density=density)
        request = PageRequest(limit=limit, offset=offset, q=search, sort=sort)
        page = browse.list_features(session, _find(session, extraction).id, request, filters)
        rows = [
            row.model_dump() | {"tokens": " ".join(f"⟨{token}⟩" for token in row.top_tokens[:5])}
            for row in page.items
        ]
        console.emit(rows, table=FEATURE_COLUMNS, title=f"features (of {page.total:,})")


@app.command("show")
def show(
    extraction: Annotated[str, typer.Argument(help="Extraction (ex_…) or SAE (its newest).")],
    index: Annotated[int, typer.Argument(min=0, help="The latent.")],
    examples: Annotated[int, typer.Option(min=0, help="How many of its examples.")] = 8,
) -> None:
    """Show one feature with its strongest examples."""
    with open_console() as console, console.reading() as session:
        page = pages.feature_page(session, console.settings, _find(session, extraction).id, index)
        if console.as_json:
            console.emit(page)
            return
        console.emit(_readable(page, examples))


def _readable(page: FeaturePage, n: int) -> dict[str, object]:
    shown: dict[str, object] = {
        "feature": page.row.index,
        "label": page.row.label,
        "frequency": page.row.frequency,
        "max": page.row.max_activation,
        "mean": page.row.mean_activation,
        "raises": " ".join(f"⟨{logit.token}⟩" for logit in page.top_logits),
        "lowers": " ".join(f"⟨{logit.token}⟩" for logit in page.bottom_logits),
        "neighbours": ", ".join(f"#{one.index} ({one.cosine:.2f})" for one in page.neighbours[:5]),
    }
    for number, example in enumerate(page.examples[:n], 1):
        at = example.position - example.window_start
        text = (
            "".join(example.tokens[:at])[-60:]
            + f"⟦{example.tokens[at]}⟧"
            + "".join(example.tokens[at + 1 :])[:30]
        )
        shown[f"{example.group} {number}"] = f"{example.strongest:.3g}  {text!r}"
    return shown


def _find(session: Session, key: str) -> Extraction:
    """An extraction by its id, or the newest one of an SAE by the SAE's id or name."""
    found = session.get(Extraction, key)
    if found is not None:
        return found
    sae = find_row(session, Sae, key, "sae")
    newest = (
        select(Extraction).where(Extraction.sae_id == sae.id).order_by(Extraction.created_at.desc()).limit(1)
    )
    extraction = session.scalars(newest).one_or_none()
    if extraction is None:
        raise NotFound("extraction", key)
    return extraction
