"""`servers` on the command line: what is remembered, and what a person decides."""

from pathlib import Path

import pytest

from tests.fakes import model_servers
from tests.fakes.model_servers import simulated
from tests.integration.test_discovery_commands import command

LAN = "http://192.0.2.20:8000"


async def test_what_discover_found_is_listed_later_with_when_it_was_seen(home: Path) -> None:
    async with simulated(model_servers.ollama("llama3:latest")) as server:
        await command("discover", "--hosts", server.host, "--ports", str(server.port))

    listed = await command("servers", "list")
    document = (await command("servers", "list", "--json")).json()

    (known,) = document["servers"]
    assert (known["url"], known["source"], known["status"]) == (server.url, "found", "not checked")
    assert (known["favourite"], known["note"], known["trusted"]) == (False, None, True)
    assert (known["changed"], known["mac"]) == (None, None)
    assert [model["id"] for model in known["models"]] == ["llama3:latest"]
    assert known["last_seen"] is not None
    assert server.url in listed.stdout
    assert "ago" in listed.stdout or "now" in listed.stdout


async def test_servers_are_marked_and_noted(home: Path) -> None:
    async with simulated(model_servers.vllm("m")) as server:
        await command("servers", "add", server.url)

    marked = await command("servers", "favourite", server.url, "--json")
    noted = await command("servers", "note", server.url, "the big one,\x1b[31m cellar", "--json")
    listed = await command("servers", "list")

    assert marked.json()["servers"][0]["favourite"]
    assert noted.json()["servers"][0]["note"] == "the big one,\x1b[31m cellar"
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("*")]
    assert server.url in line
    assert f"{server.url}: note: the big one," in listed.stdout
    assert "\x1b" not in listed.stdout

    assert not (await command("servers", "favourite", server.url, "--off", "--json")).json()["servers"][0][
        "favourite"
    ]
    assert (await command("servers", "note", server.url, "--json")).json()["servers"][0]["note"] is None


async def test_a_changed_server_is_named_and_can_be_trusted(home: Path) -> None:
    """D13."""
    async with simulated(model_servers.vllm("m")) as server:
        await command("servers", "add", server.url)
        path = home / "data" / "servers.json"
        path.write_text(path.read_text().replace('"vllm",', '"vllm", "changed": "It was another one.",', 1))

        listed = await command("servers", "list")
        trusted = await command("servers", "trust", server.url)
        after = await command("servers", "list", "--json")

    assert f"{server.url}: It was another one." in listed.stdout
    assert "Accepted: It was another one." in trusted.stderr
    assert after.json()["servers"][0]["changed"] is None
    assert after.json()["servers"][0]["engine"] == "vllm"


async def test_d13_a_question_to_a_changed_server_says_what_changed_and_sends_no_key(home: Path) -> None:
    async with simulated(model_servers.vllm("m")) as server:
        await command("servers", "add", server.url)
        server.routes.clear()
        server.routes.update(model_servers.koboldcpp("k"))
        server.requests.clear()

        done = await command("query", "hi", "--server", server.url, "--api-key", "secret", "--json")

    error = done.json()["error"]
    assert done.code == 1
    assert "was vllm and now answers as koboldcpp" in error["message"]
    assert f"servers trust {server.url}" in error["hint"]
    assert not [headers for _, _, headers in server.requests if "authorization" in headers]


async def test_found_servers_are_removed_together(home: Path) -> None:
    async with simulated(model_servers.vllm("m")) as server:
        await command("discover", "--hosts", server.host, "--ports", str(server.port))

    assert (await command("servers", "remove", "--found")).stdout == "1 server was removed.\n"
    assert "No server is known yet." in (await command("servers", "list")).stdout


@pytest.mark.parametrize("arguments", [(), (LAN, "--found")])
async def test_removing_wants_to_know_what(home: Path, arguments: tuple[str, ...]) -> None:
    done = await command("servers", "remove", *arguments, "--json")

    assert (done.code, done.json()["error"]["kind"]) == (2, "usage")


@pytest.mark.parametrize("action", ["favourite", "note", "trust", "wake", "check", "remove"])
async def test_what_is_not_known_is_not_touched(home: Path, action: str) -> None:
    done = await command("servers", action, LAN, "--json")

    assert (done.code, done.json()["error"]["kind"]) == (1, "not_found")


async def test_waking_says_what_it_needs(home: Path) -> None:
    await command("servers", "add", "http://127.0.0.1:1")

    done = await command("servers", "wake", "http://127.0.0.1:1", "--json")

    assert done.code == 2
    assert "awake" in done.json()["error"]["message"]
