"""What the demo does, in numbers. Chosen by measurement: docs/decisions/0002-demo-recipe.md."""

from __future__ import annotations

from mistudio.activations.schemas import HarvestSettings
from mistudio.datasets.tokenization_schemas import TokenizationSettings
from mistudio.features.schemas import ExtractionSettings
from mistudio.labels.schemas import LabellingRunCreate, LabelScope
from mistudio.sae.config import TopKConfig, TrainerConfig

HOOK = "blocks.9.hook_resid_post"

TOKENIZATION = TokenizationSettings(context_length=128, prepend_bos=True)

HARVEST_TOKENS = 320_000
HARVEST = HarvestSettings(n_tokens=HARVEST_TOKENS, seed=0, batch_sequences=16)

TRAINER = TrainerConfig(
    architecture=TopKConfig(k=32),
    d_sae=6_144,
    total_tokens=1_280_000,
    batch_size=4_096,
    learning_rate=1e-3,
    warmup_steps=50,
    dead_latent_window=200_000,
    log_every=2,
    checkpoint_every=100,
)
HELD_OUT_TOKENS = 16_384

EXTRACTION = ExtractionSettings()
LABELLING = LabellingRunCreate(
    source="contrast",
    scope=LabelScope(min_frequency=0.0002, max_frequency=0.002, order="frequency", limit=400),
)

PROMPT = "My fellow citizens, the most important thing for our country is"
NEW_TOKENS = 40
STRENGTHS = (0.75, 1.5)
"""In units of the feature's own maximum activation."""
CANDIDATES = 3
LETTERS = 5
"""Features are chosen by their effect on the output: of the best-labelled ones with a word of at least so many letters
among their top tokens (so not “by”), each is tried at each strength, and the text that says most of the feature's own
words is shown."""
