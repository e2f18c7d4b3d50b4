"""The community formats by name: what they are called, what their files are, what they cannot hold.

Imports no PyTorch: the command line and the web process list formats from here.
"""

from dataclasses import dataclass
from typing import Literal

Format = Literal[
    "mistudio",
    "sae_lens",
    "sparsify",
    "llama_scope",
    "dictionary_learning",
    "gemma_scope",
    "gemma_scope_2",
    "crosscoder_learning",
    "circuit_tracer",
    "temporal",
    "openai",
    "goodfire",
    "qwen_scope",
    "nanda",
]

TENSOR_SUFFIXES = (".safetensors", ".npz", ".pt", ".pth")
"""Of files that hold tensors; whatever else lies beside them only describes those."""


@dataclass(frozen=True)
class FormatInfo:
    """One format."""

    title: str
    files: str
    """what lies in its folder"""
    cannot_hold: str
    """in words, after “cannot hold”; writing such a dictionary is refused"""


# In the order in which they are tried: those told apart by file names come before those by tensors alone.
FORMATS: dict[Format, FormatInfo] = {
    "mistudio": FormatInfo("miStudio", "mistudio.json and weights.safetensors", "nothing is lost"),
    "sae_lens": FormatInfo(
        "SAELens",
        "cfg.json and sae_weights.safetensors",
        "TopK, gated and signed transcoders, transcoders that normalise tokens",
    ),
    "sparsify": FormatInfo(
        "sparsify",
        "cfg.json and sae.safetensors",
        "anything but TopK, outputs of another width, normalised tokens, crosscoders",
    ),
    "llama_scope": FormatInfo(
        "Llama Scope",
        "hyperparams.json and checkpoints/final.safetensors, or config.json and sae_weights.safetensors",
        "gated and signed latents, skip connections, normalised tokens, crosscoders",
    ),
    "temporal": FormatInfo(
        "temporal SAEs", "conf.yaml and latest_ckpt.safetensors", "anything but temporal dictionaries"
    ),
    "dictionary_learning": FormatInfo(
        "dictionary_learning",
        "ae.pt and config.json",
        "transcoders, signed latents, normalised tokens, crosscoders",
    ),
    "gemma_scope": FormatInfo(
        "Gemma Scope",
        "params.npz",
        "TopK, gated and signed latents, skip connections, normalised tokens, crosscoders",
    ),
    "gemma_scope_2": FormatInfo(
        "Gemma Scope 2",
        "params.safetensors and config.json",
        "TopK, gated and signed latents, normalised tokens, crosscoders",
    ),
    "crosscoder_learning": FormatInfo(
        "crosscoder_learning",
        "model.safetensors and config.json, or one .pt file",
        "autoencoders of one layer, anything but ReLU and BatchTopK, normalised tokens",
    ),
    "circuit_tracer": FormatInfo(
        "circuit-tracer",
        "layer_0.safetensors, …",
        "TopK, gated and signed latents, normalised tokens, crosscoders",
    ),
    "openai": FormatInfo(
        "OpenAI",
        "one .pt file with pre_bias and latent_bias",
        "anything but ReLU on plain tokens and TopK on layer-normalised ones, transcoders, crosscoders",
    ),
    "goodfire": FormatInfo(
        "Goodfire",
        "one .pth file with encoder_linear and decoder_linear",
        "anything but ReLU, transcoders, normalised tokens, crosscoders",
    ),
    "qwen_scope": FormatInfo(
        "Qwen Scope",
        "layer0.sae.pt, …",
        "anything but TopK, transcoders, normalised tokens, crosscoders",
    ),
    "nanda": FormatInfo(
        "Nanda and Kissane", "0.pt and 0_cfg.json", "anything but ReLU, transcoders, normalised tokens"
    ),
}
