"""What the server tells about itself: health, readiness, settings, and the state behind any channel."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field, SecretStr
from sqlalchemy import make_url

from mistudio.errors import StudioError
from mistudio.settings import Settings
from mistudio.version import __version__
from mistudio.web.problems import problems
from mistudio.web.studio import StudioDep

router = APIRouter(tags=["server"])


class HealthOut(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str = Field(description="The version of miStudio.")


class ReadyOut(BaseModel):
    """Whether the server can do its work, and what keeps it from it."""

    ready: bool
    checks: dict[str, str | None] = Field(description="Each part it needs: null when well, else why not.")


class SettingOut(BaseModel):
    """One effective setting."""

    name: str
    value: Any = Field(description="Its value; for a secret only “set” or null.")
    default: Any
    source: str = Field(description="flag, environment, file NAME or default.")
    description: str
    secret: bool


class StateOut(BaseModel):
    """The same that a client is given when it joins the channel by socket."""

    channel: str
    seq: int = Field(description="Number of the channel's last event that is surely in the snapshot.")
    snapshot: dict[str, Any] | None = Field(
        description="The state; null for a channel that only announces changes."
    )


@router.get("/health", response_model=HealthOut, summary="Is the process alive?")
async def get_health() -> HealthOut:
    """Answers as soon as the server listens; asks neither database nor Redis."""
    return HealthOut(version=__version__)


@router.get(
    "/ready",
    response_model=ReadyOut,
    summary="Can the server do its work?",
    responses={503: {"model": ReadyOut}},
)
def get_ready(studio: StudioDep, response: Response) -> ReadyOut:
    """Probes the database, and Redis where it is used. 503 when one of them does not answer."""
    checks = {name: probe() for name, probe in studio.checks.items()}
    ready = not any(checks.values())
    response.status_code = 200 if ready else 503
    return ReadyOut(ready=ready, checks=checks)


@router.get("/settings", response_model=list[SettingOut], summary="The effective settings")
def list_settings(studio: StudioDep) -> list[SettingOut]:
    """Every setting with its value, meaning and source. Secrets are only said to be set or not."""
    fields = Settings.model_fields
    return [
        SettingOut(
            name=name,
            value=_shown(name, getattr(studio.settings, name)),
            default=_shown(name, field.get_default(call_default_factory=True)),
            source=studio.loaded.sources.get(name, "default"),
            description=field.description or "",
            secret="SecretStr" in str(field.annotation),
        )
        for name, field in fields.items()
    ]


@router.get(
    "/state/{channel:path}",
    response_model=StateOut,
    summary="The state behind a channel",
    responses=problems(400, 404, 503),
)
def get_state(channel: Annotated[str, Path(max_length=200)], studio: StudioDep) -> StateOut:
    """For clients whose socket is down: poll this. Same content as the answer to `subscribe`."""
    if studio.read_state is None:
        raise StudioError("events_missing", "This server has no events.", status=503)
    return StateOut(channel=channel, **studio.read_state(channel))


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, SecretStr):
        return "set"
    if name == "database_url" and value is not None:
        return make_url(str(value)).render_as_string(hide_password=True)
    if isinstance(value, list):
        return [str(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
