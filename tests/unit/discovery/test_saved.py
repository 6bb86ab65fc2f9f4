"""Known servers on disk."""

import json
import stat
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llama_runner.backends.base import Engine
from llama_runner.backends.models import ContextSource, ModelInfo
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import StorageError
from llama_runner.core.paths import create_folders, home_at
from llama_runner.discovery import saved as saved_module
from llama_runner.discovery.registry import Certainty, ServerRecord, ServerSource, ServerStatus
from llama_runner.discovery.saved import SavedServers
from llama_runner.system import locks
from llama_runner.system.locks import FileLock

NOW = datetime.now(UTC)
MODEL = ModelInfo("tiny", 4096, 1000, "Q4_0", True, ("completion", "tools"), ContextSource.SLOT, 8192)


def server(url: str, source: ServerSource = ServerSource.MANUAL, **known: object) -> ServerRecord:
    record = ServerRecord(
        id=url,
        base_url=url,
        engine=Engine.LLAMA_SERVER,
        product="llama-server",
        certainty=Certainty.CERTAIN,
        status=ServerStatus.NOT_CHECKED,
        source=source,
        version="b9000",
        latency_s=0.01,
        last_seen_utc=NOW,
        models=(MODEL,),
    )
    return replace(record, **known)  # type: ignore[arg-type]


MANUAL = server(
    "http://127.0.0.1:8080",
    favourite=True,
    note="the big one\nin the cellar",
    mac="aa:bb:cc:dd:ee:ff",
    tls_pin="ab" * 32,
)
FOUND = server("http://[::1]:9", ServerSource.FOUND, changed="It was vllm and now answers as ollama.")
SERVERS = (MANUAL, FOUND)


@pytest.fixture
def saved(home: Path) -> SavedServers:
    create_folders(home_at(home))
    return SavedServers(home_at(home), SystemClock())


def again(saved: SavedServers) -> SavedServers:
    """Another program with the same file."""
    return SavedServers(home_at(saved.path.parents[1]), SystemClock())


def copies(saved: SavedServers) -> list[bytes]:
    return [path.read_bytes() for path in saved.path.parent.glob("servers.json.corrupt-*")]


def test_what_was_kept_is_loaded_with_models_and_time_stamps_but_unchecked(saved: SavedServers) -> None:
    assert saved.load() == ()

    online = tuple(replace(record, status=ServerStatus.ONLINE, checked_utc=NOW) for record in SERVERS)
    assert saved.keep(online) == online

    assert again(saved).load() == SERVERS


def test_an_empty_list_makes_no_file(saved: SavedServers) -> None:
    saved.keep(())

    assert not saved.path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="modes mean nothing there")
def test_the_file_is_private(saved: SavedServers) -> None:
    saved.keep(SERVERS)

    assert stat.S_IMODE(saved.path.stat().st_mode) == 0o600


def test_a_file_of_the_first_version_is_understood_and_written_anew(saved: SavedServers) -> None:
    entries = [{"url": "http://127.0.0.1:8080", "engine": "ollama", "product": "ollama"}]
    saved.path.write_text(json.dumps({"version": 1, "servers": entries}))

    (record,) = saved.load()
    saved.keep((replace(record, favourite=True),))

    assert (record.source, record.engine, record.product) == (ServerSource.MANUAL, Engine.OLLAMA, "ollama")
    assert record.status is ServerStatus.NOT_CHECKED
    assert json.loads(saved.path.read_text())["version"] == 2
    assert [r.favourite for r in again(saved).load()] == [True]
    assert copies(saved) == []


def test_a_file_of_a_later_version_loses_nothing_that_this_one_knows(saved: SavedServers) -> None:
    entry = {"url": "http://127.0.0.1:8080", "engine": "skynet", "product": "skynet", "colour": "red"}
    saved.path.write_text(json.dumps({"version": 9, "servers": [entry]}))

    (record,) = saved.load()

    assert (record.engine, record.product) == (Engine.UNKNOWN, "skynet")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"[]", b"{}", b'{"version":2,"servers":{}}', b"\xff"])
def test_a_broken_file_counts_as_empty_and_is_kept_aside(saved: SavedServers, content: bytes) -> None:
    saved.path.write_bytes(content)

    assert saved.load() == ()
    saved.keep(SERVERS)

    assert copies(saved) == [content]
    assert again(saved).load() == SERVERS


@pytest.mark.parametrize(
    "entry",
    [
        1,
        {"url": 1},
        {"url": "http://127.0.0.1:1", "latency_s": "quick"},
        {"url": "http://127.0.0.1:1", "models": "all"},
        {"url": "http://127.0.0.1:1", "last_seen_utc": "2026-01-01T00:00:00"},
        {"url": "http://127.0.0.1:1", "source": "service"},
    ],
)
def test_one_broken_entry_costs_only_itself_and_is_kept_aside(saved: SavedServers, entry: object) -> None:
    good = {"url": "http://127.0.0.1:8080"}
    content = json.dumps({"version": 2, "servers": [entry, good]}).encode()
    saved.path.write_bytes(content)

    assert [record.base_url for record in saved.load()] == ["http://127.0.0.1:8080"]
    assert copies(saved) == [content]


