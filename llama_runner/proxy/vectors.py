"""Embeddings cut to the length that was asked for: llama-server has no such option."""

import base64
import json
import math
import struct
from collections.abc import Mapping, Sequence

from llama_runner.core.errors import ProtocolError
from llama_runner.core.jsonio import JsonRejected, JsonValue, parse_json
from llama_runner.proxy.bodies import MAX_BODY_BYTES


def parsed_answer(data: bytes) -> Mapping[str, JsonValue]:
    """The engine's answer. Raises ProtocolError when it is no JSON."""
    try:
        document = parse_json(data, max_bytes=MAX_BODY_BYTES)
    except JsonRejected as error:
        raise ProtocolError("The engine", "its answer is not JSON") from error
    return document if isinstance(document, dict) else {}


def vectors_of(document: Mapping[str, JsonValue]) -> list[list[float]]:
    """The vectors in OpenAI's answer, as floats."""
    data = document.get("data")
    found: list[list[float]] = []
    for item in data if isinstance(data, list) else []:
        vector = item.get("embedding") if isinstance(item, dict) else None
        numbers = vector if isinstance(vector, list) else []
        found.append([float(x) for x in numbers if isinstance(x, int | float)])
    return found


def shortened(vector: Sequence[float], size: int | None) -> list[float]:
    """The first `size` numbers, of length 1 again; all of them for None."""
    if size is None or not 0 < size < len(vector):
        return list(vector)
    cut = vector[:size]
    length = math.sqrt(sum(x * x for x in cut))
    return [x / length for x in cut] if length else list(cut)


def cut_answer(data: bytes, size: int, *, as_base64: bool) -> bytes:
    """OpenAI's answer with every vector cut to `size`; little-endian 32-bit floats where base64 is wanted."""
    document = dict(parsed_answer(data))
    cut: list[JsonValue] = []
    for place, whole in enumerate(vectors_of(document)):
        vector = shortened(whole, size)
        packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        numbers: list[JsonValue] = list(vector)
        cut.append({"object": "embedding", "index": place, "embedding": packed if as_base64 else numbers})
    document["data"] = cut
    return json.dumps(document).encode()
