"""What crosses the API about models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mistudio.jobs import JobOut

REPO_PATTERN = r"^[\w.\-]+(/[\w.\-]+)?$"


class HubModelSource(BaseModel):
    """A repository on the Hugging Face hub (or the mirror that HF_ENDPOINT names)."""

    kind: Literal["hub"] = "hub"
    repo: str = Field(
        title="Repository",
        pattern=REPO_PATTERN,
        max_length=200,
        examples=["HuggingFaceTB/SmolLM2-135M-Instruct"],
    )
    revision: str = Field(
        default="main", min_length=1, max_length=200, title="Revision", description="Branch, tag or commit."
    )
    gguf_file: str | None = Field(
        default=None,
        min_length=1,
        max_length=400,
        pattern=r"^[\w .()+\-]+\.[gG][gG][uU][fF]$",
        title="GGUF file",
        description="Which file to take from a repository that holds several quantizations.",
        json_schema_extra={"advanced": True},
    )


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


class ModelLoading(BaseModel):
    """How a model is loaded whenever it runs: harvests, trainings, playground. The files on disk stay as they are."""

    model_config = ConfigDict(extra="forbid")

    dtype: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        default="float32",
        title="Precision",
        description="The type of weights and activations while it runs; auto is as stored. Half the bytes are twice "
        "the speed on a GPU, and often slower on a CPU.",
    )
    quantization: Literal["none", "int8", "int4"] = Field(
        default="none",
        title="Quantization",
        description="Linear layers in 8 bits (LLM.int8) or 4 bits (NF4) by bitsandbytes: less memory, and activations "
        "that are not quite the model's own.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", title="Device", description="auto: a GPU where the job was given one, else the CPU."
    )


class ModelConsent(BaseModel):
    """What a person allows for this one model. Nothing is allowed by default."""

    model_config = ConfigDict(extra="forbid")

    code: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        title="Its code",
        description="Run the Python files that come with it, if they are those with this digest (see the preview). "
        "They can do whatever your user can.",
    )
    pickle: bool = Field(
        default=False,
        title="Pickle files",
        description="Read weights that exist only as pickle files, once, to turn them into safetensors. PyTorch reads "
        "them without running code; a flaw in it would let them.",
    )


class ModelCreate(BaseModel):
    """A model to add."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        title="Name",
        description="Default: the repository's or file's name.",
    )
    source: ModelSource
    loading: ModelLoading = Field(default_factory=ModelLoading)
    consent: ModelConsent = Field(default_factory=ModelConsent)


class ModelChange(BaseModel):
    """What to change about a model: what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=200)
    loading: ModelLoading | None = None


class AddModelParams(BaseModel):
    """Parameters of the job `models.add`."""

    model_id: str


class VerifyParams(BaseModel):
    """Parameters of the job `models.verify`."""

    model_id: str


class HookPointOut(BaseModel):
    """A place in the model where activations can be read and changed."""

    name: str = Field(examples=["blocks.6.hook_resid_post"])
    layer: int | None
    kind: str = Field(examples=["resid_post"])
    d: int = Field(description="Width of the activation there.")
    n_heads: int | None = Field(
        default=None, description="At attn.hook_z: how many heads share the width, side by side."
    )


class HookSiteOut(BaseModel):
    """A hook point of a module."""

    name: str
    kind: str
    side: Literal["in", "out"] = Field(description="Whether it is the module's input or its output.")
    d: int


class ModuleNodeOut(BaseModel):
    """A module, or neighbours in a list that are built alike: what is said of them is said of the first."""

    name: str
    path: str = Field(description="From the model's root; also the name of a hook point at its output.")
    kind: str = Field(description="Its class.")
    parameters: int = Field(description="All below it, each counted where it is met first.")
    shapes: dict[str, list[int]] = Field(description="Of its own parameters.")
    tied: list[str] = Field(description="Own parameters that are another module's too.")
    hooks: list[HookSiteOut]
    last: int | None = Field(description="For neighbours built alike: the index of the last one.")
    children: list[ModuleNodeOut]


class KindVerdictOut(BaseModel):
    """What the self-test found of one kind of hook point."""

    kind: str = Field(examples=["resid_post"])
    check: str = Field(description="What it was compared with.")
    verdict: Literal["exact", "close", "wrong", "absent"] = Field(
        description="exact: bit for bit. close: up to the rounding of the dtype. absent: the model has no such place."
    )
    layers: int = Field(description="In how many layers it is.")
    shape: bool = Field(description="Whether all activations there had the announced width.")
    gap: float | None = Field(
        description="How far it is from what it must equal, at the worst token: ‖a − b‖ / ‖b‖."
    )
    writes: bool | None = Field(
        description="Whether handing back what was read leaves the logits as they are, bit for bit, and zeros change "
        "them."
    )
    batch_gap: float | None = Field(
        default=None,
        description="As `gap`, of a batch as large as a harvest's to the same tokens in small ones; null where both "
        "are computed alike.",
    )


class HookReportOut(BaseModel):
    """The self-test of a model's hook points."""

    passed: bool
    verdicts: list[KindVerdictOut]
    dtype: str
    quantization: Literal["none", "int8", "int4"] = "none"
    device: str
    tokens: int = Field(description="How many random tokens it was run on.")
    batch_tokens: int = Field(
        default=0, description="Random tokens of the large batch; 0 where there was none."
    )
    seconds: float


