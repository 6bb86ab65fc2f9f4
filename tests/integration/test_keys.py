"""Keys of servers over a whole program's life: where they go, and where they never do (R9, R11, I4)."""

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from keyring.backends import fail
from keyring.errors import KeyringLocked

from llama_runner.backends.base import Endpoint, Engine, Target, WireRequest
from llama_runner.backends.registry import connect
from llama_runner.cli import app
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import ServerError, UnreachableError
from llama_runner.core.paths import create_folders, home_at
from llama_runner.discovery.keys import KeyPlace, UnencryptedKeyError
from llama_runner.discovery.networks import plan_scan
from llama_runner.discovery.registry import ServerStatus
from llama_runner.net.client import open_http
from llama_runner.net.fetch import fetch
from llama_runner.net.load import LoadClient
from llama_runner.stress.manager import StressManager
from llama_runner.stress.plan import BurstPlan, request_of
from llama_runner.workspace import Workspace, open_workspace
from tests.fakes import model_servers
from tests.fakes.keyrings import Drawer
from tests.fakes.model_servers import Reply, Simulated, document, simulated
from tests.fakes.raw_server import raw_server
from tests.fakes.tls_models import answer, keys_heard

KEY: Final = "sk-canary-4tw9"
BEARER: Final = f"Bearer {KEY}"


@asynccontextmanager
async def workspace_at(home: Path) -> AsyncIterator[Workspace]:
    create_folders(home_at(home))
    async with open_workspace(home_at(home)) as workspace:
        yield workspace


def keys_of(server: Simulated) -> set[str]:
    """Every credential a server was sent; all in lower case."""
    named = ("authorization", "x-api-key", "cookie", "proxy-authorization")
    return {headers[name] for _, _, headers in server.requests for name in named if name in headers}


async def everything(workspace: Workspace, url: str) -> None:
    """All that this program ever asks a server, with its key; what comes of it does not matter here."""
    await workspace.discovery.check(url)
    for engine in (Engine.OPENAI, Engine.LLAMA_SERVER, Engine.OLLAMA, Engine.ANTHROPIC):
        target = Target(Endpoint(url, engine, KEY), "tiny", "tiny")
        backend = connect(target.endpoint, http=workspace.http, clock=workspace.clock)
        conversation = workspace.chat.new_conversation("")
        await workspace.chat.send(conversation, "Hello", target, workspace.sampling_options())
        for question in (
            backend.list_models(),
            backend.describe("tiny"),
            backend.embed("tiny", ["a"]),
            backend.count_tokens("tiny", "a"),
            backend.load("tiny"),
        ):
            try:
                await question
            except ServerError:
                continue
        plan = BurstPlan(target=target, prompt="Hello", concurrency=1, total_requests=1, max_tokens=4)
        wire = backend.encode(request_of(plan, 1, 0))
        async with LoadClient(clock=SystemClock()) as client:
            await client.send(wire, timeout_s=5)


@pytest.mark.parametrize(
    "header",
    [
        'Bearer realm="http://127.0.0.3:{port}/token",service="models",scope="read"',
        'Basic realm="http://127.0.0.3:{port}/"',
        'Bearer authorization_uri="http://127.0.0.3:{port}/auth", resource_metadata="http://127.0.0.3:{port}/m"',
    ],
)
async def test_d9_a_realm_elsewhere_gets_no_credential(home: Path, header: str) -> None:
    """I4: the server that refuses says where to get a token; nobody goes there."""
    async with simulated(model_servers.generic("tiny"), host="127.0.0.3") as elsewhere:
        refusal = document(
            {"error": {"message": "no"}}, status=401, WWW_Authenticate=header.format(port=elsewhere.port)
        )
        async with simulated({}, otherwise=refusal) as server, workspace_at(home) as workspace:
            record = await workspace.discovery.add(server.url, KEY)
            assert record.status in (ServerStatus.NEEDS_KEY, ServerStatus.ERROR)
            await everything(workspace, server.url)
            assert keys_of(server) == {BEARER.lower(), KEY}
        assert elsewhere.requests == []


@pytest.mark.parametrize("status", [302, 307])
async def test_i4_a_redirect_takes_no_credential_along(home: Path, status: int) -> None:
    async with simulated(model_servers.generic("tiny"), host="127.0.0.3") as elsewhere:
        moved = Reply(
            b"", status, {"Location": f"{elsewhere.url}/v1/models", "Refresh": f"0;url={elsewhere.url}"}
        )
        async with simulated({}, otherwise=moved) as server, workspace_at(home) as workspace:
            record = await workspace.discovery.add(server.url, KEY)
            assert record.status is ServerStatus.ERROR
            await everything(workspace, server.url)
            assert keys_of(server) == {BEARER.lower(), KEY}
        assert elsewhere.requests == []


