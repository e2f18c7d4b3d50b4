"""What crosses the API about steering."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mistudio.jobs import JobError, JobOut
from mistudio.models.request_schemas import ChatMessage
from mistudio.models.warm import Phase

Side = Literal["unsteered", "steered"]
Mode = Literal["add", "clamp"]
GenerationState = Literal["waiting", "writing", "done", "cancelled", "failed"]


class SessionSettings(BaseModel):
    """How a session runs."""

    model_config = ConfigDict(extra="forbid")

    idle_seconds: float = Field(
        default=900.0, ge=0, le=86_400, description="The session ends itself after so long without a request."
    )
    yield_seconds: float = Field(
        default=30.0,
        ge=0,
        le=86_400,
        description="It ends after so long without a request when other work waits for its place.",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="Precision of the language model."
    )


class SessionCreate(BaseModel):
    """A session to open: a model, and the SAEs whose features may be steered."""

    model_config = ConfigDict(extra="forbid")

    model_id: str
    sae_ids: list[str] = Field(min_length=1, max_length=32)
    name: str | None = Field(default=None, min_length=1, max_length=200)
    settings: SessionSettings = Field(default_factory=SessionSettings)


class SessionSae(BaseModel):
    """An SAE of a session. `name` and what follows is null when it has been deleted since."""

    id: str
    name: str | None
    hook: str | None
    d_sae: int | None
    extraction_id: str | None = Field(
        description="The newest finished extraction, from which maxima are taken unless a request names another."
    )


class SessionOut(BaseModel):
    """A session. It takes requests from `waiting` to `writing`; they are served in turn."""

    id: str
    name: str
    model_id: str
    model_name: str
    has_chat_template: bool
    saes: list[SessionSae]
    settings: SessionSettings
    created_at: datetime
    phase: Phase = Field(description="Derived from the job.")
    generation_count: int
    job: JobOut | None


class SteeredFeature(BaseModel):
    """A latent to change while the model runs."""

    model_config = ConfigDict(extra="forbid")

    sae_id: str
    index: int = Field(ge=0)
    mode: Mode = Field(
        default="add",
        description="add: add value × the latent's decoder direction. clamp: set the latent to the value, leaving the "
        "SAE's error as it is.",
    )
    strength: float = Field(
        ge=-1e6,
        le=1e6,
        allow_inf_nan=False,
        description="The value, in the given unit. Clamping to 0 ablates.",
    )
    unit: Literal["max", "raw"] = Field(
        default="max",
        description="max: multiples of the feature's maximum activation in its extraction. raw: the "
        "latent's own scale.",
    )
    extraction_id: str | None = Field(
        default=None,
        description="Where the maximum is taken from. Default: the SAE's newest finished extraction.",
    )


class SteeringPrompt(BaseModel):
    """What to write and how, whatever features are steered: what a template of steering prompts keeps.

    Give `prompt` or `messages`.
    """

    model_config = ConfigDict(extra="forbid")

    prompt: str | None = Field(default=None, max_length=200_000, description="Text to continue.")
    messages: list[ChatMessage] | None = Field(
        default=None, min_length=1, max_length=200, description="A chat, in the model's own template."
    )
    positions: Literal["all", "prompt", "generated"] = Field(
        default="all", description="Which tokens are steered."
    )
    steer_special_tokens: bool = Field(
        default=False, description="Also steer beginning-of-text, chat-template and other special tokens."
    )
    compare: bool = Field(
        default=True, description="Also write the unsteered text, with the same random draws."
    )
    max_new_tokens: int = Field(default=64, ge=1, le=4096)
    temperature: float = Field(default=0.0, ge=0, le=10, description="0 takes the most probable token.")
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    stop: list[str] = Field(default_factory=list, max_length=16, description="Texts at which writing ends.")

    @model_validator(mode="after")
    def _one_prompt(self) -> SteeringPrompt:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either “prompt” or “messages”")
        if self.prompt is not None and not self.prompt.strip():
            raise ValueError("the prompt is empty: write at least one word for the model to continue")
        return self


class GenerateRequest(SteeringPrompt):
    """A text to write with some features steered. Give `prompt` or `messages`."""

    features: list[SteeredFeature] = Field(min_length=1, max_length=64)
    template_id: str | None = Field(
        default=None, description="The template of steering prompts that it began with, whose uses it counts."
    )

    @model_validator(mode="after")
    def _each_once(self) -> GenerateRequest:
        named = [(feature.sae_id, feature.index) for feature in self.features]
        if len(set(named)) < len(named):
            raise ValueError("a feature is named twice: combine its strengths into one")
        return self


class ResolvedFeature(BaseModel):
    """A feature with its value in the latent's own scale, as it was when the request was made."""

    sae_id: str
    sae_name: str
    index: int
    mode: Mode
    strength: float
    unit: Literal["max", "raw"]
    maximum: float | None = Field(description="Its maximum activation in the extraction; null for unit raw.")
    decoder_norm: Literal["raw", "folded"] = Field(
        description="Whether that maximum is times the decoder's norm."
    )
    extraction_id: str | None
    label: str | None


class TokenPiece(BaseModel):
    """One generated token. `logprob` is its natural log probability under the model as it ran."""

    id: int
    text: str
    logprob: float


class TextOutput(BaseModel):
    """What one side wrote."""

    text: str = ""
    tokens: list[TokenPiece] = Field(default_factory=list[TokenPiece])
    finish: Literal["eos", "stop", "length", "context", "cancelled"] | None = Field(
        default=None, description="Why it ended; null while it is being written."
    )
    perplexity: float | None = Field(
        default=None,
        description="exp of the mean negative log probability of the generated tokens under the unsteered model: how "
        "unlikely the model itself would find this text. Lower is more fluent.",
    )


class GenerationOut(BaseModel):
    """A request and what came of it. While it is being written, `outputs` is at most a second old.

    On the channel `steering/{session_id}` come events `generation` (data: this object, when its state changes) and
    `tokens` (data: TokensEvent).
    """

    id: str
    session_id: str
    request: GenerateRequest
    features: list[ResolvedFeature]
    prompt_tokens: list[str] = Field(default_factory=list[str], description="The prompt as the model saw it.")
    outputs: dict[Side, TextOutput]
    state: GenerationState
    error: JobError | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TokensEvent(BaseModel):
    """New tokens of one side. When `start` is beyond the tokens that a client has, it fetches the generation anew."""

    generation: str
    side: Side
    start: int = Field(description="Place of the first of these tokens among the side's tokens.")
    tokens: list[TokenPiece]
    finish: str | None


class SessionParams(BaseModel):
    """Parameters of the job `steering.session`."""

    session_id: str