class ModelOut(BaseModel):
    """A model. Fields after `consent` are null until it is complete."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    source: ModelSource
    loading: ModelLoading
    consent: ModelConsent
    architecture: str | None
    n_layers: int | None
    d_model: int | None
    vocab_size: int | None
    context_length: int | None = Field(description="Longest sequence the model was made for, in tokens.")
    parameters: int | None
    dtype: str | None
    bytes: int | None
    hook_points: list[HookPointOut]
    hook_report: HookReportOut | None = Field(description="The last self-test of the hook points.")
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


class SpecialTokenOut(BaseModel):
    """A special token of the vocabulary."""

    id: int
    text: str
    roles: list[str] = Field(description="What it is for: bos, eos, pad, unk; empty for the others.")


class ModelConfigOut(BaseModel):
    """What a model's own files say of it."""

    config: dict[str, Any] = Field(description="config.json.")
    generation_config: dict[str, Any]
    tokenizer_config: dict[str, Any] = Field(
        description="tokenizer_config.json without chat template and token table."
    )
    chat_template: str | None
    special_tokens: list[SpecialTokenOut]


class ModelFileOut(BaseModel):
    """A file of what would be added."""

    name: str
    bytes: int
    needed: bool = Field(description="Whether it would be fetched.")


class ModelCodeFile(BaseModel):
    """A Python file that comes with a model."""

    name: str
    bytes: int
    text: str = Field(description="Its first 200,000 characters.")


class ModelCodeOut(BaseModel):
    """The Python files that come with a model, to be read before they are trusted."""

    digest: str = Field(description="Stands for exactly these files; consenting means giving it back.")
    files: list[ModelCodeFile]


class ModelPreviewWanted(BaseModel):
    """What to look at before adding it, and for which use to forecast its memory."""

    model_config = ConfigDict(extra="forbid")

    source: ModelSource
    batch_size: int = Field(default=16, ge=1, le=4096, title="Batch", description="Texts at once.")
    context_length: int = Field(
        default=128,
        ge=1,
        le=1_000_000,
        title="Context",
        description="Tokens in each text.",
        json_schema_extra={"unit": "tokens"},
    )


class MemoryForecastOut(BaseModel):
    """Forecast memory of a forward pass, in bytes."""

    dtype: str
    weights: int
    activations: int = Field(description="Residual stream and the largest intermediate of one layer.")
    kv_cache: int
    logits: int
    total: int
    available: int = Field(description="Memory free on this machine now.")
    formulas: dict[str, str] = Field(
        default_factory=dict[str, str], description="How each figure was reached, with its numbers."
    )
    obstacle: str | None = Field(
        default=None, description="Why a model cannot be loaded so here; null where it can."
    )


class ModelPreviewOut(BaseModel):
    """A model before it is added. What its files do not say is null."""

    name: str
    commit: str | None = Field(description="For the hub: what the revision is now.")
    gated: bool
    license: str | None
    weights: Literal["safetensors", "gguf", "pickle"]
    files: list[ModelFileOut]
    bytes: int = Field(description="What would be fetched or copied.")
    bytes_free: int = Field(description="Free on the disk of the data folder.")
    architecture: str | None
    model_type: str | None
    n_layers: int | None
    d_model: int | None
    vocab_size: int | None
    context_length: int | None
    parameters: int | None
    parameters_approximate: bool = Field(
        description="Whether they were reckoned from the size of the files, which do not say it themselves."
    )
    stored_as: dict[str, int] = Field(description="Parameters by the type in which they are stored.")
    code: ModelCodeOut | None
    memory: list[MemoryForecastOut] = Field(
        description="One for each precision; empty where sizes are unknown."
    )


class UserOut(BaseModel):
    """Something that uses the object that was asked about."""

    kind: str = Field(examples=["training"])
    id: str
    name: str
