"""What crosses the API about asking a model: texts to continue, and the logit lens."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mistudio.jobs import JobError, JobOut
from mistudio.models.schemas import ModelLoading
from mistudio.models.warm import Phase

RequestKind = Literal["generate", "lens"]
RequestState = Literal["waiting", "writing", "done", "cancelled", "failed"]


class ChatMessage(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=200_000)


class Prompted(BaseModel):
    """A prompt: text, or a chat in the model's own template."""

    model_config = ConfigDict(extra="forbid")

    prompt: str | None = Field(default=None, max_length=200_000, description="Text to continue.")
    messages: list[ChatMessage] | None = Field(
        default=None, min_length=1, max_length=200, description="A chat, in the model's own template."
    )

    @model_validator(mode="after")
    def _one_prompt(self) -> Prompted:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either “prompt” or “messages”")
        if self.prompt is not None and not self.prompt.strip():
            raise ValueError("the prompt is empty: write at least one word for the model to read")
        return self


class GenerationWanted(Prompted):
    """A text to continue."""

    max_new_tokens: int = Field(
        default=64,
        ge=1,
        le=4096,
        title="New tokens",
        description="At most this many.",
    )
    temperature: float = Field(
        default=0.0,
        ge=0,
        le=10,
        title="Temperature",
        description="Logits are divided by it before the draw. 0 takes the most probable token.",
    )
    top_p: float = Field(
        default=1.0,
        gt=0,
        le=1,
        title="Top p",
        description="Draw only among the most probable tokens whose probabilities together reach this.",
    )
    seed: int = Field(
        default=0, ge=0, le=2**31 - 1, title="Seed", description="Equal seeds give equal texts."
    )
    alternatives: int = Field(
        default=5,
        ge=0,
        le=20,
        title="Alternatives",
        description="How many of the most probable tokens to report at each place, with their probabilities.",
    )
    stop: list[str] = Field(
        default_factory=list, max_length=16, title="Stop texts", description="Texts at which writing ends."
    )


class LensWanted(Prompted):
    """A prompt to look through the layers of."""

    last: int = Field(
        default=64,
        ge=1,
        le=256,
        title="Positions",
        description="How many of the prompt's last tokens to look at.",
        json_schema_extra={"unit": "tokens"},
    )
    top_k: int = Field(
        default=5,
        ge=1,
        le=20,
        title="Top k",
        description="How many of the most probable tokens to report at each place.",
    )


class Alternative(BaseModel):
    """A token that could have stood here. `logprob` is natural, before temperature and top p."""

    id: int
    text: str
    logprob: float


class GeneratedPiece(BaseModel):
    """One generated token."""

    id: int
    text: str = Field(description="What it adds to the text; empty while a character is incomplete.")
    logprob: float = Field(description="Natural log probability, before temperature and top p.")
    alternatives: list[Alternative] = Field(
        default_factory=list[Alternative], description="The most probable tokens at this place, best first."
    )


class PromptToken(BaseModel):
    """One token of the prompt as the model saw it."""

    id: int
    text: str
    special: bool


class GenerationResult(BaseModel):
    """What was written so far."""

    prompt_tokens: list[PromptToken] = Field(default_factory=list[PromptToken])
    tokens: list[GeneratedPiece] = Field(default_factory=list[GeneratedPiece])
    text: str = ""
    finish: Literal["eos", "stop", "length", "context", "cancelled"] | None = Field(
        default=None, description="Why it ended; null while it is being written."
    )


class LensResult(BaseModel):
    """Layers × positions: what the model would say next if each layer were its last.

    A row of every grid is a hook point, a column a position. At each the final norm and the unembedding are applied to
    the residual stream.
    """

    prompt_tokens: list[PromptToken]
    first: int = Field(description="Place in the prompt of the first column.")
    hooks: list[str] = Field(
        description="The hook point of each row: the first block's input, then each block's output."
    )
    ids: list[list[list[int]]] = Field(
        description="[rows][columns][k] most probable next tokens, best first."
    )
    probabilities: list[list[list[float]]]
    kl: list[list[float]] = Field(description="KL(model ‖ row) in nats.")
    rank: list[list[int]] = Field(description="Place, from 1, of the model's own most probable token.")
    texts: dict[int, str] = Field(description="The text of every token id above.")


class ModelRequestOut(BaseModel):
    """Something asked of a model, and what came of it.

    On the channel `playground/{model_id}` come events `request` (data: this object without a lens's grid, when its
    state changes), `tokens` (data: ModelTokensEvent) and `deleted`.
    """

    id: str
    model_id: str
    kind: RequestKind
    request: GenerationWanted | LensWanted
    state: RequestState
    generation: GenerationResult | None = Field(default=None, description="Of kind generate.")
    lens: LensResult | None = Field(default=None, description="Of kind lens, once it is done.")
    error: JobError | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ModelTokensEvent(BaseModel):
    """New tokens. When `start` is beyond the tokens that a client has, it fetches the request anew."""

    request: str
    start: int = Field(description="Place of the first of these tokens among the generated ones.")
    tokens: list[GeneratedPiece]
    finish: str | None


class ModelSessionWanted(BaseModel):
    """How long a model stays loaded."""

    model_config = ConfigDict(extra="forbid")

    idle_seconds: float = Field(
        default=900.0, ge=0, le=86_400, description="It is unloaded after so long without a request."
    )
    yield_seconds: float = Field(
        default=30.0,
        ge=0,
        le=86_400,
        description="It is unloaded after so long without a request when other work waits for its place.",
    )


class ModelSessionOut(BaseModel):
    """Whether the model is loaded for questions."""

    phase: Phase = Field(description="Derived from the job.")
    loading: ModelLoading | None = Field(description="How it is loaded; null before it ever was.")
    job: JobOut | None


class SessionParams(ModelSessionWanted):
    """Parameters of the job `models.session`."""

    model_id: str
    loading: ModelLoading
