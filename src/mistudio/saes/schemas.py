"""What crosses the API about SAEs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mistudio.engine.evaluation.report import Histogram, Report
from mistudio.engine.evaluation.settings import EvaluationSettings
from mistudio.jobs import JobOut


class TrainedOrigin(BaseModel):
    """It was trained here."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["trained"] = "trained"
    tokens: int | None = Field(default=None, description="Tokens it was trained on.")
    held_out_tokens: int | None = Field(default=None, description="Tokens its metrics were measured on.")
    checkpoint: int | None = Field(
        default=None,
        description="The step of the checkpoint that it was made of; null for what a training ended with.",
    )


class ImportedOrigin(BaseModel):
    """It came from a file or folder."""

    kind: Literal["imported"] = "imported"
    path: str = Field(description="The folder or file. For an upload: the file's name.")
    uploaded: bool = False


SaeOrigin = Annotated[TrainedOrigin | ImportedOrigin, Field(discriminator="kind")]


class SaeImport(BaseModel):
    """An SAE to bring in, in any known format."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(
        max_length=4000,
        description="A folder on the server, its file with tensors, or a zip file of it.",
    )
    name: str | None = Field(
        default=None, min_length=1, max_length=200, description="Default: the folder's or file's name."
    )
    model_id: str | None = Field(
        default=None, description="The model it belongs to. Default: the one that its configuration names."
    )
    hook: str | None = Field(
        default=None, max_length=200, description="Its hook point. Default: the one in its configuration."
    )


class SaeChange(BaseModel):
    """What may be changed about an SAE."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=200)
    notes: str | None = Field(default=None, max_length=20_000)
    model_id: str | None = Field(default=None, description="The model it belongs to.")
    hook: str | None = Field(default=None, max_length=200, description="The hook point that it reads.")


class SaeOut(BaseModel):
    """An SAE. `architecture`, `d_in`, `d_sae` and `bytes` are null until an import has succeeded."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    notes: str
    training_id: str | None
    model_id: str | None
    model_name: str | None = None
    hook: str | None
    layer: int | None = Field(default=None, description="The layer of its hook point.")
    architecture: str | None
    d_in: int | None
    d_sae: int | None
    config: dict[str, Any] = Field(
        description="Architecture, shape (`transcoder`, `n_sites`, `d_out`), norms, input centring and metadata."
    )
    metrics: dict[str, float | None] = Field(
        description="The newest of what was measured: at the end of its training (on held-out tokens where there were "
        "any), by an evaluation."
    )
    origin: SaeOrigin
    bytes: int | None
    ready: bool
    created_at: datetime
    extraction_count: int = 0
    job: JobOut | None = Field(default=None, description="The newest job that imports or evaluates it.")


class FormatOut(BaseModel):
    """A community format."""

    name: str = Field(description="What `mistudio convert --to` calls it.", examples=["sae_lens"])
    title: str = Field(examples=["SAELens"])
    files: str = Field(description="What lies in its folder.")
    cannot_hold: str = Field(description="What cannot be written in it.")


class SaeWeights(BaseModel):
    """What the weights look like."""

    decoder_norms: Histogram = Field(description="‖W_dec[i]‖ over latents.")
    encoder_norms: Histogram | None = Field(
        description="‖W_enc[i]‖ over latents. Null where the decoder is the encoder."
    )
    encoder_biases: Histogram | None = Field(description="Null where there are none.")
    encoder_decoder_cosines: Histogram | None = Field(
        description="cos(W_enc[i], W_dec[i]) over latents. Null where the two have different widths or are one."
    )


class ImportParams(BaseModel):
    """Parameters of the job `saes.import`."""

    sae_id: str
    path: str = Field(description="The folder or file.")
    upload: bool = Field(default=False, description="The file belongs to the SAE and is removed afterwards.")
    model_id: str | None = None
    hook: str | None = None


class EvaluationCreate(EvaluationSettings):
    """An evaluation to make: what is measured, and on which tokens."""

    tokenization_id: str | None = Field(
        default=None,
        title="Tokens of",
        description="Default: those that it was trained on, beginning with what was held out; else the newest of its "
        "model.",
    )


class EvaluationsCreate(EvaluationCreate):
    """One evaluation of several SAEs of one model, which share every pass of it."""

    sae_ids: list[str] = Field(min_length=1, max_length=100)


class MetricOut(BaseModel):
    """What a number means."""

    title: str
    unit: str
    formula: str
    description: str
    better: str = Field(description="`higher`, `lower` or empty.")
    version: str = Field(description="Whose definition it is, where several are in use.")


class EvaluationRecord(BaseModel):
    """An evaluation as it is kept in a file."""

    report: Report
    tokenization_id: str
    held_out_tokens: int | None = Field(
        description="So many tokens were held out of its training; they come first. Null where that is not known."
    )
    at: datetime


class EvaluationOut(EvaluationRecord):
    """The newest evaluation of an SAE."""

    infos: dict[str, MetricOut] = Field(description="By name, what each of the report's metrics means.")


class EvaluateParams(BaseModel):
    """Parameters of the job `saes.evaluate`."""

    sae_ids: list[str]
    tokenization_id: str
    settings: EvaluationSettings
