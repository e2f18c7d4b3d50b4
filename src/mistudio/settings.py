"""Every setting, once: read from flags, the environment (`MISTUDIO_…`) and a TOML file, in that order of precedence."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from mistudio.errors import StudioError

ENVIRONMENT_PREFIX = "MISTUDIO_"


class Settings(BaseSettings):
    """The settings of one miStudio process. Sizes are bytes, durations seconds."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True)

    data_dir: Path = Field(
        default_factory=lambda: Path.home() / ".mistudio",
        description="The folder that holds everything miStudio stores: the SQLite database, weights, tokens, results.",
    )
    database_url: str | None = Field(
        default=None,
        description="SQLAlchemy URL of the database, e.g. postgresql+psycopg://user@host/name. "
        "Default: SQLite in the data folder.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis for events and Celery, e.g. redis://host:6379/0. Needed by dispatch=celery.",
    )
    dispatch: Literal["local", "celery"] = Field(
        default="local", description="Where jobs run: in processes of this machine, or on Celery workers."
    )
    cpu_slots: int = Field(
        default=1, ge=1, le=256, description="How many CPU-heavy jobs run at once on this machine."
    )
    gpu_slots: int | None = Field(
        default=None,
        ge=0,
        le=64,
        description="How many jobs use a GPU at once. Default: the number of GPUs found.",
    )
    io_slots: int = Field(
        default=4, ge=1, le=256, description="How many download and import jobs run at once."
    )
    job_memory_bytes: int | None = Field(
        default=None,
        ge=100_000_000,
        description="Memory that jobs may be expected to need together on this machine: one that says what it needs "
        "waits until it fits, and what could never fit is refused. Default: nine tenths of the machine's.",
    )
    lease_seconds: float = Field(
        default=20.0,
        ge=1,
        le=3600,
        description="A running job whose supervisor is silent this long is taken over.",
    )
    cancel_grace_seconds: float = Field(
        default=10.0,
        ge=0.1,
        le=600,
        description="How long a cancelled job may tidy up before it is terminated.",
    )
    host: str = Field(default="127.0.0.1", description="The address the web server binds to.")
    port: int = Field(
        default=8420, ge=0, le=65535, description="The port the web server listens on (0: any free one)."
    )
    allowed_hosts: list[str] = Field(
        default_factory=list,
        description="Host names, besides loopback and `host`, under which the server may be called.",
    )
    allowed_origins: list[str] = Field(
        default_factory=list, description="Origins, besides the server's own, whose pages may call the API."
    )
    max_body_bytes: int = Field(
        default=2_000_000, ge=1_000, description="Largest request body, other than an upload."
    )
    max_upload_bytes: int = Field(default=20_000_000_000, ge=1_000, description="Largest uploaded file.")
    max_unpacked_bytes: int = Field(
        default=200_000_000_000,
        ge=1_000,
        description="The most that a packed file (gz, zst, zip) may unpack to.",
    )
    rate_limit_per_minute: int = Field(
        default=3_000, ge=1, description="Requests a minute that one client address may make."
    )
    sockets_per_address: int = Field(
        default=32, ge=1, description="Open event sockets that one client address may hold."
    )
    device: str = Field(default="auto", description="Where models run: auto, cpu, cuda or cuda:N.")
    cpu_threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Threads of one job process. Default: the physical cores divided by cpu_slots.",
    )
    hf_token: SecretStr | None = Field(
        default=None, description="Hugging Face token for gated repositories. Never stored or logged."
    )
    labels_base_url: str | None = Field(
        default=None,
        description="An OpenAI-compatible endpoint that may label features, e.g. http://localhost:11434/v1.",
    )
    labels_api_key: SecretStr | None = Field(
        default=None, description="The key for `labels_base_url`. Never stored or logged."
    )
    survey_up_to_bytes: int = Field(
        default=4_000_000_000,
        ge=0,
        description="Data sets up to this size get their statistics and search index on arrival, without being asked.",
    )
    import_folders: list[Path] = Field(
        default_factory=list,
        description="Folders on the server from which the web API may import files by path. The command line may read "
        "any file that its user may.",
    )
    hub_timeout_seconds: float = Field(
        default=20.0, ge=0.1, le=600, description="Patience with a silent hub."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Log detail.")
    plugins: list[str] = Field(
        default_factory=list, description="Modules, each with a `domain` object, that extend the application."
    )

    @property
    def effective_database_url(self) -> str:
        """`database_url`, or the SQLite file in the data folder."""
        return self.database_url or f"sqlite:///{self.data_dir / 'mistudio.db'}"


def public_text(text: str, settings: Settings) -> str:
    """A message as anybody may read it: files of the data folder by their place within it, secrets left out."""
    for _, value in settings:
        if isinstance(value, SecretStr) and value.get_secret_value():
            text = text.replace(value.get_secret_value(), "…")
    folder = settings.data_dir.absolute()
    for place in {str(folder), str(folder.resolve())} - {folder.anchor}:
        found = r"(?<![\w.-])" + re.escape(place)
        text = re.sub(found + re.escape(os.sep), "", text)
        text = re.sub(found + r"(?![\w-]|\.\w)", "the data folder", text)
    return text


@dataclass(frozen=True)
class LoadedSettings:
    """Settings with the place each value came from (`flag`, `environment`, `file PATH`, `default`)."""

    settings: Settings
    sources: dict[str, str]


def load_settings(*, config: Path | None = None, flags: dict[str, Any] | None = None) -> LoadedSettings:
    """Read the settings; flags beat the environment, which beats the TOML file, which beats the defaults.

    The file is `config`, else the one that `MISTUDIO_CONFIG` names, else `mistudio.toml` in the current folder if
    there is one. Raises StudioError `settings_invalid` naming the setting and its source.
    """
    flags = {name: value for name, value in (flags or {}).items() if value is not None}
    named = os.environ.get(f"{ENVIRONMENT_PREFIX}CONFIG")
    path = config or (Path(named) if named else Path("mistudio.toml"))
    from_file: dict[str, Any] = {}
    if path.is_file():
        try:
            from_file = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise StudioError(
                "settings_invalid", f"The settings file {path.name} is not valid TOML: {error}."
            ) from error
    elif config or named:
        raise StudioError("settings_invalid", f"The settings file {path.name} does not exist.")

    known = set(Settings.model_fields)
    environment = {
        name.lower().removeprefix(ENVIRONMENT_PREFIX.lower())
        for name in os.environ
        if name.upper().startswith(ENVIRONMENT_PREFIX)
    } - {"config"}
    sources: dict[str, str] = {}
    for label, names in (
        (f"file {path.name}", set(from_file)),
        ("environment", environment),
        ("flag", set(flags)),
    ):
        unknown = sorted(names - known)
        if unknown:
            shown = f"{ENVIRONMENT_PREFIX}{unknown[0].upper()}" if label == "environment" else unknown[0]
            raise StudioError(
                "settings_invalid",
                f"Unknown setting “{shown}” ({label}).",
                hint="`mistudio settings` lists every setting.",
            )
        sources.update(dict.fromkeys(names, label))
    # pydantic-settings reads the environment below its keyword arguments, so the file passes only what nothing beats.
    keywords = {name: value for name, value in from_file.items() if name not in environment} | flags
    try:
        settings = Settings(**keywords)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        raise StudioError(
            "settings_invalid",
            f"The setting “{name}” ({sources.get(name, 'default')}) is not valid: {first['msg']}.",
            hint="`mistudio settings` shows each setting with its meaning and range.",
        ) from error
    return LoadedSettings(settings, {name: sources.get(name, "default") for name in Settings.model_fields})
