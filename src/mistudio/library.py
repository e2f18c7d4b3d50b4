"""The six calls that carry a notebook or a script: load a model or a dictionary, harvest, train, evaluate, convert.

They are thin: what they call lies in `lm`, `sae` and `engine`, and may be called directly. None needs the server, and
none keeps anything global.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from mistudio.engine.harvest_settings import HarvestSettings
from mistudio.engine.progress import OnProgress, Pace
from mistudio.engine.progress_bars import progress_bar
from mistudio.engine.run_folder import folder_of
from mistudio.engine.runs import Run, SettingsRefused, checked, named_apart
from mistudio.engine.runs import settings as settings_of

if TYPE_CHECKING:
    import torch

    from mistudio.engine.evaluation import Report
    from mistudio.engine.sequences import Tokens
    from mistudio.engine.sources import ActivationSource
    from mistudio.engine.training import TrainedSAE
    from mistudio.lm import LanguageModel
    from mistudio.sae import SAE, TrainerConfig
    from mistudio.sae.formats import Format
    from mistudio.store import ActivationCache, Precision

HELD_OUT_TOKENS = 16_384
CONTEXT = 128
_HELD_OUT_SHARE = 20

Dictionary: TypeAlias = "SAE | TrainedSAE"


def load_model(
    source: str | Path,
    *,
    device: str = "auto",
    dtype: str = "float32",
    revision: str | None = None,
    token: str | None = None,
    quantization: Literal["none", "int8", "int4"] = "none",
) -> LanguageModel:
    """A causal language model with named hook points.

    source: a folder with config.json and safetensors, a GGUF file or a folder with one, or a hub id.
    device: auto (CUDA if there is one), cpu, cuda or cuda:N. dtype: float32, bfloat16, float16, or auto (as stored).
    quantization: int8 or int4, by bitsandbytes: linear layers only, `dtype` is that of everything else.
    `model.hook_points()` lists what can be read, each with its width. Code that comes with a model is never run, and
    pickled weights are refused. Raises ModelLoadError.
    """
    from mistudio.lm import load_language_model

    return load_language_model(
        source, device=device, dtype=dtype, revision=revision, token=token, quantization=quantization
    )


def load_sae(
    path: str | Path,
    *,
    data_dir: str | Path | None = None,
    format: Format | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> SAE:
    """A dictionary from a folder or file in any community format, or one of the application's by its id or name.

    data_dir: the application's data folder; its SAE called `path`, or of that id (`sa_…`), is opened.
    `sae.encode(x [N, d_in])` gives sparse latents, `sae.decode(latents)` activations [N, d_out].
    Raises SAEFormatError for what cannot be read, StudioError for an SAE that the data folder lacks.
    """
    import torch

    from mistudio.data_folder import folder_of_sae
    from mistudio.sae import load_sae

    found = folder_of_sae(str(path), data_dir) if data_dir is not None else Path(path)
    return load_sae(found, format=format, device=device, dtype=dtype or torch.float32)


def harvest(
    model: LanguageModel,
    text: Tokens,
    hooks: str | Sequence[str],
    *,
    folder: str | Path,
    n_tokens: int | None = None,
    dtype: Precision = "float16",
    context: int = CONTEXT,
    limit_bytes: int | None = None,
    progress: bool | OnProgress | None = None,
    **settings: Any,
) -> ActivationCache:
    """Activations of `model` on `text` at one or many hook points, kept in `folder` and found there again.

    text: a list of texts (or anything that gives texts), token ids as lists or as `[n, context]`, a token store.
    One pass of the model serves all hooks, of any layers and kinds. A second call with the same model, text, hooks and
    settings reads what the first one wrote; one that was killed is gone on with.
    n_tokens: how many activations to keep, at most. dtype: float32, bfloat16, float16 or int8; `cache.error[hook]` is
    the relative error of what is stored. limit_bytes: caches long unused are deleted from `folder` to stay below.
    settings: which tokens count: see `engine.HarvestSettings` (`skip_special_tokens`, `order`, `seed`, …).

    `cache.read(hook, start, stop)` gives rows `[n, d]`. Raises HookNotFound, TokensUnfit, ActivationsRefused.
    """
    from mistudio.engine.caching import harvest

    with progress_bar(progress) as report:
        return harvest(
            model,
            text,
            hooks,
            folder,
            dtype=dtype,
            settings=checked(
                HarvestSettings, settings if n_tokens is None else {**settings, "n_tokens": n_tokens}
            ),
            context=context,
            limit_bytes=limit_bytes,
            progress=_counting(report, "Harvest"),
        )


@overload
def train(
    source: LanguageModel | ActivationCache | ActivationSource | str | Path,
    text: Tokens | None = ...,
    *,
    runs: Sequence[Run],
    folder: str | Path | None = ...,
    cache: str | Path | None = ...,
    held_out_tokens: int | None = ...,
    context: int = ...,
    reading: Mapping[str, Any] | None = ...,
    seed: int | None = ...,
    device: torch.device | str | None = ...,
    progress: bool | OnProgress | None = ...,
) -> list[TrainedSAE]: ...
@overload
def train(
    source: LanguageModel | ActivationCache | ActivationSource | str | Path,
    text: Tokens | None = ...,
    *,
    hook: str = ...,
    hook_out: str | None = ...,
    hooks: Sequence[str] = ...,
    config: TrainerConfig | Mapping[str, Any] | None = ...,
    runs: None = ...,
    name: str = ...,
    folder: str | Path | None = ...,
    cache: str | Path | None = ...,
    held_out_tokens: int | None = ...,
    context: int = ...,
    reading: Mapping[str, Any] | None = ...,
    seed: int | None = ...,
    device: torch.device | str | None = ...,
    progress: bool | OnProgress | None = ...,
    **settings: Any,
) -> TrainedSAE: ...
def train(
    source: LanguageModel | ActivationCache | ActivationSource | str | Path,
    text: Tokens | None = None,
    *,
    hook: str = "",
    hook_out: str | None = None,
    hooks: Sequence[str] = (),
    config: TrainerConfig | Mapping[str, Any] | None = None,
    runs: Sequence[Run] | None = None,
    name: str = "",
    folder: str | Path | None = None,
    cache: str | Path | None = None,
    held_out_tokens: int | None = None,
    context: int = CONTEXT,
    reading: Mapping[str, Any] | None = None,
    seed: int | None = None,
    device: torch.device | str | None = None,
    progress: bool | OnProgress | None = None,
    **settings: Any,
) -> TrainedSAE | list[TrainedSAE]:
    """Train a dictionary on a model's activations, or with `runs` many on the same ones in one pass of the model.

    source, text: a model and what it reads (texts, token ids `[n, context]`, a token store; of texts no more are read
        than the training needs); or, without text, a cache of `harvest` or its folder.
    hook: where an autoencoder reads and writes. With hook_out a transcoder predicts that hook point from `hook`; with
        `hooks` instead, a crosscoder reads and writes several layers.
    config, settings: hyperparameters, all together or by name (`d_sae=9216, k=32, architecture="topk"`): see
        `TrainerConfig` and `engine.runs.settings`. BatchTopK is the default architecture.
    runs: what to train, each with hooks and settings of its own: see `Run` and `sweep`. Returns a list then.
    folder: where curves, checkpoints and the finished dictionary are kept (of several runs: each in a folder of its
        own in it). The same call again goes on where it was stopped or killed, to the same bits.
    cache: a folder of caches: the first pass over the text is kept there on the way, later ones read it.
    held_out_tokens: activations that are never trained on, to measure the result on. Default: 16,384, or a twentieth
        of the tokens if that is less.
    reading: which tokens count: see `engine.HarvestSettings`. seed: of the order of the activations (default: the
        first run's); the same seeds and text give the same dictionary, to the bit.
    progress: a bar in terminals and notebooks (None), always (True), never (False), or your own function of
        `engine.progress.Progress`.

    `result.sae` is the dictionary, `result.metrics` its measure, `result.history` the curves. A run that diverges
    raises TrainingDiverged, saying at which step; among several it stops alone and says so in `result.error`.
    Raises HookNotFound, SettingsRefused, CacheRefused, TokensUnfit, ActivationsRefused, RunRefused.
    """
    from mistudio.engine.training import train_runs

    if runs is None:
        one = Run(hook, hook_out, tuple(hooks), settings_of(config, **settings), name)
        wanted = [one]
    else:
        if settings or config or hook or hooks or hook_out or name:
            raise SettingsRefused(
                "Runs have their own hook points and settings, so none can be given beside them.",
                "Put them into each Run, or vary one with sweep.",
            )
        wanted = named_apart(runs)
    activations = _source(source, text, wanted, cache, held_out_tokens, context, reading)
    folders = None
    if folder is not None:
        parent = Path(folder)
        folders = [parent] if runs is None else [folder_of(parent, run.name) for run in wanted]
    with progress_bar(progress) as report:
        trained = train_runs(activations, wanted, folders=folders, seed=seed, device=device, progress=report)
    if runs is not None:
        return trained
    if trained[0].error is not None:
        raise trained[0].error
    return trained[0]


def _source(
    source: LanguageModel | ActivationCache | ActivationSource | str | Path,
    text: Tokens | None,
    runs: Sequence[Run],
    cache: str | Path | None,
    held_out_tokens: int | None,
    context: int,
    reading: Mapping[str, Any] | None,
) -> ActivationSource:
    """The activations that all runs share."""
    from mistudio.engine.sequences import as_sequences
    from mistudio.engine.sources import CacheSource, ModelSource
    from mistudio.engine.tee import TeeSource
    from mistudio.lm import LanguageModel
    from mistudio.store import ActivationCache

    hooks = list(dict.fromkeys(hook for run in runs for hook in (*run.reads, *run.writes)))
    if isinstance(source, (str, Path)):
        if not Path(source).is_dir():
            raise SettingsRefused(
                f"There is no folder {source} with an activation cache.",
                "Give the folder that `harvest` made, or a model of `load_model` and a text.",
            )
        source = ActivationCache(source)
    if isinstance(source, LanguageModel):
        if text is None:
            raise SettingsRefused(
                "A model needs a text to read.", "Give texts, token ids, or train from a cache."
            )
        for one in hooks:
            source.hook_point(one)
        enough = max(run.config.total_tokens for run in runs) + (held_out_tokens or HELD_OUT_TOKENS)
        # special tokens and the like are read and not trained on
        sequences = as_sequences(text, source, context=context, n_tokens=enough + enough // 10)
        held = _held_out(held_out_tokens, sequences.n_tokens)
        read = checked(HarvestSettings, reading or {})
        running = ModelSource(source, sequences, hooks, settings=read, held_out_tokens=held)
        return TeeSource(running, cache) if cache is not None else running
    if text is not None or cache is not None or reading:
        raise SettingsRefused(
            "A cache holds the activations of the text that it was harvested from, so no other can be read.",
            "Leave text, cache and reading out, or give the model instead.",
        )
    if isinstance(source, ActivationCache):
        return CacheSource(source, hooks, held_out_tokens=_held_out(held_out_tokens, source.n_tokens))
    return source


def _held_out(wanted: int | None, n_tokens: int) -> int:
    if wanted is not None and wanted < 0:
        raise SettingsRefused(f"held_out_tokens must be at least 0, not {wanted}.")
    return min(HELD_OUT_TOKENS, n_tokens // _HELD_OUT_SHARE) if wanted is None else wanted


@overload
def evaluate(
    sae: Dictionary,
    model: LanguageModel,
    text: Tokens,
    *,
    hook: str | None = ...,
    context: int = ...,
    progress: bool | OnProgress | None = ...,
    **settings: Any,
) -> Report: ...
@overload
def evaluate(
    sae: Mapping[str, Dictionary],
    model: LanguageModel,
    text: Tokens,
    *,
    hook: str | None = ...,
    context: int = ...,
    progress: bool | OnProgress | None = ...,
    **settings: Any,
) -> dict[str, Report]: ...
@overload
def evaluate(
    sae: Sequence[Dictionary],
    model: LanguageModel,
    text: Tokens,
    *,
    hook: str | None = ...,
    context: int = ...,
    progress: bool | OnProgress | None = ...,
    **settings: Any,
) -> list[Report]: ...
def evaluate(
    sae: Dictionary | Sequence[Dictionary] | Mapping[str, Dictionary],
    model: LanguageModel,
    text: Tokens,
    *,
    hook: str | None = None,
    context: int = CONTEXT,
    progress: bool | OnProgress | None = None,
    **settings: Any,
) -> Report | list[Report] | dict[str, Report]:
    """Measure one dictionary, several, or several by name, on the same tokens in the same passes of the model.

    Reconstruction, sparsity, dead and dense latents, cross-entropy recovered and KL with the dictionary spliced in,
    decoder structure; with `absorption=True` and `probing=True` SAEBench's tasks too. `report.metrics` holds the
    numbers, `engine.EVALUATION_METRICS` says what each means.
    text: as for `train`. hook: where to measure a dictionary that does not say it itself.
    settings: see `engine.EvaluationSettings` (`tokens`, `spliced_tokens`, …).
    Raises DictionaryMisplaced, HookNotFound, TokensRefused, SettingsRefused, ActivationsRefused.
    """
    from mistudio.engine.evaluation import EvaluationSettings, evaluate
    from mistudio.engine.sequences import as_sequences
    from mistudio.engine.trained import dictionary_of, named

    chosen = checked(EvaluationSettings, settings)
    sequences = as_sequences(text, model, context=context, n_tokens=chosen.tokens + chosen.tokens // 10)

    given = sae if isinstance(sae, Mapping) else named(sae if isinstance(sae, Sequence) else [sae])
    saes = {name: dictionary_of(one) for name, one in given.items()}
    reports = evaluate(saes, model, sequences, settings=chosen, hook=hook, progress=progress)
    if isinstance(sae, Mapping):
        return reports
    return list(reports.values()) if isinstance(sae, Sequence) else next(iter(reports.values()))


def save_sae(sae: Dictionary, folder: str | Path, *, format: Format | None = None) -> None:
    """Write a dictionary to a folder, whole or not at all; an existing folder is replaced.

    Without a `format` it is SAELens' where that can hold the dictionary, else our own. Raises SAEFormatError where the
    format named cannot hold it, saying what would be lost.
    """
    from mistudio.engine.trained import dictionary_of
    from mistudio.sae import save_sae

    save_sae(dictionary_of(sae), folder, format=format)


def convert(
    source: str | Path | Dictionary, target: str | Path, *, to: Format, overwrite: bool = False
) -> Path:
    """Write a dictionary in another community format; returns the folder `target`.

    source: a folder or file in any format that `load_sae` reads, or a dictionary. to: the format, such as `sae_lens`,
    `sparsify`, `dictionary_learning`. A target that is not empty is replaced only with `overwrite`. Weights keep their
    precision. Raises SAEFormatError, saying what that format cannot hold.
    """
    from mistudio.engine.trained import dictionary_of
    from mistudio.sae.formats import convert

    plain = source if isinstance(source, (str, Path)) else dictionary_of(source)
    convert(plain, target, to=to, overwrite=overwrite)
    return Path(target)


def _counting(report: OnProgress | None, stage: str) -> Callable[[int, int], None]:
    pace: Pace | None = None

    def at(done: int, total: int) -> None:
        nonlocal pace
        pace = pace or Pace(report, stage, total)
        pace.at(done)

    return at
