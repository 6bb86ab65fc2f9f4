"""`discover` and `servers` on the command line: JSON shapes, words, exit codes."""

import asyncio
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llama_runner.cli.app import run
from llama_runner.core.text import visible_controls
from llama_runner.net.ports import pick_free_port
from tests.fakes import model_servers
from tests.fakes.model_servers import Reply, simulated
from tests.integration.program import Done
from tests.integration.service_process import started_service


async def command(*arguments: str) -> Done:
    """Run a command in this process, beside the servers of the test."""
    out, err = io.StringIO(), io.StringIO()
    code = await asyncio.to_thread(run, arguments, stdout=out, stderr=err)
    return Done(code, out.getvalue(), err.getvalue())


async def test_discover_prints_the_agreed_document(home: Path) -> None:
    async with simulated(model_servers.llama_server("tiny")) as server:
        done = await command("discover", "--hosts", server.host, "--ports", f"{server.port},1", "--json")

    document = done.json()
    assert done.code == 0
    assert set(document) >= {"servers", "probed", "elapsed_s"}
    assert document["probed"] == 2
    (found,) = document["servers"]
    assert set(found) >= {"url", "engine", "certainty", "version", "status", "latency_s", "models"}
    assert (found["url"], found["engine"], found["status"]) == (server.url, "llama-server", "online")
    assert (found["certainty"], found["version"]) == ("certain", "b9000-abc")
    (model,) = found["models"]
    assert (model["id"], model["context_length"]) == ("tiny", 4096)
    assert "capabilities" in model


async def test_discover_says_in_words_what_was_found_and_what_was_not(home: Path) -> None:
    async with (
        simulated(model_servers.ollama("llama3:latest")) as server,
        simulated({}, host="127.0.0.3", otherwise=Reply(b"<html>")) as page,
    ):
        done = await command(
            "discover", "--hosts", "127.0.0.2,127.0.0.3", "--ports", f"{server.port},{page.port}"
        )

    assert done.code == 0
    assert server.url in done.stdout
    assert "llama3:latest" in done.stdout
    assert f"Not listed: {page.url}" in done.stderr
    assert "web page" in done.stderr


async def test_discover_says_how_sure_it_is_and_what_the_models_are(home: Path) -> None:
    async with (
        simulated(model_servers.vllm("big")) as sure,
        simulated(model_servers.generic("m"), host="127.0.0.3") as unsure,
    ):
        hosts, ports = f"{sure.host},{unsure.host}", f"{sure.port},{unsure.port}"
        done = await command("discover", "--hosts", hosts, "--ports", ports)

    assert "openai-compatible (likely)" in done.stdout
    assert "vllm (" not in done.stdout
    assert "big  32,768 tokens" in done.stdout


async def test_d7_hostile_model_names_are_plain_text_on_the_terminal(home: Path) -> None:
    name = "\x1b[31mred\u202e" + "x" * 5000
    async with simulated(model_servers.generic(name)) as server:
        done = await command("discover", "--hosts", server.host, "--ports", str(server.port))

    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 400
    assert visible_controls("\u202e") in done.stdout


async def test_discover_without_any_server_is_no_error(home: Path) -> None:
    done = await command("discover", "--ports", str(pick_free_port()))

    assert (done.code, done.stdout) == (0, "No model server was found.\n")


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            ("--ports", "x"),
            ("--ports", "0"),
            ("--ports", "1,99999"),
            ("--hosts", "127.1"),
            ("--timeout", "0"),
        ),
        *(("--network", "8.8.8.0/24"), ("--network", "10.0.0.0/8"), ("--network", ""), ("--network", "::/0")),
        ("--network", "192.168.1.0/33"),
    ],
)
async def test_discover_refuses_what_is_no_host_network_or_port(
    home: Path, arguments: tuple[str, ...]
) -> None:
    done = await command("discover", *arguments, "--json")

    assert done.code == 2
    assert done.json()["error"]["kind"] == "usage"


async def test_discover_looks_at_networks_and_hosts_together(home: Path) -> None:
    async with (
        simulated(model_servers.ollama("m"), host="127.0.9.2") as inside,
        simulated(model_servers.vllm("v"), host="127.0.8.1") as beside,
    ):
        done = await command(
            *("discover", "--network", "127.0.9.0/30", "--network", "127.0.9.8/31", "--hosts", beside.host),
            *("--ports", f"{inside.port},{beside.port}", "--json"),
        )

    document = done.json()
    assert {server["url"] for server in document["servers"]} == {inside.url, beside.url}
    assert (document["hosts"], document["probed"]) == (5, 10)
    assert document["networks"] == ["127.0.9.0/30", "127.0.9.8/31"]


