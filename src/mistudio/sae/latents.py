"""Sparse latents: what an SAE says about a batch of tokens, without the zeros."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenFrame:
    """What a normalisation of single tokens took away: x = normalised · scale + mean."""

    mean: Tensor
    """[N, 1]; [N, d] where a part of each token was predicted (temporal dictionaries)"""
    scale: Tensor
    """[N, 1]"""

    def restore(self, normalised: Tensor) -> Tensor:
        """Back to the model's own units, [N, d]."""
        return normalised * self.scale + self.mean


@dataclass(frozen=True)
class Latents:
    """Active latents of N tokens in compressed rows.

    Token n's active latents are `indices[offsets[n]:offsets[n + 1]]` with their `values` at the same
    places, in no particular order. Values are positive, except where an architecture has signed latents.
    """

    values: Tensor
    """[nnz] float, none of them 0"""
    indices: Tensor
    """[nnz] int64 latent ids in 0..d_sae-1, each at most once per token"""
    offsets: Tensor
    """[N + 1] int64, from 0 to nnz"""
    d_sae: int
    frame: TokenFrame | None = None
    """what decoding must undo, where tokens were normalised one by one"""

    @property
    def n_tokens(self) -> int:
        """N."""
        return self.offsets.shape[0] - 1

    @cached_property
    def tokens(self) -> Tensor:
        """[nnz] int64: the token that each value belongs to."""
        counts = self.offsets[1:] - self.offsets[:-1]
        positions = torch.arange(self.n_tokens, device=self.offsets.device)
        return positions.repeat_interleave(counts, output_size=self.values.shape[0])

    def dense(self) -> Tensor:
        """The same as a matrix [N, d_sae]."""
        out = self.values.new_zeros(self.n_tokens, self.d_sae)
        out[self.tokens, self.indices] = self.values
        return out

    def fired(self) -> Tensor:
        """[d_sae] bool: which latents are active on any of the tokens."""
        out = torch.zeros(self.d_sae, dtype=torch.bool, device=self.indices.device)
        out[self.indices] = True
        return out

    def counts(self) -> Tensor:
        """[d_sae] int64: on how many of the tokens each latent is active."""
        return torch.bincount(self.indices, minlength=self.d_sae)

    def to(self, device: torch.device | str) -> "Latents":
        """The same latents on another device."""
        frame = self.frame
        if frame is not None:
            frame = TokenFrame(frame.mean.to(device), frame.scale.to(device))
        return Latents(
            self.values.to(device), self.indices.to(device), self.offsets.to(device), self.d_sae, frame
        )

    @staticmethod
    def from_dense(z: Tensor) -> "Latents":
        """Keep the entries of z [N, d_sae] that are not 0."""
        tokens, indices = z.nonzero(as_tuple=True)
        counts = torch.bincount(tokens, minlength=z.shape[0])
        return Latents(z[tokens, indices], indices, row_offsets(counts), z.shape[1])

    @staticmethod
    def from_top_k(values: Tensor, indices: Tensor, d_sae: int) -> "Latents":
        """From values and indices [N, k]; entries that are not positive are dropped."""
        n, k = values.shape
        positive = values > 0
        if bool(positive.all()):
            offsets = torch.arange(0, n * k + 1, k, device=values.device)
            return Latents(values.reshape(-1), indices.reshape(-1), offsets, d_sae)
        return Latents(values[positive], indices[positive], row_offsets(positive.sum(1)), d_sae)

    @staticmethod
    def concatenate(parts: "list[Latents]") -> "Latents":
        """Latents of consecutive groups of tokens as one."""
        if len(parts) == 1:
            return parts[0]
        counts = torch.cat([p.offsets[1:] - p.offsets[:-1] for p in parts])
        return Latents(
            torch.cat([p.values for p in parts]),
            torch.cat([p.indices for p in parts]),
            row_offsets(counts),
            parts[0].d_sae,
        )


def row_offsets(counts: Tensor) -> Tensor:
    """Offsets [N + 1] of rows with the given numbers of entries [N]."""
    offsets = torch.zeros(counts.shape[0] + 1, dtype=torch.int64, device=counts.device)
    torch.cumsum(counts, 0, out=offsets[1:])
    return offsets
