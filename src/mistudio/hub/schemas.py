"""What crosses the API about the hub."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from mistudio.hub.token import TokenSource


class HubOut(BaseModel):
    """How this server reaches the hub."""

    endpoint: str = Field(description="The hub's address; HF_ENDPOINT names a mirror.")
    offline: bool = Field(description="Whether HF_HUB_OFFLINE keeps the server off the hub.")
    token: TokenSource | None = Field(
        description="Where the access token comes from; null when there is none. The token itself is never shown."
    )


class TokenIn(BaseModel):
    """An access token for gated and private repositories."""

    model_config = ConfigDict(extra="forbid")

    token: SecretStr = Field(max_length=400, description="Kept encrypted in the data folder.")
