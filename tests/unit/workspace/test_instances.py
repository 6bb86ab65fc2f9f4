"""Instances of the service as servers of the registry."""

import json
from http import HTTPStatus

import pytest

from llama_runner.control.client import ControlClient
from llama_runner.control.values import Instance
from llama_runner.core.tasks import TaskOwner
from llama_runner.discovery.registry import ServerRegistry
from llama_runner.net.client import open_http
from llama_runner.workspace.instances import InstanceMirror
from tests.fakes.raw_server import raw_server


def refusal(status: HTTPStatus, kind: str) -> bytes:
    body = json.dumps({"error": {"kind": kind, "message": "No.", "hint": "Wait."}}).encode()
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("status", "kind"), [(HTTPStatus.NOT_FOUND, "not_found"), (HTTPStatus.UNPROCESSABLE_ENTITY, "engine")]
)
async def test_an_instance_that_went_or_crashed_since_it_was_listed_is_left_out(
    status: HTTPStatus, kind: str
) -> None:
    """F1: between the list and the question for its key it may have ended; following it must not."""
    tasks, registry = TaskOwner(), ServerRegistry()
    mirror = InstanceMirror(registry=registry, refine=_never, tasks=tasks)
    instance = Instance("i1", "model", "ready", url="http://127.0.0.1:1")
    async with raw_server(lambda *_: refusal(status, kind)) as service, open_http() as http:
        await mirror.update(ControlClient(url=service.url, token="token", http=http), (instance,))
    assert registry.records == ()
    assert not mirror.has("i1")


async def _never(server_id: str) -> object:
    raise AssertionError(f"{server_id} was asked")
