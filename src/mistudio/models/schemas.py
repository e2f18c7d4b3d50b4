"""What crosses the API about models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mistudio.jobs import JobOut

REPO_PATTERN = r"^[\w.\-]+(/[\w.\-]+)?$"


class HubModelSource(BaseModel):
    """A repository on the Hugging Face hub (or the mirror that HF_ENDPOINT names)."""

    kind: Literal["hub"] = "hub"
    repo: str = Field(pattern=REPO_PATTERN, max_length=200, examples=["HuggingFaceTB/SmolLM2-135M-Instruct"])
    revision: str = Field(default="main", max_length=200, description="Branch, tag or commit.")


class FolderModelSource(BaseModel):
    """A folder on the server with config.json, safetensors weights and a tokenizer."""

    kind: Literal["folder"] = "folder"
    path: str = Field(max_length=4000)


class GgufModelSource(BaseModel):
    """A GGUF file on the server, converted once to safetensors."""

    kind: Literal["gguf"] = "gguf"
    path: str = Field(max_length=4000)


class RegistryModelSource(BaseModel):
    """A GGUF file that came out of a package of a package registry (the demo's model)."""

    kind: Literal["registry"] = "registry"
    package: str = Field(max_length=200, description="The package and version it came from.")
    path: str = Field(max_length=4000)


ModelSource = Annotated[
    HubModelSource | FolderModelSource | GgufModelSource | RegistryModelSource, Field(discriminator="kind")
]


class ModelCreate(BaseModel):
    """A model to add."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(
        default=None, min_length=1, max_length=200, description="Default: the repository's or file's name."
    )
    source: ModelSource


class ModelRename(BaseModel):
    """A model's new name."""

    name: str = Field(min_length=1, max_length=200)


class AddModelParams(BaseModel):
    """Parameters of the job `models.add`."""

    model_id: str


class HookPointOut(BaseModel):
    """A place in the model where activations can be read and changed."""

    name: str = Field(examples=["blocks.6.hook_resid_post"])
    layer: int | None
    kind: str = Field(examples=["resid_post"])
    d: int = Field(description="Width of the activation there.")


class ModelOut(BaseModel):
    """A model. Fields after `source` are null until it is complete."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    source: ModelSource
    architecture: str | None
    n_layers: int | None
    d_model: int | None
    vocab_size: int | None
    context_length: int | None = Field(description="Longest sequence the model was made for, in tokens.")
    parameters: int | None
    dtype: str | None
    bytes: int | None
    hook_points: list[HookPointOut]
    has_chat_template: bool
    ready: bool
    created_at: datetime
    job: JobOut | None = None


class TokenizeRequest(BaseModel):
    """A text to cut into tokens."""

    text: str = Field(max_length=200_000)
    special_tokens: bool = Field(
        default=True, description="Whether the tokenizer may add its own special tokens (BOS, EOS)."
    )


class TokenOut(BaseModel):
    """One token."""

    id: int
    text: str = Field(description="The characters it stands for; � where it is a part of a character.")
    piece: str = Field(description="The tokenizer's own spelling, e.g. Ġthe.")
    start: int = Field(description="First character of the text it covers.")
    end: int = Field(description="One past the last character it covers.")
    special: bool


class TokenizeOut(BaseModel):
    """A text as tokens."""

    tokens: list[TokenOut]


class MemoryForecastOut(BaseModel):
    """Forecast memory of a forward pass, in bytes."""

    dtype: str
    weights: int
    activations: int = Field(description="Residual stream and the largest intermediate of one layer.")
    kv_cache: int
    logits: int
    total: int
    available: int = Field(description="Memory free on this machine now.")


class UserOut(BaseModel):
    """Something that uses the object that was asked about."""

    kind: str = Field(examples=["training"])
    id: str
    name: str
