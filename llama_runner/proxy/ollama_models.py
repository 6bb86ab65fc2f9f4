"""Models as Ollama lists and describes them."""

from typing import Final

from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy.durations import expires_at, rfc3339
from llama_runner.proxy.host import OfferedModel
from llama_runner.proxy.lm_studio_models import parameters_text

_DEFAULT_TAG: Final = ":latest"


def full_name(model_id: str) -> str:
    """The name with its tag, as Ollama's lists always have it; requests may leave the default one out."""
    return model_id if ":" in model_id else model_id + _DEFAULT_TAG


def details(model: OfferedModel) -> dict[str, JsonValue]:
    """What lists say about a model's file; every text is there."""
    return {
        "parent_model": "",
        "format": "gguf",
        "family": model.architecture or "",
        "families": [model.architecture] if model.architecture else [],
        "parameter_size": parameters_text(model.parameter_count) or "",
        "quantization_level": model.quantization or "",
        "context_length": model.trained_context or 0,
        "embedding_length": model.embedding_length or 0,
    }


def tag(model: OfferedModel) -> dict[str, JsonValue]:
    """One model of `/api/tags`."""
    return {
        "name": full_name(model.id),
        "model": full_name(model.id),
        "modified_at": rfc3339(model.modified_s),
        "size": model.size_bytes,
        "digest": model.digest,
        "details": details(model),
        "capabilities": list(model.capabilities),
    }


def running_entry(model: OfferedModel, now_s: float) -> dict[str, JsonValue]:
    """One model of `/api/ps`."""
    return {
        "name": full_name(model.id),
        "model": full_name(model.id),
        "size": model.memory_bytes or model.size_bytes,
        "digest": model.digest,
        "details": details(model),
        "expires_at": expires_at(now_s, model.idle_unload_s),
        "size_vram": model.vram_bytes or 0,
        "context_length": model.running_context or model.trained_context or 0,
    }


def shown(model: OfferedModel, basename: str) -> dict[str, JsonValue]:
    """The answer of `/api/show`."""
    return {
        "modelfile": f"FROM {model.id}\n",
        "parameters": _parameters(model),
        "template": _template(model),
        "details": details(model),
        "model_info": model_info(model, basename),
        "capabilities": list(model.capabilities),
        "modified_at": rfc3339(model.modified_s),
    }


def _parameters(model: OfferedModel) -> str:
    """Text as Ollama has it, names padded to 30 columns: the context that requests have now."""
    return f"{'num_ctx':<30} {model.running_context}" if model.running_context else ""


def _template(model: OfferedModel) -> str:
    """Only which fields of a request count: the real one is of another kind, and the engine's business.

    Some clients look for the suffix in it before they ask for text in the middle.
    """
    if "completion" not in model.capabilities:
        return ""
    return "{{ .Prompt }}{{ .Suffix }}" if "insert" in model.capabilities else "{{ .Prompt }}"


def model_info(model: OfferedModel, basename: str) -> dict[str, JsonValue]:
    """Keys of the file's header under their own names; those that are unknown are left out."""
    family = model.architecture or "unknown"
    info: dict[str, JsonValue] = {
        "general.architecture": family,
        "general.basename": basename,
        "general.parameter_count": model.parameter_count,
        f"{family}.context_length": model.trained_context,
        f"{family}.embedding_length": model.embedding_length,
        f"{family}.block_count": model.block_count,
    }
    return {name: value for name, value in info.items() if value is not None}
