"""How much memory a model will take, before any of its weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistudio.lm.checkpoint import Checkpoint, find_checkpoint, read_config, safetensors_header
from mistudio.lm.errors import ModelLoadError
from mistudio.lm.quantization import BYTES_PER_WEIGHT

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "int4": 0.5}


@dataclass(frozen=True)
class ModelFootprint:
    """What one model needs at one dtype, in bytes. Activation figures are estimates, the others are exact.

    bytes_per_number: of an activation or a weight that is not quantized.
    embedding_parameters: weights of embedding and unembedding, which quantization leaves as they are.
    d_mlp, kv_width: width of the MLP's inner layer; of one layer's keys (or values) for one token.
    kv_cache_bytes_per_token: keys and values of all layers for one token of one text, without the saving
        that sliding windows bring.
    activation_bytes_per_token: one hook's activation of one token (d_model numbers).
    forward_bytes_per_token: the largest set of tensors alive at once inside a block for one token of a
        batch: three copies of the residual stream and the MLP's two inner ones.
    logits_bytes_per_token: one token's logits in float32.
    """

    dtype: str
    parameters: int
    weight_bytes: int
    bytes_per_number: float
    embedding_parameters: int
    n_layers: int
    d_model: int
    d_mlp: int
    kv_width: int
    vocab_size: int
    kv_cache_bytes_per_token: int
    activation_bytes_per_token: int
    forward_bytes_per_token: int
    logits_bytes_per_token: int

    def harvest_bytes(self, batch_size: int, context_length: int, n_hooks: int = 1) -> int:
        """Peak memory of harvesting `n_hooks` hooks from batches of that many tokens."""
        tokens = batch_size * context_length
        return self.weight_bytes + tokens * (
            self.forward_bytes_per_token + n_hooks * self.activation_bytes_per_token
        )

    def generation_bytes(self, rows: int, context_length: int) -> int:
        """Peak memory of generating `rows` texts side by side up to `context_length` tokens."""
        cache = rows * context_length * self.kv_cache_bytes_per_token
        prefill = rows * context_length * self.forward_bytes_per_token
        return self.weight_bytes + cache + prefill + rows * self.logits_bytes_per_token


def estimate(model: Mapping[str, Any] | str | Path, dtype: str = "float32") -> ModelFootprint:
    """The footprint of a model folder (from its safetensors' headers; needs no PyTorch) or of a configuration
    (a dict as in config.json; the parameters are counted on a model without storage).

    Raises ModelLoadError for a folder that no model can be loaded from or a configuration that no causal
    model has, ValueError for an unknown dtype.
    """
    if isinstance(model, Mapping):
        config = dict(model)
        parameters = _count_on_meta(config)
    else:
        config, parameters = read_footprint_facts(find_checkpoint(Path(model)))
    return footprint_of(config, parameters, dtype)


def footprint_of(config: Mapping[str, Any], parameters: int, dtype: str) -> ModelFootprint:
    """The footprint of a model of which the configuration and the number of parameters are known.

    Raises ValueError for an unknown dtype.
    """
    if dtype not in BYTES:
        raise ValueError(f"'{dtype}' is not a dtype: use one of {', '.join(BYTES)}.")
    layers, width = _get(config, "num_hidden_layers", "n_layer"), _get(config, "hidden_size", "n_embd")
    heads = _get(config, "num_attention_heads", "n_head")
    kv_heads = _get(config, "num_key_value_heads", default=heads)
    head = _get(config, "head_dim", default=width // max(1, heads))
    inner = _get(config, "intermediate_size", "n_inner", default=4 * width)
    vocabulary = _get(config, "vocab_size")
    # Transformers ties them unless a configuration says otherwise.
    tied = _get(config, "tie_word_embeddings", default=1)
    embedding = min(parameters, vocabulary * width * (1 if tied else 2))
    # Quantized weights are computed with in two bytes.
    computed = max(2.0, BYTES[dtype])
    return ModelFootprint(
        dtype=dtype,
        parameters=parameters,
        weight_bytes=int(
            (parameters - embedding) * BYTES_PER_WEIGHT.get(dtype, computed) + embedding * computed
        ),
        bytes_per_number=computed,
        embedding_parameters=embedding,
        n_layers=layers,
        d_model=width,
        d_mlp=inner,
        kv_width=kv_heads * head,
        vocab_size=vocabulary,
        kv_cache_bytes_per_token=int(2 * layers * kv_heads * head * computed),
        activation_bytes_per_token=int(width * computed),
        forward_bytes_per_token=int((3 * width + 2 * inner) * computed),
        logits_bytes_per_token=4 * vocabulary,
    )


def read_footprint_facts(checkpoint: Checkpoint) -> tuple[dict[str, Any], int]:
    """Configuration and number of parameters of a checkpoint, from its headers. Raises ModelLoadError."""
    if checkpoint.gguf is not None:
        return _read_gguf(checkpoint.folder / checkpoint.gguf)
    config = read_config(checkpoint.folder)
    headers = [safetensors_header(checkpoint.folder / name) for name in checkpoint.safetensors]
    tensors = {name: tensor for header in headers for name, tensor in header.items()}
    if _get(config, "tie_word_embeddings"):
        tensors.pop("lm_head.weight", None)
    return config, sum(tensor.parameters for tensor in tensors.values())


def _read_gguf(path: Path) -> tuple[dict[str, Any], int]:
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        kind = str(reader.fields["general.architecture"].contents())
        names = {
            "num_hidden_layers": "block_count",
            "hidden_size": "embedding_length",
            "intermediate_size": "feed_forward_length",
            "num_attention_heads": "attention.head_count",
            "num_key_value_heads": "attention.head_count_kv",
            "head_dim": "attention.key_length",
            "max_position_embeddings": "context_length",
        }
        fields = {ours: reader.fields.get(f"{kind}.{theirs}") for ours, theirs in names.items()}
        config = {ours: field.contents() for ours, field in fields.items() if field is not None}
        config["vocab_size"] = len(reader.fields["tokenizer.ggml.tokens"].data)
        config["model_type"] = kind
        config["tie_word_embeddings"] = all(tensor.name != "output.weight" for tensor in reader.tensors)
        return config, sum(int(tensor.n_elements) for tensor in reader.tensors)
    except (KeyError, ValueError, IndexError) as error:
        raise ModelLoadError(
            "corrupt_weights", f"{path} cannot be read as GGUF: {error}.", "Fetch the file again."
        ) from error


def _get(config: Mapping[str, Any], *names: str, default: int = 0) -> int:
    nested = config.get("text_config")
    for place in (config, nested if isinstance(nested, Mapping) else {}):
        for name in names:
            if place.get(name) is not None:
                return int(place[name])
    return default


def _count_on_meta(config: dict[str, Any]) -> int:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from mistudio.lm.load import load_errors

    with load_errors("of this configuration"), torch.device("meta"):
        kind = str(config.get("model_type", ""))
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(kind, **{k: v for k, v in config.items() if k != "model_type"}),
            trust_remote_code=False,
        )
    return sum(p.numel() for p in model.parameters())