async def test_r10_a_scan_takes_no_key_anywhere_but_to_the_server_it_belongs_to(home: Path) -> None:
    async with (
        simulated(model_servers.generic("tiny"), host="127.0.0.2") as owner,
        simulated(model_servers.generic("tiny"), host="127.0.0.3", port=owner.port) as neighbour,
        workspace_at(home) as workspace,
    ):
        await workspace.discovery.add(owner.url, KEY)
        owner.requests.clear()
        hosts = (owner.host, neighbour.host)
        plan = plan_scan(workspace.settings.discovery, hosts=hosts, ports=(owner.port,))
        report = await workspace.discovery.scan(plan)
        assert len(report.found) == 2
        assert keys_of(neighbour) == set()
        assert keys_of(owner) == {BEARER.lower()}
        # What it is, is found out without a key.
        first = next(path for _, path, headers in owner.requests if "authorization" in headers)
        assert first == "/v1/models"
        assert [path for _, path, headers in owner.requests if "authorization" not in headers]


# --- names (D12) -------------------------------------------------------------------------------------------


class Moving(AbstractResolver):
    """A name server that gives another answer every time: the first one this machine, then elsewhere."""

    answers: tuple[str, ...] = ()
    asked = 0

    def __init__(self, *args: object) -> None:
        pass

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = Moving.answers[min(Moving.asked, len(Moving.answers) - 1)]
        Moving.asked += 1
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=flags)
        ]

    async def close(self) -> None:
        return None


