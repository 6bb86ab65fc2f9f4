"""Known servers over time: what is remembered, who they are said to be, what a person decided about them."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llama_runner.backends.base import Engine
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import NotFoundError, StorageError, UsageError
from llama_runner.core.paths import home_at
from llama_runner.discovery.manager import MAX_NOTE_CHARS
from llama_runner.discovery.registry import (
    Certainty,
    ServerRecord,
    ServerSource,
    ServerStatus,
)
from llama_runner.discovery.saved import SavedServers
from tests.fakes import model_servers
from tests.fakes.model_servers import Reply, Simulated, simulated
from tests.fakes.waiting import until
from tests.integration.test_discovery import Finder, finder, scan

LAN = "http://192.168.7.20:8000"
MAC = "00:11:22:aa:bb:cc"


def keys_sent_to(server: Simulated) -> list[str]:
    return [headers["authorization"] for _, _, headers in server.requests if "authorization" in headers]


def remember(find: Finder, url: str, source: ServerSource = ServerSource.MANUAL) -> ServerRecord:
    """Put a server into the list that nobody has asked."""
    record = ServerRecord(
        id=url,
        base_url=url,
        engine=Engine.VLLM,
        product="vllm",
        certainty=Certainty.CERTAIN,
        status=ServerStatus.OFFLINE,
        source=source,
    )
    find.registry.upsert(record)
    return record


# --- who answers (D13) -------------------------------------------------------------------------------------


async def test_d13_a_changed_server_gets_no_key_until_a_person_trusts_it(home: Path) -> None:
    async with finder(home) as find, simulated(model_servers.vllm("m")) as server:
        await find.manager.add(server.url, "secret")
        server.routes.clear()
        server.routes.update(model_servers.koboldcpp("k"))
        server.requests.clear()

        changed = await find.manager.check(server.url)
        server_id = changed.id
        assert changed.status is ServerStatus.ERROR
        assert changed.changed == "It was vllm and now answers as koboldcpp."
        assert changed.product == "vllm"
        assert find.registry.target(server_id, "m").endpoint.api_key is None
        assert keys_sent_to(server) == []

        trusted = await find.manager.trust(server_id)
        assert (trusted.status, trusted.changed, trusted.product) == (ServerStatus.ONLINE, "", "koboldcpp")
        assert set(keys_sent_to(server)) == {"bearer secret"}
        assert find.registry.endpoint_of(server_id).api_key == "secret"


async def test_d13_the_old_program_coming_back_does_not_undo_the_warning(home: Path) -> None:
    """Otherwise whoever takes turns with the real server gets the key at the right moment."""
    async with finder(home) as find, simulated(model_servers.vllm("m")) as server:
        await find.manager.add(server.url, "secret")
        for routes in (model_servers.koboldcpp("k"), model_servers.vllm("m")):
            server.routes.clear()
            server.routes.update(routes)
            server.requests.clear()
            record = await find.manager.check(server.url)

            assert record.changed
            assert keys_sent_to(server) == []


async def test_d13_a_change_is_still_one_after_a_restart(home: Path) -> None:
    async with simulated(model_servers.vllm("m")) as server:
        async with finder(home) as find:
            await find.manager.add(server.url, "secret")
            server.routes.clear()
            server.routes.update(model_servers.koboldcpp("k"))
            await find.manager.check(server.url)

        async with finder(home) as find:
            assert "koboldcpp" in find.registry.known(server.url).changed


async def test_d13_two_servers_that_claim_to_be_the_same_stay_two_with_a_key_each(home: Path) -> None:
    async with (
        finder(home) as find,
        simulated(model_servers.vllm("m")) as one,
        simulated(model_servers.vllm("m"), host="127.0.0.3") as other,
    ):
        await find.manager.add(one.url, "first")
        await find.manager.add(other.url, "second")
        await find.manager.check_all()

    assert len(find.registry.records) == 2
    assert set(keys_sent_to(one)) == {"bearer first"}
    assert set(keys_sent_to(other)) == {"bearer second"}


async def test_d13_a_server_that_takes_long_is_asked_again_before_it_counts_as_another(home: Path) -> None:
    async with finder(home) as find, simulated(model_servers.lite_llm("m")) as server:
        await find.manager.add(server.url, "secret")
        # The answer that gives it away comes too late, once.
        named = server.routes["/health/liveliness"]
        server.routes["/health/liveliness"] = Reply(hang=True)
        server.requests.clear()
        async with asyncio.TaskGroup() as group:
            checking = group.create_task(find.manager.check(server.url))
            await until(lambda: "/health/liveliness" in server.paths)
            server.routes["/health/liveliness"] = named

    assert checking.result().changed == ""
    assert checking.result().product == "litellm"


# --- what a person decided ---------------------------------------------------------------------------------


async def test_favourites_notes_and_trust_survive_checks_and_a_restart(home: Path) -> None:
    async with simulated(model_servers.vllm("m")) as server:
        async with finder(home) as find:
            await scan(find, server)
            await find.manager.set_favourite(server.url, True)
            await find.manager.set_note(server.url, "  the big one\nin the cellar ")
            await find.manager.trust(server.url)
            checked = await find.manager.check(server.url)
            assert (checked.favourite, checked.note) == (True, "the big one\nin the cellar")

        async with finder(home) as find:
            kept = find.registry.known(server.url)
            assert (kept.favourite, kept.note, kept.trusted) == (True, "the big one\nin the cellar", True)
            await find.manager.set_favourite(server.url, False)
            assert (await find.manager.set_note(server.url, "")).note == ""


async def test_trusting_another_machine_is_remembered(home: Path) -> None:
    async with finder(home) as find:
        remember(find, LAN)
        assert (await find.manager.trust(LAN)).trusted

    async with finder(home) as find:
        assert find.registry.known(LAN).trusted


async def test_a_decision_made_while_a_server_is_asked_stays(home: Path) -> None:
    async with finder(home) as find, simulated(model_servers.vllm("m")) as server:
        await scan(find, server)
        async with asyncio.TaskGroup() as group:
            checking = group.create_task(find.manager.check(server.url))
            await asyncio.sleep(0)
            await find.manager.set_favourite(server.url, True)

    assert checking.result().favourite
    assert find.registry.known(server.url).favourite


async def test_a_note_has_a_longest_length(home: Path) -> None:
    async with finder(home) as find:
        remember(find, LAN)
        await find.manager.set_note(LAN, "x" * MAX_NOTE_CHARS)
        with pytest.raises(UsageError, match="too long"):
            await find.manager.set_note(LAN, "x" * (MAX_NOTE_CHARS + 1))


async def test_nothing_can_be_decided_about_what_is_not_known(home: Path) -> None:
    async with finder(home) as find:
        for call in (
            find.manager.set_favourite(LAN, True),
            find.manager.set_note(LAN, "x"),
            find.manager.trust(LAN),
            find.manager.wake(LAN),
        ):
            with pytest.raises(NotFoundError):
                await call


async def test_a_removed_server_comes_back_where_it_was_with_all_that_was_known(home: Path) -> None:
    async with finder(home) as find, simulated(model_servers.vllm("m")) as server:
        for port in (1, 2):
            remember(find, f"http://192.168.7.20:{port}")
        await find.manager.add(server.url, "secret")
        remember(find, "http://192.168.7.20:3")
        await find.manager.set_note(server.url, "mine")
        before = find.registry.records

        removed = await find.manager.remove(server.url)
        assert find.registry.get(server.url) is None
        await find.manager.restore(removed)

        assert find.registry.records == before
        assert find.registry.endpoint_of(server.url).api_key == "secret"

    async with finder(home) as find:
        assert find.registry.known(server.url).note == "mine"


# --- the file ----------------------------------------------------------------------------------------------


async def test_what_a_scan_found_is_there_after_a_restart_with_models_and_when_it_was_seen(
    home: Path,
) -> None:
    async with simulated(model_servers.ollama("llama3:latest")) as server:
        async with finder(home) as find:
            await scan(find, server)

        async with finder(home) as find:
            (kept,) = find.registry.records
            assert (kept.source, kept.engine, kept.version) == (ServerSource.FOUND, Engine.OLLAMA, "0.34.1")
            assert kept.status is ServerStatus.NOT_CHECKED
            assert [model.id for model in kept.models] == ["llama3:latest"]
            assert kept.last_seen_utc is not None
            assert kept.latency_s is not None
            assert kept.checked_utc is None

            checked = await find.manager.check(kept.id)
            assert checked.status is ServerStatus.ONLINE
            assert checked.checked_utc is not None


async def test_what_was_found_can_be_forgotten_but_what_was_marked_stays(home: Path) -> None:
    async with finder(home) as find:
        for port in (1, 2, 3):
            remember(find, f"http://192.168.7.20:{port}", ServerSource.FOUND)
        remember(find, "http://192.168.7.20:4")
        await find.manager.set_favourite("http://192.168.7.20:1", True)
        await find.manager.set_note("http://192.168.7.20:2", "mine")

        removed = await find.manager.forget_found()

        assert [r.record.id for r in removed] == ["http://192.168.7.20:3"]
    async with finder(home) as find:
        assert [record.id[-1] for record in find.registry.records] == ["1", "2", "4"]


async def test_a_list_that_cannot_be_written_says_so_and_keeps_the_change(home: Path) -> None:
    async with finder(home) as find:
        remember(find, LAN)
        SavedServers(home_at(home), SystemClock()).path.mkdir()

        with pytest.raises(StorageError):
            await find.manager.set_favourite(LAN, True)

        assert find.registry.known(LAN).favourite


async def test_the_window_and_a_command_share_one_list(home: Path) -> None:
    other_url = "http://192.168.7.21:8000"
    async with finder(home) as window:
        remember(window, LAN)
        await window.manager.set_note(LAN, "from the window")
        async with finder(home) as command:
            remember(command, other_url)
            await command.manager.set_favourite(LAN, True)

        await window.manager.set_favourite(LAN, False)
        assert {record.id for record in window.registry.records} == {LAN, other_url}

        async with finder(home) as command:
            await command.manager.remove(other_url)
        remember(window, "http://192.168.7.22:8000")
    async with finder(home) as after:
        assert {record.id for record in after.registry.records} == {LAN, "http://192.168.7.22:8000"}
        assert after.registry.known(LAN).note == "from the window"


async def test_what_rounds_of_checks_saw_is_written_while_the_window_is_open(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_runner.discovery.manager.KEEP_EVERY_S", 0.0)
    path = SavedServers(home_at(home), SystemClock()).path
    async with finder(home) as find, simulated(model_servers.vllm("m")) as server:
        remember(find, server.url)
        find.manager.start_refreshing()

        await until(lambda: path.exists() and "last_seen_utc" in path.read_text())


async def test_instances_of_our_own_service_are_not_written_down(home: Path) -> None:
    async with finder(home) as find:
        find.registry.upsert(
            ServerRecord(
                id="service:i1",
                base_url="http://127.0.0.1:40000",
                engine=Engine.LLAMA_SERVER,
                product="llama-server",
                certainty=Certainty.CERTAIN,
                status=ServerStatus.ONLINE,
                source=ServerSource.SERVICE,
            )
        )
        remember(find, LAN)

    document = json.loads(SavedServers(home_at(home), SystemClock()).path.read_text())
    assert [entry["url"] for entry in document["servers"]] == [LAN]


# --- asking ------------------------------------------------------------------------------------------------


async def test_checks_at_the_same_time_share_one_question(home: Path) -> None:
    async with finder(home) as find, simulated(model_servers.vllm("m")) as server:
        await scan(find, server)
        server.requests.clear()
        await find.manager.check(server.url)
        alone = len(server.requests)
        server.requests.clear()

        await asyncio.gather(find.manager.check_all(), find.manager.check_all())

        assert len(server.requests) == alone


async def test_a_check_by_hand_does_not_settle_for_a_question_from_before(home: Path) -> None:
    async with finder(home) as find, simulated(model_servers.vllm("m")) as server:
        await find.manager.add(server.url, "secret")
        server.routes.clear()
        server.routes.update(model_servers.koboldcpp("k"))
        await find.manager.check(server.url)
        server.requests.clear()
        server.routes["/"] = Reply(hang=True)
        async with asyncio.TaskGroup() as group:
            group.create_task(find.manager.check_all())
            await until(lambda: "/" in server.paths)
            del server.routes["/"]
            trusted = await find.manager.trust(server.url)

    assert trusted.changed == ""
    assert find.registry.known(server.url).product == "koboldcpp"


async def test_a_check_that_is_given_up_does_not_end_anothers(home: Path) -> None:
    async with finder(home) as find, simulated({}, otherwise=Reply(hang=True)) as server:
        remember(find, server.url)
        async with asyncio.TaskGroup() as group:
            impatient = group.create_task(find.manager.check(server.url))
            patient = group.create_task(find.manager.check(server.url))
            await asyncio.sleep(0)
            impatient.cancel()

        assert impatient.cancelled()
        assert patient.result().status is ServerStatus.OFFLINE


async def test_a_server_removed_while_it_is_asked_stays_removed(home: Path) -> None:
    async with finder(home) as find, simulated(model_servers.vllm("m")) as server:
        await scan(find, server)
        async with asyncio.TaskGroup() as group:
            group.create_task(find.manager.check(server.url))
            await asyncio.sleep(0)
            await find.manager.remove(server.url)

        assert find.registry.records == ()


# --- waking ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def waker(home: Path, sent: list[tuple[bytes, tuple[str, ...], int]]) -> AsyncIterator[Finder]:
    """A finder whose wake packets are collected."""

    async def collect(packet: bytes, addresses: Iterable[str], port: int) -> None:
        sent.append((packet, tuple(addresses), port))

    async with finder(home, send_wake=collect) as find:
        yield find


async def test_a_machine_is_woken_by_an_address_that_is_given_once(home: Path) -> None:
    sent: list[tuple[bytes, tuple[str, ...], int]] = []
    async with waker(home, sent) as find:
        remember(find, LAN)
        with pytest.raises(UsageError, match="not known"):
            await find.manager.wake(LAN)
        with pytest.raises(UsageError, match="not a hardware address"):
            await find.manager.wake(LAN, "192.168.7.20")
        assert sent == []

        record = await find.manager.wake(LAN, "00-11-22-AA-BB-CC")
        assert record.mac == MAC

    async with waker(home, sent) as find:
        await find.manager.wake(LAN)

    first, second = sent
    assert first == second
    assert first[0].endswith(bytes.fromhex("001122aabbcc"))
    assert "255.255.255.255" in first[1]
    assert first[2] == 9


async def test_this_machine_is_not_woken(home: Path) -> None:
    async with finder(home) as find:
        remember(find, "http://127.0.0.1:1")
        with pytest.raises(UsageError, match="awake"):
            await find.manager.wake("http://127.0.0.1:1", MAC)
