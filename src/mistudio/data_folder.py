"""What a notebook shares with the application: dictionaries put into its data folder, and found there.

The server need not run, and may.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistudio.db import Base, Database
from mistudio.db.migrate import upgrade
from mistudio.domains import all_domains, import_tables
from mistudio.errors import StudioError
from mistudio.saes.library import find_sae, register_trained, sae_folder
from mistudio.settings import Settings, load_settings
from mistudio.store import writable_folder

if TYPE_CHECKING:
    from mistudio.engine.sources import ActivationSource
    from mistudio.engine.trained import TrainedSAE
    from mistudio.sae import SAE


def register(
    sae: SAE | TrainedSAE,
    *,
    name: str = "",
    data_dir: str | Path | None = None,
    model: str | None = None,
) -> str:
    """Put a dictionary among the application's SAEs; returns its id (`sa_…`).

    name: how it is listed (made unique by a number when it is taken); by default the run's name.
    data_dir: the application's data folder; by default the one that its settings name. The server may be running.
    model: the application's model that it belongs to, by id or name; by default the one that its metadata names.
    Raises StudioError when the model is not there or its hook point does not fit; SettingsRefused for what is no
    dictionary; NotWritable.
    """
    from mistudio.engine.trained import TrainedSAE, dictionary_of

    trained = sae if isinstance(sae, TrainedSAE) else None
    dictionary = dictionary_of(sae)
    with _application(data_dir) as (settings, database), database.session() as session:
        row = register_trained(
            session,
            settings,
            dictionary,
            name=name or (trained.name if trained is not None else "SAE"),
            model=model,
            metrics=trained.metrics if trained is not None else {},
            tokens=trained.tokens if trained is not None else None,
            held_out_tokens=trained.held_out_tokens if trained is not None else None,
        )
        return row.id


@contextmanager
def _application(data_dir: str | Path | None) -> Generator[tuple[Settings, Database]]:
    """The application's settings and its database, at the newest schema."""
    settings = load_settings(flags={} if data_dir is None else {"data_dir": str(data_dir)}).settings
    import_tables(all_domains())
    writable_folder(settings.data_dir)
    database = Database(settings.effective_database_url)
    try:
        upgrade(database, Base.metadata)
        yield settings, database
    finally:
        database.dispose()


def folder_of_sae(name: str, data_dir: str | Path) -> Path:
    """Where the application keeps the weights of the SAE of this id or name."""
    if not Path(data_dir).is_dir():
        raise StudioError("data_folder_missing", f"There is no data folder {data_dir}.", status=404)
    with _application(data_dir) as (settings, database), database.reading() as session:
        return sae_folder(settings, find_sae(session, name).id)


def open_activations(
    tokenizations: Mapping[str, float],
    *,
    hooks: Sequence[str],
    cache: str | None = None,
    held_out_tokens: int = 16_384,
    harvest: Mapping[str, Any] | None = None,
    spliced: bool = False,
    data_dir: str | Path | None = None,
) -> ActivationSource:
    """What the application trains on: activations of its tokenizations, as `train` takes them.

    tokenizations: ids (`tk_…`) of one model, each with its weight in the mixture; their model runs alongside.
    cache: read these stored activations (`ac_…`) instead. harvest: which activations count, see
    `engine.HarvestSettings`. spliced: load the model with a cache too, for `evaluate_every`.
    data_dir: the application's data folder; by default the one that its settings name.
    Raises StudioError for what the data folder lacks or what does not fit together.
    """
    from mistudio.activations.schemas import HarvestSettings
    from mistudio.sae.config import TrainerConfig
    from mistudio.training import batches
    from mistudio.training.inputs import check_inputs
    from mistudio.training.schemas import SourceChoice, TrainingCreate

    wanted = TrainingCreate(
        sources=[SourceChoice(tokenization_id=id, weight=weight) for id, weight in tokenizations.items()],
        hooks=list(hooks),
        cache_id=cache,
        harvest=None if harvest is None else HarvestSettings.model_validate(harvest),
        held_out_tokens=held_out_tokens,
        config=TrainerConfig(),
    )
    with _application(data_dir) as (settings, database):
        with database.reading() as session:
            found = check_inputs(session, wanted)
        return batches.open_activations(
            settings,
            database,
            weights=dict(tokenizations),
            hooks=list(hooks),
            cache_id=cache,
            harvest=found.harvest,
            held_out_tokens=held_out_tokens,
            spliced=spliced,
        )
