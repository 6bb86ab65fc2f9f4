"""Asking a child over HTTP: whether it is ready, and whether it really is ours."""

import asyncio
from enum import StrEnum
from typing import Final

import httpx

from llama_runner.core.errors import ProtocolError, ServerError, UnreachableError
from llama_runner.net.fetch import Reply, fetch
from llama_runner.system.processes import listens_on

# It answers at once even while it computes; on a loaded machine give it time.
HEALTH_TIMEOUT_S: Final = 2.0
_VERIFY_TIMEOUT_S: Final = 5.0
_MAX_BODY_BYTES: Final = 1024 * 1024


class Health(StrEnum):
    """What `/health` said, or why it said nothing."""

    READY = "ready"
    LOADING = "loading"
    SILENT = "silent"
    CLOSED = "closed"


async def health(http: httpx.AsyncClient, url: str, *, timeout_s: float = HEALTH_TIMEOUT_S) -> Health:
    """One look at `/health`. Sends no key: until `is_ours` said so, a stranger may be listening."""
    try:
        reply = await fetch(http, f"{url}/health", timeout_s=timeout_s, max_bytes=_MAX_BODY_BYTES)
    except ServerError:
        return Health.SILENT
    if reply.status == 200:
        return Health.READY
    return Health.LOADING if reply.status == 503 else Health.SILENT


async def still_health(
    http: httpx.AsyncClient, url: str, *, pid: int, port: int, timeout_s: float = HEALTH_TIMEOUT_S
) -> Health:
    """As `health`, of a child that has served before: one that gave its port up is told from a busy one."""
    seen = await health(http, url, timeout_s=timeout_s)
    if seen is not Health.READY and await asyncio.to_thread(listens_on, pid, port) is False:
        return Health.CLOSED
    return seen


async def counters(http: httpx.AsyncClient, url: str, *, api_key: str, timeout_s: float) -> bytes | None:
    """What the engine counts of its work, as `/metrics` words it; None when it does not say in time."""
    headers = {"Authorization": f"Bearer {api_key}"}
    try:
        reply = await fetch(
            http, f"{url}/metrics", headers=headers, timeout_s=timeout_s, max_bytes=_MAX_BODY_BYTES
        )
    except ServerError:
        return None
    return reply.body if reply.status == 200 else None


async def is_ours(
    http: httpx.AsyncClient, url: str, *, pid: int, port: int, api_key: str, alias: str
) -> bool | None:
    """Whether the server at `url` is the child we started (F11); None when it did not answer in time.

    The child itself must hold the port, it must refuse who has no key, and with this launch's key it must
    know the model under our name.
    """
    if await asyncio.to_thread(listens_on, pid, port) is False:
        return False
    try:
        if (await _props(http, url, {})).status != 401:
            return False
        reply = await _props(http, url, {"Authorization": f"Bearer {api_key}"})
        document = await reply.document() if reply.status == 200 else None
    except UnreachableError:
        return None
    except ProtocolError:
        return False
    return isinstance(document, dict) and document.get("model_alias") == alias


async def _props(http: httpx.AsyncClient, url: str, headers: dict[str, str]) -> Reply:
    return await fetch(
        http, f"{url}/props", headers=headers, timeout_s=_VERIFY_TIMEOUT_S, max_bytes=_MAX_BODY_BYTES
    )
