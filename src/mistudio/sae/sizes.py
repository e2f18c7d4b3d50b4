"""In which pieces a step works, which forecasts of its memory count with, too. Imports no PyTorch."""

SEARCH_BLOCK_BYTES = 24 * 2**20
"""Pre-activations on a CPU that are searched for active latents at a time: they stay in cache."""
SPARSE_PAYS_BELOW = 1 / 8
"""Share of active latents under which the sparse products beat the dense ones (measured on 2 CPU cores)."""
