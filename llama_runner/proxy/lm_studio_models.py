"""Models as LM Studio's REST interfaces list them, v0 and v1."""

from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy.host import ModelState, OfferedModel


def v0_entry(model: OfferedModel) -> dict[str, JsonValue]:
    """One model of `/api/v0/models`; strict clients need every field."""
    entry: dict[str, JsonValue] = {
        "id": model.id,
        "object": "model",
        "type": "embeddings" if embeds(model) else "vlm" if "vision" in model.capabilities else "llm",
        "publisher": "local",
        "arch": model.architecture or "unknown",
        "compatibility_type": "gguf",
        "quantization": model.quantization or "unknown",
        "state": str(model.state),
        "max_context_length": model.trained_context or model.running_context or 0,
        "capabilities": [
            said for said, ours in (("tool_use", "tools"), ("vision", "vision")) if ours in model.capabilities
        ],
    }
    if model.state is ModelState.LOADED:
        entry["loaded_context_length"] = model.running_context or model.trained_context or 0
    return entry


def v1_entry(model: OfferedModel) -> dict[str, JsonValue]:
    """One model of `/api/v1/models`."""
    loaded: list[JsonValue] = []
    if model.state is ModelState.LOADED:
        context = model.running_context or model.trained_context or 0
        loaded.append({"id": model.id, "config": {"context_length": context}})
    entry: dict[str, JsonValue] = {
        "type": "embedding" if embeds(model) else "llm",
        "publisher": "local",
        "key": model.id,
        "display_name": model.id,
        "architecture": model.architecture,
        "quantization": {"name": model.quantization, "bits_per_weight": _bits(model)}
        if model.quantization
        else None,
        "size_bytes": model.size_bytes,
        "params_string": parameters_text(model.parameter_count),
        "loaded_instances": loaded,
        "max_context_length": model.trained_context or model.running_context or 0,
        "format": "gguf",
    }
    if not embeds(model):
        can: dict[str, JsonValue] = {
            "vision": "vision" in model.capabilities,
            "trained_for_tool_use": "tools" in model.capabilities,
        }
        if "thinking" in model.capabilities:
            can["reasoning"] = {"allowed_options": ["off", "on"], "default": "on"}
        entry["capabilities"] = can
    return entry


def parameters_text(count: int | None) -> str | None:
    """8030261248 as "8.0B"."""
    if not count:
        return None
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6)):
        if count >= size:
            return f"{count / size:.1f}{unit}" if count < 100 * size else f"{count / size:.0f}{unit}"
    return f"{count / 1000:.0f}K"


def _bits(model: OfferedModel) -> float | None:
    return round(model.size_bytes * 8 / model.parameter_count, 1) if model.parameter_count else None


def embeds(model: OfferedModel) -> bool:
    """Whether it makes vectors, not text."""
    return "embedding" in model.capabilities