def test_addresses_that_we_would_not_have_written_are_left_out(saved: SavedServers) -> None:
    """D11: the file may have been edited by hand."""
    urls = ["http://evil\\@127.0.0.1", "http://127.1:80", "http://127.0.0.1:8080", "http://h:0", "x"]
    servers = [{"url": url, "engine": "ollama", "product": ""} for url in urls]
    saved.path.write_text(json.dumps({"version": 1, "servers": servers}))

    assert [record.base_url for record in saved.load()] == ["http://127.0.0.1:8080"]


def test_what_cannot_be_read_is_never_replaced(saved: SavedServers) -> None:
    saved.path.mkdir()

    assert saved.load() == ()
    with pytest.raises(StorageError):
        saved.keep(SERVERS)

    assert saved.path.is_dir()


def test_a_broken_file_that_cannot_be_copied_is_never_replaced(
    saved: SavedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise StorageError("The disk is full.", "Make room.")

    monkeypatch.setattr(saved_module, "write_new", full)
    saved.path.write_bytes(b"precious")

    assert saved.load() == ()
    with pytest.raises(StorageError, match="full"):
        saved.keep(SERVERS)

    assert saved.path.read_bytes() == b"precious"


def test_what_another_program_wrote_meanwhile_is_brought_in(saved: SavedServers) -> None:
    saved.keep(SERVERS)
    other, new = again(saved), server("http://127.0.0.1:7")
    other.load()
    other.keep((replace(MANUAL, note="theirs"), FOUND, new))

    merged = saved.keep((MANUAL, replace(FOUND, favourite=True)))

    assert merged == (replace(MANUAL, note="theirs"), replace(FOUND, favourite=True), new)
    assert again(saved).load() == merged


def test_a_file_in_use_by_another_program_is_waited_for_not_written_to(
    saved: SavedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOCK_TIMEOUT_S", 0.05)
    saved.keep(SERVERS)
    before = saved.path.read_bytes()

    with FileLock(saved.path.with_name("servers.lock")) as theirs:
        assert theirs.acquire()
        with pytest.raises(StorageError, match="in use"):
            saved.keep(())
    assert saved.path.read_bytes() == before

    saved.keep(())
    assert again(saved).load() == ()


def test_a_found_server_that_nobody_has_seen_for_a_month_is_forgotten_unless_marked(
    saved: SavedServers,
) -> None:
    long_ago = NOW - timedelta(days=31)
    urls = [f"http://127.0.0.1:{port}" for port in range(1, 6)]
    kept = (
        server(urls[0], ServerSource.FOUND, last_seen_utc=long_ago, favourite=True),
        server(urls[1], ServerSource.FOUND, last_seen_utc=long_ago, note="mine"),
        server(urls[2], last_seen_utc=long_ago),
        server(urls[3], ServerSource.FOUND),
    )
    saved.keep((*kept, server(urls[4], ServerSource.FOUND, last_seen_utc=long_ago)))

    assert again(saved).load() == kept


def test_thousands_of_models_neither_fill_the_file_nor_cost_the_servers(saved: SavedServers) -> None:
    many = tuple(ModelInfo(f"m{number}" + "x" * 200) for number in range(3000))
    few = tuple(server(f"http://127.0.0.1:{port}", models=many) for port in range(1, 4))
    lots = tuple(server(f"http://127.0.0.1:{port}", models=many) for port in range(1, 200))

    saved.keep(few)
    assert [len(record.models) for record in again(saved).load()] == [200, 200, 200]
    saved.keep(lots)

    assert saved.path.stat().st_size < saved_module.MAX_BYTES
    assert len(again(saved).load()) == 199


def test_what_was_only_found_gives_way_to_what_was_added(
    saved: SavedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_module, "MAX_BYTES", 10_000)
    found = tuple(server(f"http://127.0.0.1:{port}", ServerSource.FOUND) for port in range(1, 100))

    saved.keep((*found, MANUAL))

    assert [record.id for record in again(saved).load()] == [MANUAL.id]


@pytest.mark.parametrize(
    "name", ["\udc80", "a\x00b", "\u202eevil", "\U0001f468\u200d\U0001f469", "x" * 100_000]
)
def test_d7_hostile_names_survive_the_file(saved: SavedServers, name: str) -> None:
    saved.keep((server("http://127.0.0.1:1", models=(ModelInfo(name),), product=name),))

    (record,) = again(saved).load()
    assert record.product == record.models[0].id
    assert record.product.replace("\ufffd", "\x00") in (name, "\x00")  # As every document that is read.
