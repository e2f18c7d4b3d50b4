"""SAELens' cfg.json, of version 6 and of the releases before it, as one form."""

from pathlib import Path
from typing import Any

from mistudio.sae.errors import SAEFormatError
from mistudio.sae.formats.source import Source

CONFIG_FILE = "cfg.json"

_RENAMED = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "hook_point_layer": "hook_layer",
}
_ABOUT_THE_MODEL = (
    "model_name",
    "hook_name",
    "hook_layer",
    "hook_head_index",
    "hook_name_out",
    "hook_head_index_out",
    "model_class_name",
    "model_from_pretrained_kwargs",
    "prepend_bos",
    "exclude_special_tokens",
    "neuronpedia_id",
    "context_size",
    "seqpos_slice",
    "dataset_path",
    "sae_lens_version",
    "sae_lens_training_version",
)
"""Keys that stood beside the sizes before version 6, and stand under `metadata` since."""


def read_config(source: Source) -> dict[str, Any]:
    """The configuration in the form of version 6, with `architecture` and `metadata` always there."""
    where = source.folder / CONFIG_FILE
    config = source.json(CONFIG_FILE)
    if not isinstance(config.get("metadata", {}), dict):
        raise SAEFormatError(f"{where} is not a SAELens configuration: metadata is not an object.")
    config["metadata"] = dict(config.get("metadata", {}))
    version = config["metadata"].get("sae_lens_version") or config.get("sae_lens_version")
    if _major(version) < 6:
        config = _since_version_6(config, where)
    architecture = config.get("architecture")
    if not isinstance(architecture, str):
        raise SAEFormatError(f"{where} names no architecture (found {str(architecture)[:80]!r}).")
    return config


def _major(version: Any) -> int:
    first = version.split(".")[0] if isinstance(version, str) else ""
    return int(first) if first.isdigit() and len(first) < 6 else 0


def _since_version_6(config: dict[str, Any], where: Path) -> dict[str, Any]:
    config = {_RENAMED.get(key, key): value for key, value in config.items()}
    activation = config.get("activation_fn_str", config.get("activation_fn", "relu"))
    arguments = config.get("activation_fn_kwargs") or {}
    config.setdefault("architecture", "standard")
    if activation == "topk" and isinstance(arguments, dict):
        config["architecture"] = "topk"
        config["k"] = arguments.get("k")
    elif activation != "relu":
        raise SAEFormatError(f"{where} names the activation function {activation!r}, which is not supported.")
    if isinstance(config.get("normalize_activations"), bool):
        config["normalize_activations"] = (
            "expected_average_only_in" if config["normalize_activations"] else "none"
        )
    if config.get("normalize_activations") is None:
        config["normalize_activations"] = "none"
    hook = config.get("hook_name")
    config.setdefault(
        "reshape_activations", "hook_z" if isinstance(hook, str) and "hook_z" in hook else "none"
    )
    config["metadata"] |= {key: config[key] for key in _ABOUT_THE_MODEL if key in config}
    config["metadata"].setdefault("prepend_bos", True)
    return config
