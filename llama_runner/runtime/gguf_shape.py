"""What a model's shape means for memory: bytes of context per token. Pure arithmetic on header values."""

from collections.abc import Mapping
from typing import Final

Number = int | float | bool | str

# llama-server keeps keys and values as 16-bit floats unless told otherwise.
VALUE_BYTES: Final = 2
# G12: no model is near these; beyond them a header lies.
_MAX_LAYERS: Final = 10_000
_MAX_WIDTH: Final = 1 << 20


def context_bytes_per_token(
    values: Mapping[str, Number], sums: Mapping[str, int], architecture: str | None
) -> int | None:
    """Bytes that one token of context takes in all layers; None where the header does not say.

    An upper bound for models whose layers see only a window: those keep fewer tokens. Source: llama.cpp's
    llama-kv-cache (keys and values of each layer's KV heads) and its latent attention (one row per layer).

    Args:
        values: The header's plain values by key.
        sums: Sums of its lists of integers: models whose layers differ give a list of heads.
    """

    def count(name: str) -> int | None:
        value = values.get(f"{architecture}.{name}")
        plausible = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_WIDTH
        return value if plausible and isinstance(value, int) else None

    layers, width, heads = count("block_count"), count("embedding_length"), count("attention.head_count")
    if layers is None or layers > _MAX_LAYERS:
        return None
    if (latent := count("attention.kv_lora_rank")) is not None:
        return layers * (latent + (count("rope.dimension_count") or 0)) * VALUE_BYTES
    kv_heads_in_all = sums.get(f"{architecture}.attention.head_count_kv")
    if kv_heads_in_all is None:
        kv_heads = count("attention.head_count_kv") or heads
        if kv_heads is None:
            return None
        kv_heads_in_all = layers * kv_heads
    usual = width // heads if width and heads else None
    key_length = count("attention.key_length") or usual
    value_length = count("attention.value_length") or usual
    if key_length is None or value_length is None or not 0 <= kv_heads_in_all <= _MAX_WIDTH:
        return None
    return kv_heads_in_all * (key_length + value_length) * VALUE_BYTES