async def test_discover_asks_before_it_looks_at_a_network_of_others(home: Path) -> None:
    """R10: in numbers; and where nobody can answer, nothing is sent."""
    done = await command("discover", "--network", "192.168.77.0/24", "--hosts", "127.0.0.1", "--ports", "1,2")

    assert done.code == 2
    assert "255 addresses on 2 ports" in done.stderr
    assert "192.168.77.0/24" in done.stderr
    assert "--yes" in done.stderr
    assert "mDNS" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
async def test_discover_takes_a_no_at_the_terminal(home: Path) -> None:
    from tests.integration.terminal import typed

    said, code = await typed(
        *("discover", "--network", "192.168.77.0/30", "--ports", "1"), answer_to="[y/N]", answer="n\n"
    )

    assert "2 addresses on 1 port each" in said
    assert "Nothing was scanned." in said
    assert code == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_discover_shows_on_a_terminal_how_far_it_is(home: Path) -> None:
    screen = Terminal()
    arguments = ("discover", "--network", "127.0.9.0/27", "--ports")
    async with simulated(model_servers.ollama("m"), host="127.0.9.1") as server:
        ports = f"{server.port},1,2,3"
        code = await asyncio.to_thread(run, (*arguments, ports), stdout=io.StringIO(), stderr=screen)

    assert code == 0
    # The last that is told of ports may come before the server is known.
    assert "of 120 ports looked at, " in screen.getvalue()
    assert ", 1 server found" in screen.getvalue()


async def test_discover_says_which_name_cannot_be_found(home: Path) -> None:
    done = await command("discover", "--hosts", "nobody.invalid,127.0.0.1", "--ports", "1")

    assert done.code == 0
    assert "The name nobody.invalid cannot be found." in done.stderr


async def test_a_server_on_both_loopback_addresses_is_listed_once(home: Path) -> None:
    """And one that listens on ::1 alone is found as well."""
    async with (
        simulated(model_servers.ollama("both"), host="127.0.0.1") as first,
        simulated(model_servers.ollama("both"), host="::1", port=first.port),
        simulated(model_servers.vllm("alone"), host="::1") as alone,
    ):
        done = await command("discover", "--ports", f"{first.port},{alone.port}", "--json")

    assert {server["url"] for server in done.json()["servers"]} == {first.url, f"http://[::1]:{alone.port}"}


async def test_our_own_service_is_not_listed_as_a_stranger(home: Path, tmp_path: Path) -> None:
    other_home = tmp_path / "other"
    other_home.mkdir()
    with started_service(other_home) as service:
        done = await command("discover", "--ports", service.url.rpartition(":")[2])

    assert done.stdout == "No model server was found.\n"
    assert f"Not listed: {service.url}: It is Llama Runner itself." in done.stderr


async def test_a_listener_of_ours_with_models_is_not_listed_as_a_stranger_either(home: Path) -> None:
    ours = {
        path: replace(reply, headers={**reply.headers, "X-Llama-Runner": "1.0; step=local"})
        for path, reply in model_servers.ollama("m").items()
    }
    async with simulated(ours, host="127.0.0.1") as server:
        done = await command("discover", "--ports", str(server.port))

    assert f"Not listed: {server.url}: It is Llama Runner itself." in done.stderr


async def test_servers_are_added_listed_checked_and_removed(home: Path) -> None:
    async with simulated(model_servers.vllm("big")) as server:
        added = await command("servers", "add", server.url, "--json")
        assert added.json()["servers"][0]["status"] == "online"

        listed = await command("servers", "list", "--json")
        assert [(s["url"], s["engine"], s["status"]) for s in listed.json()["servers"]] == [
            (server.url, "vllm", "not checked")
        ]

        checked = await command("servers", "check", "--json")
        assert (checked.code, checked.json()["servers"][0]["status"]) == (0, "online")
        assert (await command("servers", "check", server.url)).code == 0

    gone = await command("servers", "check", "--json")
    assert (gone.code, gone.json()["servers"][0]["status"]) == (3, "offline")

    removed = await command("servers", "remove", server.url)
    assert (removed.code, removed.stdout) == (0, f"{server.url} was removed.\n")
    assert "No server is known yet." in (await command("servers", "list")).stdout


async def test_a_key_given_by_hand_is_saved_nowhere(home: Path) -> None:
    async with simulated(model_servers.generic("m")) as server:
        await command("servers", "add", server.url, "--api-key", "sk-very-secret-value-1234567890")

    written = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert b"very-secret" not in written


async def test_a_server_that_is_not_in_the_list_cannot_be_removed(home: Path) -> None:
    done = await command("servers", "remove", "http://127.0.0.1:1", "--json")

    assert done.code == 1
    assert json.loads(done.stdout)["error"]["kind"] == "not_found"


async def test_an_offline_server_is_added_with_a_note(home: Path) -> None:
    done = await command("servers", "add", f"http://127.0.0.1:{pick_free_port()}")

    assert done.code == 0
    assert "offline" in done.stdout
    assert "added all the same" in done.stderr
