"""A server with one model behind whatever certificate a test wants, and what it heard."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.fakes.certificates import Signed
from tests.fakes.raw_server import RawServer, raw_server, response

MODEL: Final = "tiny"
_CHUNKS: Final = (
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Blue"}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}},
)
_STREAM: Final = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in _CHUNKS) + "data: [DONE]\n\n"


def answer(head: bytes, models: tuple[str, ...] = (MODEL,)) -> bytes:
    """What an OpenAI-compatible server says to a request."""
    path = head.split()[1]
    if path == b"/v1/models":
        listed = [{"id": model, "object": "model", "owned_by": "somebody"} for model in models]
        return response(json.dumps({"object": "list", "data": listed}).encode())
    if path == b"/v1/chat/completions":
        return response(_STREAM.encode(), content_type="text/event-stream")
    return response(b'{"error": {"message": "not found"}}', status="404 Not Found")


@asynccontextmanager
async def tls_model_server(signed: Signed, folder: Path) -> AsyncIterator[RawServer]:
    """Serve the model over https."""
    context = signed.context(folder, signed.sha256[:8])
    async with raw_server(lambda n, head: answer(head), tls=context) as server:
        yield server


def keys_heard(server: RawServer) -> list[str]:
    """The credentials of everything it was asked, in order, without those that had none."""
    found = []
    for head in server.heads:
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(": ")
            if name.lower() in ("authorization", "x-api-key", "cookie", "proxy-authorization"):
                found.append(value)
    return found
