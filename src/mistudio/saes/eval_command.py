"""`mistudio eval`: measure SAEs in folders without server or database, or those of the app, whose results are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mistudio.console import console_options, open_console
from mistudio.engine.evaluation.settings import EvaluationSettings
from mistudio.errors import StudioError

if TYPE_CHECKING:
    from mistudio.engine import Report

COLUMNS = (
    "name",
    "l0",
    "fvu",
    "ce_loss_score",
    "ce_loss_with_sae",
    "ce_loss_without_sae",
    "ce_loss_with_ablation",
    "kl_div_with_sae",
    "dead_fraction",
)
_MORE = {
    "absorption": ("absorption_full", "absorption_fraction"),
    "probing": ("sparse_probing_top_1", "sparse_probing_top_5"),
}
_FIELDS = EvaluationSettings.model_fields


def evaluate_command(
    saes: Annotated[
        list[str],
        typer.Argument(
            help="Folders or files of SAEs in any format that is read; or SAEs of the app, by id or name."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="For folders: the model's folder, GGUF file or hub id."),
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(help="Text file to measure on; may be repeated.", exists=True, dir_okay=False),
    ] = None,
    tokenization: Annotated[
        str | None,
        typer.Option(help="Tokens of the app to measure on (tk_…). Default: those of the training."),
    ] = None,
    hook: Annotated[
        str | None,
        typer.Option(help="Where to measure SAEs that do not say it, e.g. blocks.6.hook_resid_post."),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help=_FIELDS["tokens"].description)] = _FIELDS[
        "tokens"
    ].default,
    spliced: Annotated[int, typer.Option(min=0, help=_FIELDS["spliced_tokens"].description)] = _FIELDS[
        "spliced_tokens"
    ].default,
    absorption: Annotated[bool, typer.Option("--absorption", help=_FIELDS["absorption"].description)] = False,
    probing: Annotated[bool, typer.Option("--probing", help=_FIELDS["probing"].description)] = False,
    context: Annotated[int, typer.Option(min=2, help="For text: tokens in a sequence.")] = 128,
    batch_size: Annotated[
        int, typer.Option(min=1, max=512, help=_FIELDS["batch_size"].description)
    ] = _FIELDS["batch_size"].default,
    device: Annotated[str, typer.Option(help="For folders: auto, cpu, cuda or cuda:N.")] = "auto",
    pareto: Annotated[
        Path | None, typer.Option(help="Also draw L0 against CE recovered into this SVG file.")
    ] = None,
) -> None:
    """Measure SAEs with their model: reconstruction, sparsity, and the model's loss with each spliced in."""
    settings = EvaluationSettings(
        tokens=tokens,
        spliced_tokens=spliced,
        absorption=absorption,
        probing=probing,
        batch_size=batch_size,
    )
    paths = [Path(sae).expanduser() for sae in saes]
    there = [path.exists() for path in paths]
    if all(there):
        if model is None or not text or tokenization is not None:
            raise StudioError(
                "evaluation_needs_model_and_text",
                "SAEs in folders are measured with --model and --text.",
                hint="Give both, and no --tokenization; or import the SAEs into the app.",
            )
        reports = _measure_folders(paths, model, text, hook, context, device, settings)
    elif any(there):
        missing = ", ".join(sae for sae, found in zip(saes, there, strict=True) if not found)
        raise StudioError(
            "evaluation_of_mixed_saes",
            f"There is no file or folder {missing}.",
            hint="Give folders only, or SAEs of the app only.",
        )
    else:
        if text or model is not None or hook is not None:
            raise StudioError(
                "evaluation_needs_folders",
                f"There is no file or folder {saes[0]}, and SAEs of the app are measured with their own model.",
                hint="Leave out --model, --text and --hook, or give a folder.",
            )
        reports = _measure_registered(saes, tokenization, settings)
    if pareto is not None:
        from mistudio.engine import pareto_svg
        from mistudio.store import atomic_file

        with atomic_file(pareto) as file:
            file.write(pareto_svg(reports, title="L0 against CE recovered").encode())
    _show(reports, settings)


def _measure_folders(
    paths: list[Path],
    model: str,
    texts: list[Path],
    hook: str | None,
    context: int,
    device: str,
    settings: EvaluationSettings,
) -> list[Report]:
    from mistudio.engine import evaluate, pack_texts
    from mistudio.lm import load_language_model
    from mistudio.sae import load_sae

    language_model = load_language_model(model, device=device)
    saes = {
        name: load_sae(path, device=str(language_model.device))
        for name, path in zip(_names(paths), paths, strict=True)
    }
    most = max(settings.tokens, settings.spliced_tokens)
    read = (path.read_text("utf-8", errors="replace") for path in texts)
    sequences = pack_texts(language_model.tokenizer, read, context=context, n_tokens=most)
    return list(evaluate(saes, language_model, sequences, hook=hook, settings=settings).values())


def _names(paths: list[Path]) -> list[str]:
    """The last part of each path, or all of it where that is not enough to tell them apart."""
    last = [path.resolve().name for path in paths]
    return last if len(set(last)) == len(last) else [str(path) for path in paths]


def _measure_registered(
    keys: list[str], tokenization: str | None, settings: EvaluationSettings
) -> list[Report]:
    from mistudio.models.names import find_row
    from mistudio.saes import evaluation
    from mistudio.saes.schemas import EvaluationCreate
    from mistudio.saes.tables import Sae

    with open_console() as console:
        with console.session() as session:
            ids = [find_row(session, Sae, key, "sae").id for key in keys]
            wanted = EvaluationCreate(tokenization_id=tokenization, **settings.model_dump())
            _, job = evaluation.add_evaluation(session, ids, wanted)
            job_id = job.id
        console.run(job_id)
        found = [evaluation.read_evaluation(console.settings, sae_id) for sae_id in dict.fromkeys(ids)]
    return [record.report for record in found if record is not None]


def _show(reports: list[Report], settings: EvaluationSettings) -> None:
    from mistudio.console import Console
    from mistudio.db import Database

    console = Console(console_options.load(), Database("sqlite://"), as_json=console_options.as_json)
    if console.as_json:
        console.emit([report.as_dict() for report in reports])
        return
    more = [name for part, names in _MORE.items() if getattr(settings, part) for name in names]
    rows: list[dict[str, Any]] = [{"name": report.name, **report.metrics} for report in reports]
    console.emit(rows, table=[*COLUMNS, *more])
    for note in dict.fromkeys(note for report in reports for note in report.notes):
        console.say(note)