@pytest.mark.parametrize("later", ["192.168.1.9", "8.8.8.8"])
async def test_d12_a_name_that_moves_between_the_check_and_the_chat_gets_no_key(
    later: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading and sending go over different connections; what the first learnt of the name holds for both."""
    monkeypatch.setattr("llama_runner.net.resolver.ThreadedResolver", Moving)
    Moving.answers, Moving.asked = ("127.0.0.1", later), 0
    async with raw_server(lambda n, head: answer(head)) as server, open_http() as http:
        url = f"http://box.test:{server.port}"
        await fetch(http, url + "/v1/models", headers={"Authorization": BEARER})
        for _ in range(2):
            with pytest.raises(UnreachableError):
                # The guard of all tests would say so if a packet left for the other address.
                await fetch(
                    http, url + "/v1/chat/completions", method="POST", headers={"Authorization": BEARER}
                )
        assert keys_heard(server) == [BEARER]
    assert Moving.asked >= 2


@pytest.mark.parametrize("name", ["localhost", "box.localhost"])
async def test_d12_a_name_that_means_this_machine_never_means_another(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R11 lets keys go there unencrypted, so the name server must not decide where that is."""
    monkeypatch.setattr("llama_runner.net.resolver.ThreadedResolver", Moving)
    Moving.answers, Moving.asked = ("192.168.1.9",), 0
    async with open_http() as http:
        with pytest.raises(UnreachableError):
            await fetch(http, f"http://{name}:8080/v1/models", headers={"Authorization": BEARER})
    assert Moving.asked


async def test_d12_a_load_worker_goes_by_what_was_known_of_a_name_before_it_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody's load is turned on a machine that its target's name was pointed to meanwhile."""
    monkeypatch.setattr("llama_runner.net.resolver.ThreadedResolver", Moving)
    Moving.answers, Moving.asked = ("192.168.1.9",), 0
    headers = {"Authorization": BEARER}
    async with LoadClient(clock=SystemClock(), scopes={"box.test": "loopback"}) as client:
        for scheme in ("http", "https"):
            wire = WireRequest("POST", f"{scheme}://box.test:8080/v1/chat/completions", headers, b"{}")
            raw = await client.send(wire, timeout_s=5)
            assert isinstance(raw.error, UnreachableError)
            assert raw.t_send_ns is None
    assert Moving.asked


@pytest.mark.parametrize(("scope", "went_well"), [("loopback", 2), ("private", 0)])
async def test_d12_load_workers_are_told_what_this_program_knows_of_the_name(
    home: Path, scope: str, went_well: int
) -> None:
    create_folders(home_at(home))
    clock, scopes = SystemClock(), {"localhost": scope}
    async with raw_server(lambda n, head: answer(head)) as server, open_http() as http:
        manager = StressManager(
            connect=lambda endpoint: connect(endpoint, http=http, clock=clock),
            home=home_at(home),
            clock=clock,
            scopes=scopes,
        )
        endpoint = Endpoint(f"http://localhost:{server.port}", Engine.OPENAI, KEY)
        plan = BurstPlan(
            target=Target(endpoint, "tiny", "tiny"),
            prompt="Hello",
            concurrency=1,
            total_requests=2,
            max_tokens=4,
        )
        report = await manager.run(plan)
        assert report.levels[0].requests.ok == went_well


async def test_d12_what_the_program_learnt_of_a_name_is_there_for_its_load_workers(home: Path) -> None:
    async with raw_server(lambda n, head: answer(head)) as server, workspace_at(home) as workspace:
        await workspace.discovery.ask(f"http://localhost:{server.port}")
        assert workspace.scopes == {"localhost": "loopback"}


# --- over restarts -----------------------------------------------------------------------------------------


async def test_a_kept_key_is_used_after_a_restart_and_first_when_the_server_is_asked(home: Path) -> None:
    async with simulated(model_servers.generic("tiny")) as server:
        async with workspace_at(home) as workspace:
            record = await workspace.discovery.add(server.url)
            await workspace.discovery.set_key(record.id, KEY, KeyPlace.FILE)
            assert workspace.discovery.key_place(record.id) is KeyPlace.FILE
        server.requests.clear()
        async with workspace_at(home) as workspace:
            assert workspace.registry.known(server.url).key_place == "file"
            assert workspace.registry.endpoint_of(server.url).api_key is None
            assert (await workspace.discovery.check(server.url)).status is ServerStatus.ONLINE
            assert workspace.registry.endpoint_of(server.url).api_key == KEY
        assert keys_of(server) == {BEARER.lower()}


async def test_d13_a_kept_key_is_withheld_from_what_answers_in_its_servers_place(home: Path) -> None:
    """Another program was started at the address while we were away; a yes ends it."""
    async with simulated(model_servers.vllm("tiny")) as server:
        async with workspace_at(home) as workspace:
            record = await workspace.discovery.add(server.url)
            await workspace.discovery.set_key(record.id, KEY, KeyPlace.FILE)
        server.routes.clear()
        server.routes.update(model_servers.ollama("other"))
        server.requests.clear()
        async with workspace_at(home) as workspace:
            record = await workspace.discovery.check(server.url)
            assert record.changed
            assert workspace.registry.endpoint_of(server.url).api_key is None
            conversation = workspace.chat.new_conversation("")
            target = workspace.registry.target(server.url, "tiny")
            await workspace.chat.send(conversation, "Hello", target, workspace.sampling_options())
            assert keys_of(server) == set()
            await workspace.discovery.trust(server.url)
            assert workspace.registry.endpoint_of(server.url).api_key == KEY
            assert keys_of(server) == {BEARER.lower()}


async def test_removing_a_server_removes_its_key_and_undoing_brings_both_back(home: Path) -> None:
    keys = home / "data" / "keys.json"
    async with simulated(model_servers.generic("tiny")) as server:
        async with workspace_at(home) as workspace:
            record = await workspace.discovery.add(server.url)
            await workspace.discovery.set_key(record.id, KEY, KeyPlace.FILE)
        async with workspace_at(home) as workspace:
            removed = await workspace.discovery.remove(server.url)
            assert KEY not in keys.read_text("utf-8")
            await workspace.discovery.restore(removed)
            assert workspace.discovery.key_place(server.url) is KeyPlace.FILE
        async with workspace_at(home) as workspace:
            await workspace.discovery.check(server.url)
            assert workspace.registry.endpoint_of(server.url).api_key == KEY
            await workspace.discovery.forget_key(server.url)
            assert workspace.discovery.key_place(server.url) is None
            assert KEY not in keys.read_text("utf-8")


async def test_a_key_given_with_a_server_is_kept_where_the_person_says(home: Path) -> None:
    async with simulated(model_servers.generic("tiny")) as server, workspace_at(home) as workspace:
        record = await workspace.discovery.add(server.url, KEY)
        assert record.key_place == KeyPlace.MEMORY
        record = await workspace.discovery.add(server.url, KEY, place=KeyPlace.FILE)
        assert record.key_place == KeyPlace.FILE
        # Given again without a word about the place, it stays there.
        record = await workspace.discovery.add(server.url, KEY + "2")
        assert record.key_place == KeyPlace.FILE
        assert KEY + "2" in (home / "data" / "keys.json").read_text("utf-8")


async def test_r11_no_key_is_even_checked_unencrypted_on_another_machine_without_a_yes(home: Path) -> None:
    """The guard of all tests would say so if anything were sent."""
    async with workspace_at(home) as workspace:
        for ask in (workspace.discovery.add, workspace.discovery.ask, workspace.resolve_endpoint):
            with pytest.raises(UnencryptedKeyError):
                await ask("http://192.168.1.20:8080", KEY)
        assert workspace.registry.records == ()


# --- the command line --------------------------------------------------------------------------------------


async def command(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON document and everything written, of a command on a loop of its own in a thread."""
    stdout, stderr = io.StringIO(), io.StringIO()
    code = await asyncio.to_thread(app.run, [*arguments, "--json"], stdout=stdout, stderr=stderr)
    return code, json.loads(stdout.getvalue()), stdout.getvalue() + stderr.getvalue()


async def test_keys_come_by_file_and_environment(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text(KEY + "\n", "utf-8")
    async with raw_server(lambda n, head: answer(head)) as server:
        query = ("query", "Hello", "--server", server.url)
        code, document_, _ = await command(*query, "--api-key-file", str(file))
        assert (code, document_["text"]) == (0, "Blue")
        assert set(keys_heard(server)) == {BEARER}
        server.heads.clear()
        monkeypatch.setenv("LLAMA_RUNNER_API_KEY", "sk-env")
        code, _, _ = await command(*query)
        assert (code, set(keys_heard(server))) == (0, {"Bearer sk-env"})


async def test_servers_key_keeps_shows_and_forgets_without_ever_printing_it(
    home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(KEY, "utf-8")
    async with raw_server(lambda n, head: answer(head)) as server:
        await command("servers", "add", server.url)
        setting = ("servers", "key", "set", server.url, "--api-key-file", str(file))
        code, document_, output = await command(*setting, "--place", "file")
        assert (code, document_) == (0, {"server": server.url, "key_place": "file"})
        server.heads.clear()
        code, document_, more = await command("query", "Hello", "--server", server.url)
        assert (code, document_["text"]) == (0, "Blue")
        assert set(keys_heard(server)) == {BEARER}
        code, document_, last = await command("servers", "key", "forget", server.url)
        assert (code, document_["key_place"]) == (0, None)
        assert KEY not in output + more + last
    assert KEY not in (home / "data" / "keys.json").read_text("utf-8")


async def test_f37_without_a_keyring_the_command_names_the_other_place_and_keeps_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyring.get_keyring", fail.Keyring)
    monkeypatch.setenv("LLAMA_RUNNER_API_KEY", KEY)
    await command("servers", "add", "http://127.0.0.1:1")
    code, document_, _ = await command("servers", "key", "set", "http://127.0.0.1:1")
    error = document_["error"]
    assert (code, error["kind"]) == (1, "keyring")
    assert "file" in error["hint"]
    assert not (home / "data" / "keys.json").exists()


async def test_f37_a_question_to_a_server_whose_key_the_keyring_keeps_back_says_why(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawer = Drawer()
    monkeypatch.setattr("llama_runner.system.keyrings.choose_backend", lambda: drawer)
    refusal = document({"error": {"message": "Invalid API key", "type": "authentication_error"}}, status=401)
    async with simulated({"/v1/models": refusal}) as server:
        await command("servers", "add", server.url)
        monkeypatch.setenv("LLAMA_RUNNER_API_KEY", KEY)
        code, document_, _ = await command("servers", "key", "set", server.url)
        assert (code, document_["key_place"]) == (0, "keyring")
        monkeypatch.delenv("LLAMA_RUNNER_API_KEY")
        server.requests.clear()
        _, document_, _ = await command("query", "Hello", "--server", server.url)
        assert "Invalid API key" in document_["error"]["message"]
        assert keys_of(server) == {BEARER.lower()}
        drawer.mood = KeyringLocked("dismissed")
        server.requests.clear()
        code, document_, _ = await command("query", "Hello", "--server", server.url)
        assert (code, document_["error"]["kind"]) == (1, "refused")
        assert "keyring is locked" in document_["error"]["message"]
        assert keys_of(server) == set()
