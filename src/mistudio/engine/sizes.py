"""How much the engine has in memory at a time, with which forecasts count, too. Imports no PyTorch."""

POOL_TOKENS = 65_536
"""Activations that are mixed at a time while the model runs alongside."""
GROUP_TOKENS = 16_384
"""Sequences are read in groups of about this many tokens: sorted by length inside a group there is little padding."""
ORIGIN_BYTES = 10
"""Of each row of a cache: its sequence (4), position (2) and token id (4)."""
SPLICED_TOKENS = 256
"""Tokens of a pass with dictionaries spliced in: sequences are cut to so many, and logits take so many × vocabulary
numbers."""
SPLICED_TOGETHER = 4
"""Dictionaries that are measured in one pass: each is a copy of the one that learns."""
