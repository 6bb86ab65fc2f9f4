"""Encrypted servers from adding to chatting and loading, with certificates good and bad (D14, R11)."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from llama_runner.backends.live import AnswerState
from llama_runner.cli import app
from llama_runner.core.errors import TlsError, UnreachableError, UsageError
from llama_runner.core.paths import create_folders, home_at
from llama_runner.discovery.registry import ServerStatus
from llama_runner.stress.plan import BurstPlan
from llama_runner.workspace import Workspace, open_workspace
from tests.fakes.certificates import DAY, NOW, certificate
from tests.fakes.raw_server import raw_server
from tests.fakes.tls_models import MODEL, answer, keys_heard, tls_model_server

KEY = "sk-canary-tls"


@asynccontextmanager
async def workspace_at(home: Path) -> AsyncIterator[Workspace]:
    create_folders(home_at(home))
    async with open_workspace(home_at(home)) as workspace:
        yield workspace


async def chat(workspace: Workspace, url: str) -> AnswerState:
    target = workspace.registry.target(url, MODEL)
    conversation = workspace.chat.new_conversation("")
    turn = await workspace.chat.send(conversation, "Name a colour.", target, workspace.sampling_options())
    if turn.error is not None and not turn.text:
        raise turn.error
    return turn.state


async def stress(workspace: Workspace, url: str) -> tuple[int, int]:
    """Requests that went well, and all of them, sent by a load worker in its own process."""
    plan = BurstPlan(
        target=workspace.registry.target(url, MODEL),
        prompt="Hello",
        concurrency=2,
        total_requests=4,
        max_tokens=4,
    )
    report = await workspace.stress.run(plan)
    return report.levels[0].requests.ok, report.levels[0].requests.sent


async def test_d14_a_self_signed_server_is_shown_as_such_and_used_once_a_person_trusts_it(
    home: Path, tmp_path: Path
) -> None:
    """Adding, chat and load workers all go by the one yes; nothing was sent before it."""
    signed = certificate("127.0.0.1")
    async with tls_model_server(signed, tmp_path) as server, workspace_at(home) as workspace:
        record = await workspace.discovery.add(server.url, KEY)
        assert record.status is ServerStatus.ERROR
        assert "self-signed" in record.problem
        assert server.heads == [b""] * len(server.heads)
        shown = await workspace.discovery.certificate(record.id)
        assert shown.sha256 == signed.sha256
        assert "self-signed" in shown.problem
        with pytest.raises(TlsError):
            await workspace.resolve_target(server.url, MODEL)

        await workspace.discovery.trust_certificate(record.id, shown.sha256.upper())
        record = await workspace.discovery.check(record.id)
        assert record.status is ServerStatus.ONLINE, record.problem
        assert record.tls_pin == signed.sha256
        assert await chat(workspace, record.id) is AnswerState.DONE
        assert await stress(workspace, record.id) == (4, 4)
        assert set(keys_heard(server)) == {f"Bearer {KEY}"}
        assert len(keys_heard(server)) >= 6

    async with tls_model_server(signed, tmp_path) as server, workspace_at(home) as workspace:
        # The port is another one: the yes was for the address of before.
        record = await workspace.discovery.add(server.url)
        assert record.status is ServerStatus.ERROR


async def test_a_trusted_certificate_is_remembered_and_can_be_trusted_no_more(
    home: Path, tmp_path: Path
) -> None:
    signed = certificate("127.0.0.1")
    async with tls_model_server(signed, tmp_path) as server:
        async with workspace_at(home) as workspace:
            record = await workspace.discovery.add(server.url)
            await workspace.discovery.trust_certificate(record.id, signed.sha256)
        async with workspace_at(home) as workspace:
            assert (await workspace.discovery.check(server.url)).status is ServerStatus.ONLINE
            await workspace.discovery.trust_certificate(server.url, None)
            assert (await workspace.discovery.check(server.url)).status is ServerStatus.ERROR
        async with workspace_at(home) as workspace:
            assert (await workspace.discovery.check(server.url)).status is ServerStatus.ERROR


async def test_d14_another_certificate_than_the_trusted_one_gets_no_key(home: Path, tmp_path: Path) -> None:
    """R11: neither a probe nor a chat nor a load worker goes on, and the change is named."""
    signed = certificate("127.0.0.1")
    other = certificate("127.0.0.1")
    async with tls_model_server(other, tmp_path) as server, workspace_at(home) as workspace:
        record = await workspace.discovery.add(server.url, KEY)
        await workspace.discovery.trust_certificate(record.id, signed.sha256)
        record = await workspace.discovery.check(record.id)
        assert record.status is ServerStatus.ERROR
        assert "another one" in record.problem
        with pytest.raises(TlsError, match="another one"):
            await chat(workspace, record.id)
        with pytest.raises(TlsError, match="another one"):
            await stress(workspace, record.id)
        assert server.heads == [b""] * len(server.heads)


async def test_d14_an_http_address_of_an_https_server_is_said_to_be_that(home: Path, tmp_path: Path) -> None:
    async with (
        tls_model_server(certificate("127.0.0.1"), tmp_path) as server,
        workspace_at(home) as workspace,
    ):
        record = await workspace.discovery.add(server.url.replace("https", "http"), KEY)
        assert record.status is ServerStatus.ERROR
        assert "wants encryption" in record.problem
        assert "https://" in record.problem
        with pytest.raises(TlsError, match="wants encryption") as refused:
            await workspace.resolve_endpoint(record.base_url, KEY)
        assert not refused.value.certificate
        assert server.heads == [b""] * len(server.heads)


async def test_d14_an_https_address_of_a_plain_server_is_no_reason_to_ask_without(home: Path) -> None:
    async with raw_server(lambda n, head: answer(head)) as server, workspace_at(home) as workspace:
        async with asyncio.timeout(20):
            record = await workspace.discovery.add(server.url.replace("http", "https"), KEY)
        assert record.status in (ServerStatus.ERROR, ServerStatus.OFFLINE)
        assert keys_heard(server) == []
        assert all(not head.startswith((b"GET", b"POST")) for head in server.heads)


async def test_only_what_has_a_certificate_can_be_trusted_by_one(home: Path) -> None:
    async with workspace_at(home) as workspace:
        plain = await workspace.discovery.add("http://127.0.0.1:1")
        with pytest.raises(UsageError):
            await workspace.discovery.trust_certificate(plain.id, "ab" * 32)
        with pytest.raises(UsageError):
            await workspace.discovery.certificate(plain.id)
        gone = await workspace.discovery.add("https://127.0.0.1:1")
        with pytest.raises(UsageError, match="SHA-256"):
            await workspace.discovery.trust_certificate(gone.id, "ab")
        with pytest.raises(UnreachableError):
            await workspace.discovery.certificate(gone.id)


async def test_a_list_that_was_edited_into_nonsense_accepts_no_certificate(
    home: Path, tmp_path: Path
) -> None:
    signed = certificate("127.0.0.1")
    async with tls_model_server(signed, tmp_path) as server:
        async with workspace_at(home) as workspace:
            record = await workspace.discovery.add(server.url)
            await workspace.discovery.trust_certificate(record.id, signed.sha256)
        saved = home_at(home).data_dir / "servers.json"
        saved.write_text(saved.read_text("utf-8").replace(signed.sha256, "any"), "utf-8")
        async with workspace_at(home) as workspace:
            assert (await workspace.discovery.check(server.url)).status is ServerStatus.ERROR


async def command(*arguments: str) -> tuple[int, dict[str, Any]]:
    stdout = io.StringIO()
    code = await asyncio.to_thread(app.run, [*arguments, "--json"], stdout=stdout, stderr=io.StringIO())
    return code, json.loads(stdout.getvalue())


async def test_an_expired_certificate_can_be_trusted_from_the_command_line(
    home: Path, tmp_path: Path
) -> None:
    signed = certificate("elsewhere.example", begins=NOW - 2 * DAY, ends=NOW - DAY)

    async with tls_model_server(signed, tmp_path) as server:
        code, document = await command("query", "Hello", "--server", server.url)
        assert code == 3
        error = document["error"]
        assert error["kind"] == "tls"
        assert f"servers certificate {server.url}" in error["hint"]
        await command("servers", "add", server.url)
        code, document = await command("servers", "certificate", server.url)
        assert (code, document["sha256"], document["trusted"]) == (0, signed.sha256, False)
        code, document = await command("servers", "certificate", server.url, "--trust", signed.sha256)
        assert (code, document["trusted"]) == (0, True)
        code, document = await command("query", "Hello", "--server", server.url)
        assert (code, document.get("text")) == (0, "Blue")
        code, document = await command("servers", "certificate", server.url, "--distrust")
        assert (code, document["trusted"]) == (0, False)
