"""Which tokens a harvest reads and which activations count: the one place where these settings are defined."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_ADVANCED: dict[str, Any] = {"advanced": True}


class HarvestSettings(BaseModel):
    """Which tokens are read, in which order, and which are left out. Stored with what they produced."""

    model_config = ConfigDict(extra="forbid")

    n_tokens: int | None = Field(
        default=None,
        ge=1,
        title="Tokens to keep",
        description="Activations to keep. Default: every token.",
        json_schema_extra={"unit": "tokens"},
    )
    order: Literal["shuffled", "sequential"] = Field(
        default="shuffled", description="Order in which sequences are read."
    )
    seed: int = Field(default=0, ge=0, description="Seed of the shuffled order.")
    batch_sequences: int = Field(
        default=16,
        ge=1,
        le=4096,
        description="Sequences in one forward pass.",
        json_schema_extra=_ADVANCED,
    )
    skip_bos: bool = Field(
        default=True,
        description="Leave out the first position when it is the beginning-of-text token: its activation is huge and "
        "the same everywhere.",
    )
    skip_special_tokens: bool = Field(
        default=True,
        description="Leave out end-of-text and other special tokens. Padding is always left out.",
    )
    outlier_multiple: float | None = Field(
        default=None,
        gt=1,
        description="Leave out tokens whose activation norm at any of the hooks exceeds this multiple of the median "
        "norm in its batch. Default: keep all.",
        json_schema_extra=_ADVANCED,
    )
