"""What the web may ask about the hub."""

from __future__ import annotations

from fastapi import APIRouter, Response

from mistudio.hub import token
from mistudio.hub.schemas import HubOut, TokenIn
from mistudio.settings import Settings
from mistudio.web import SettingsDep, problems

router = APIRouter(prefix="/hub", tags=["hub"])


def describe_hub(settings: Settings) -> HubOut:
    """How the hub is reached."""
    from huggingface_hub import constants

    return HubOut(
        endpoint=constants.ENDPOINT,
        offline=bool(constants.HF_HUB_OFFLINE),
        token=token.token_source(settings),
    )


@router.get("", response_model=HubOut, summary="How the hub is reached")
def show_hub(settings: SettingsDep) -> HubOut:
    """Its address, and whether there is an access token."""
    return describe_hub(settings)


@router.put("/token", response_model=HubOut, summary="Store the hub token", responses=problems(422, 507))
def store_token(wanted: TokenIn, settings: SettingsDep) -> HubOut:
    """Kept encrypted. One in the settings or the environment is used before it."""
    token.store_token(settings, wanted.token.get_secret_value())
    return describe_hub(settings)


@router.delete("/token", status_code=204, summary="Forget the stored hub token")
def forget_token(settings: SettingsDep) -> Response:
    """One in the settings or the environment stays."""
    token.forget_token(settings)
    return Response(status_code=204)
