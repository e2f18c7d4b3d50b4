"""What an evaluation measures, and on how much. Imports no PyTorch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class EvaluationSettings(BaseModel):
    """Amounts and options of one evaluation. The same settings, tokens and model give the same numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int = Field(
        default=100_000,
        ge=1,
        title="Tokens",
        description="Tokens on which reconstruction, sparsity and frequencies are measured.",
    )
    spliced_tokens: int = Field(
        default=8_192,
        ge=0,
        title="Tokens spliced",
        description="Of these, tokens on which the model is run with the SAE spliced in (CE, KL). 0 leaves that out.",
    )
    absorption: bool = Field(
        default=False,
        title="Feature absorption",
        description="SAEBench's first-letter task. Needs a residual-stream SAE and a model that can spell.",
    )
    probing: bool = Field(
        default=False,
        title="Sparse probing",
        description="Telling classes of texts apart with 1, 2 and 5 latents, on the probe sets that come with us.",
    )
    batch_size: int = Field(
        default=8,
        ge=1,
        le=512,
        title="Sequences at once",
        description="Sequences per forward pass. Logits of a batch take batch × context × vocabulary × 4 bytes.",
        json_schema_extra={"advanced": True},
    )
    skip_special: bool = Field(
        default=True,
        title="Leave out special tokens",
        description="Special tokens (BOS, EOS, …) are neither measured nor replaced.",
        json_schema_extra={"advanced": True},
    )
    outlier_norm_multiple: float | None = Field(
        default=None,
        gt=1,
        title="Leave out tokens above this norm",
        description="Multiple of the median norm in a batch above which a token is not measured (attention sinks). "
        "Does not concern CE and KL.",
        json_schema_extra={"advanced": True},
    )
    words: int = Field(
        default=20_000,
        ge=200,
        title="Words for absorption",
        description="Words taken from the vocabulary at random, at most. SAEBench takes all that consist of letters.",
        json_schema_extra={"advanced": True},
    )
    spelling_prompts: int = Field(
        default=16,
        ge=1,
        title="Spelling prompts",
        description="Different lists of ten examples that words are shown after (SAEBench makes one for every word).",
        json_schema_extra={"advanced": True},
    )
    probe_texts: int = Field(
        default=100,
        ge=10,
        title="Probe texts",
        description="Training texts for each class of a probe set; half as many test it. 100 is all that there are.",
        json_schema_extra={"advanced": True},
    )
    probe_context: int = Field(
        default=128,
        ge=8,
        title="Probe context",
        description="Tokens at which a probe text is cut off.",
        json_schema_extra={"advanced": True},
    )
    seed: int = Field(
        default=0,
        title="Seed",
        description="Chooses words, examples and negative texts.",
        ge=0,
        json_schema_extra={"advanced": True},
    )
