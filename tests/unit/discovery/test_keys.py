"""Where keys are kept, what they are bound to, and who must agree before one travels (R9, R11, F37, C11)."""

import json
import logging
import stat
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import keyring.errors
import pytest

from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import NotFoundError, StorageError, UsageError
from llama_runner.core.logs import start_logging
from llama_runner.core.paths import create_folders, home_at
from llama_runner.core.settings import AppConfig
from llama_runner.discovery.examiner import unchecked
from llama_runner.discovery.keys import PAUSE_NS, KeyPlace, KeyStore, ServerKeys, UnencryptedKeyError
from llama_runner.discovery.registry import ServerRegistry, ServerSource
from llama_runner.net.keys import is_safe_for_keys, origin_of
from llama_runner.system.keyrings import KeyringError, SystemKeyring
from tests.fakes.keyrings import Drawer

HERE: Final = "http://127.0.0.1:8080"
SAFE: Final = "https://box.example"
PLAIN: Final = "http://192.168.1.20:8080"
KEY: Final = "sk-canary-8Jq2"


@dataclass
class Clock(SystemClock):
    """A clock that is put forward."""

    t_ns: int = 0

    def now_ns(self) -> int:
        return self.t_ns


@dataclass
class Place:
    """One program's keys: `again` is the same after a restart."""

    folder: Path
    drawer: Drawer
    clock: Clock
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        self.again()

    def again(self) -> None:
        self.registry = ServerRegistry()
        for url in (HERE, SAFE, PLAIN):
            self.registry.upsert(unchecked(url, ServerSource.MANUAL))
        system = SystemKeyring(lambda: self.drawer, timeout_s=self.timeout_s)
        self.store = KeyStore(self.folder, self.clock, system)
        self.keys = ServerKeys(registry=self.registry, store=self.store)
        for record in self.registry.records:
            self.keys.show(record.id)

    async def sent_to(self, url: str) -> str | None:
        """The key that the next request to a server would carry."""
        record = self.registry.known(url)
        await self.keys.fetch(record)
        return self.registry.endpoint(record).api_key

    @property
    def file(self) -> Path:
        return self.folder / "keys.json"

    def files_with(self, secret: str) -> list[str]:
        return [p.name for p in self.folder.iterdir() if secret in p.read_text("utf-8")]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, Drawer(), Clock())
    yield made
    if made.drawer.busy is not None:
        made.drawer.busy.set()


@pytest.mark.parametrize("where", KeyPlace)
async def test_a_key_is_kept_where_its_owner_said_and_nowhere_else(where: KeyPlace, place: Place) -> None:
    await place.keys.set(SAFE, f" {KEY}\n", where, agreed=False)
    assert await place.sent_to(SAFE) == KEY
    assert place.keys.place(SAFE) is where
    assert place.registry.known(SAFE).key_place == where
    assert (KEY in place.drawer.content.values()) is (where is KeyPlace.KEYRING)
    assert place.files_with(KEY) == (["keys.json"] if where is KeyPlace.FILE else [])


@pytest.mark.parametrize("where", KeyPlace)
async def test_after_a_restart_a_key_is_there_again_unless_it_was_in_memory(
    where: KeyPlace, place: Place
) -> None:
    await place.keys.set(SAFE, KEY, where, agreed=False)
    place.again()
    kept = where is not KeyPlace.MEMORY
    assert place.keys.place(SAFE) is (where if kept else None)
    assert place.registry.known(SAFE).key_place == (where if kept else "")
    assert await place.sent_to(SAFE) == (KEY if kept else None)


async def test_the_keyring_is_not_asked_before_a_server_is(place: Place) -> None:
    await place.keys.set(SAFE, KEY, KeyPlace.KEYRING, agreed=False)
    before = place.drawer.calls
    place.again()
    assert place.keys.place(SAFE) is KeyPlace.KEYRING
    assert await place.sent_to(HERE) is None
    assert place.drawer.calls == before
    assert [await place.sent_to(SAFE) for _ in range(3)] == [KEY] * 3
    assert place.drawer.calls == before + 1


async def test_i4_a_key_is_bound_to_scheme_host_and_port(place: Place) -> None:
    """Other servers on the same host, and the same server without encryption, get nothing."""
    others = ("http://box.example", "https://box.example:8443", "https://box.example.evil", "https://example")
    await place.keys.set(SAFE, KEY, KeyPlace.FILE, agreed=False)
    place.again()
    for url in others:
        place.registry.upsert(unchecked(url, ServerSource.FOUND))
        assert await place.sent_to(url) is None
    place.registry.upsert(unchecked("https://box.example:443", ServerSource.FOUND))
    assert await place.sent_to("https://box.example:443") == KEY


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://a", "http://a:80"),
        ("https://a", "https://a:443"),
        ("https://[::1]:8", "https://[::1]:8"),
        ("http://a:1/v1/models", "http://a:1"),
    ],
)
def test_an_origin_always_names_its_port(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "https://far.example"]
)
def test_r11_keys_travel_freely_inside_this_machine_and_encrypted(url: str) -> None:
    assert is_safe_for_keys(url)


@pytest.mark.parametrize(
    "url", ["http://192.168.1.2", "http://box", "http://8.8.8.8", "http://localhost.evil.example"]
)
def test_r11_nowhere_else(url: str) -> None:
    assert not is_safe_for_keys(url)


@pytest.mark.parametrize("where", KeyPlace)
async def test_r11_a_key_goes_unencrypted_to_another_machine_only_after_a_yes_that_is_remembered(
    where: KeyPlace, place: Place
) -> None:
    with pytest.raises(UnencryptedKeyError, match="unencrypted"):
        await place.keys.set(PLAIN, KEY, where, agreed=False)
    assert await place.sent_to(PLAIN) is None
    assert place.drawer.content == {}
    assert place.files_with(KEY) == []
    await place.keys.set(PLAIN, KEY, where, agreed=True)
    assert await place.sent_to(PLAIN) == KEY
    place.again()
    assert place.keys.agreed_plain_http(PLAIN)
    assert not place.keys.agreed_plain_http("http://192.168.1.20:8081")
    await place.keys.set(PLAIN, KEY, where, agreed=False)


async def test_r11_a_yes_that_was_edited_out_of_the_file_counts_no_more(place: Place) -> None:
    await place.keys.set(PLAIN, KEY, KeyPlace.FILE, agreed=True)
    place.file.write_text(place.file.read_text("utf-8").replace("true", "false"), "utf-8")
    place.again()
    assert "unencrypted" in await place.keys.fetch(place.registry.known(PLAIN))
    assert await place.sent_to(PLAIN) is None


@pytest.mark.parametrize("where", KeyPlace)
async def test_a_forgotten_key_is_nowhere_and_its_yes_is_taken_back(where: KeyPlace, place: Place) -> None:
    await place.keys.set(PLAIN, KEY, where, agreed=True)
    await place.keys.forget(PLAIN)
    await place.keys.forget(PLAIN)
    assert await place.sent_to(PLAIN) is None
    assert place.keys.place(PLAIN) is None
    assert place.registry.known(PLAIN).key_place == ""
    assert place.drawer.content == {}
    assert place.files_with(KEY) == []
    place.again()
    assert not place.keys.agreed_plain_http(PLAIN)


@pytest.mark.parametrize("before", KeyPlace)
@pytest.mark.parametrize("after", KeyPlace)
async def test_c11_a_key_that_moves_leaves_nothing_behind(
    before: KeyPlace, after: KeyPlace, place: Place
) -> None:
    """From a plain file into the keyring above all: no file and no backup has it any more."""
    await place.keys.set(SAFE, KEY, before, agreed=False)
    await place.keys.set(SAFE, "sk-second", after, agreed=False)
    assert await place.sent_to(SAFE) == "sk-second"
    assert place.files_with(KEY) == []
    assert KEY not in place.drawer.content.values()
    assert place.files_with("sk-second") == (["keys.json"] if after is KeyPlace.FILE else [])
    assert ("sk-second" in place.drawer.content.values()) is (after is KeyPlace.KEYRING)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows guards the folder of the user instead")
async def test_r9_the_file_is_the_users_alone(place: Place) -> None:
    await place.keys.set(SAFE, KEY, KeyPlace.FILE, agreed=False)
    assert stat.S_IMODE(place.file.stat().st_mode) == 0o600


MOODS: Final = {
    "absent": keyring.errors.NoKeyringError("none"),
    "locked": keyring.errors.KeyringLocked("dismissed"),
    "hangs": None,
}


@pytest.mark.parametrize("mood", MOODS)
async def test_f37_without_a_keyring_nothing_is_kept_until_a_person_chose_another_place(
    mood: str, place: Place
) -> None:
    spoil(place, mood)
    with pytest.raises(KeyringError) as refused:
        await place.keys.set(SAFE, KEY, KeyPlace.KEYRING, agreed=False)
    assert "file" in refused.value.hint
    assert list(place.folder.iterdir()) == []
    assert place.keys.place(SAFE) is None
    assert await place.sent_to(SAFE) is None
    await place.keys.set(SAFE, KEY, KeyPlace.FILE, agreed=False)
    assert await place.sent_to(SAFE) == KEY


@pytest.mark.parametrize("mood", MOODS)
async def test_f37_a_keyring_that_fails_is_said_and_left_alone_for_a_while(mood: str, place: Place) -> None:
    await place.keys.set(SAFE, KEY, KeyPlace.KEYRING, agreed=False)
    spoil(place, mood)
    calls = place.drawer.calls
    for _ in range(5):
        assert "keyring" in await place.keys.fetch(place.registry.known(SAFE))
    assert place.drawer.calls == calls + 1
    assert place.files_with(KEY) == []
    place.drawer.mood = None
    if place.drawer.busy is not None:
        place.drawer.busy.set()
    place.clock.t_ns += PAUSE_NS
    assert await place.sent_to(SAFE) == KEY


def spoil(place: Place, mood: str) -> None:
    place.timeout_s = 0.05
    place.again()
    place.drawer.mood = MOODS[mood]
    if mood == "hangs":
        place.drawer.busy = threading.Event()


async def test_a_key_that_left_the_keyring_by_another_way_is_said_to_be_gone(place: Place) -> None:
    await place.keys.set(SAFE, KEY, KeyPlace.KEYRING, agreed=False)
    place.again()
    place.drawer.content.clear()
    assert "any more" in await place.keys.fetch(place.registry.known(SAFE))


async def test_a_kept_key_that_no_header_can_carry_is_not_used(place: Place) -> None:
    """Somebody edited the file: a line break would be a header of their choice."""
    await place.keys.set(SAFE, KEY, KeyPlace.FILE, agreed=False)
    place.file.write_text(place.file.read_text("utf-8").replace(KEY, "a\\r\\nX-Evil: 1"), "utf-8")
    place.again()
    trouble = await place.keys.fetch(place.registry.known(SAFE))
    assert trouble
    assert "Evil" not in trouble
    assert await place.sent_to(SAFE) is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version": 1, "servers": [{"key": "sk-canary"}]}', "\xff"]
)
async def test_a_file_that_is_not_understood_is_neither_used_nor_replaced_nor_quoted(
    content: str, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.file.write_bytes(content.encode("latin-1"))
    assert await place.sent_to(SAFE) is None
    with pytest.raises(StorageError, match="not understood") as refused:
        await place.keys.set(SAFE, KEY, KeyPlace.FILE, agreed=False)
    with pytest.raises(StorageError):
        await place.keys.set(SAFE, KEY, KeyPlace.KEYRING, agreed=False)
    assert place.file.read_bytes() == content.encode("latin-1")
    assert [path.name for path in place.folder.iterdir()] == ["keys.json"]
    assert place.drawer.content == {}
    assert "sk-canary" not in caplog.text + str(refused.value)
    await place.keys.set(HERE, KEY, KeyPlace.MEMORY, agreed=False)


async def test_two_programs_keep_keys_in_one_file(place: Place) -> None:
    other = Place(place.folder, place.drawer, place.clock)
    await place.keys.set(SAFE, KEY, KeyPlace.FILE, agreed=False)
    await other.keys.set(HERE, "sk-other", KeyPlace.FILE, agreed=False)
    place.again()
    assert await place.sent_to(SAFE) == KEY
    assert await place.sent_to(HERE) == "sk-other"
    assert len(json.loads(place.file.read_text("utf-8"))["servers"]) == 2


async def test_what_is_no_key_and_who_has_none_is_refused(place: Place) -> None:
    for text in ("", " \n", "sk canary", "sk\0"):
        with pytest.raises(UsageError):
            await place.keys.set(SAFE, text, KeyPlace.FILE, agreed=True)
    with pytest.raises(NotFoundError):
        await place.keys.set("https://gone", KEY, KeyPlace.FILE, agreed=True)
    place.registry.upsert(unchecked("http://127.0.0.1:9", ServerSource.SERVICE))
    with pytest.raises(UsageError, match="loaded here"):
        await place.keys.set("http://127.0.0.1:9", KEY, KeyPlace.FILE, agreed=True)
    assert list(place.folder.iterdir()) == []


@pytest.mark.parametrize("where", [KeyPlace.KEYRING, KeyPlace.FILE])
async def test_a_server_that_is_put_back_has_its_key_again(where: KeyPlace, place: Place) -> None:
    await place.keys.set(PLAIN, KEY, where, agreed=True)
    place.again()
    record = place.registry.known(PLAIN)
    await place.keys.fetch(record)
    removed = place.registry.take_off(PLAIN)
    await place.keys.drop(PLAIN)
    assert place.drawer.content == {}
    assert place.files_with(KEY) == []
    assert KEY not in repr(removed)
    place.registry.restore(removed)
    await place.keys.put_back(removed)
    place.again()
    assert await place.sent_to(PLAIN) == KEY


async def test_r9_a_log_never_shows_a_key_again_once_it_is_known(place: Place, tmp_path: Path) -> None:
    """Also a key of no known vendor's shape, and one that came out of the keyring."""
    home = home_at(tmp_path / "home")
    create_folders(home)
    await place.keys.set(SAFE, "plainlooking77", KeyPlace.KEYRING, agreed=False)
    place.again()
    handle = start_logging(home, AppConfig(), console=False, debug=True)
    try:
        await place.keys.fetch(place.registry.known(SAFE))
        await place.keys.set(HERE, "otherlooking88", KeyPlace.MEMORY, agreed=False)
        logging.getLogger("llama_runner.test").warning("got %s and otherlooking88", "plainlooking77")
    finally:
        handle.close()
    text = handle.file.read_text("utf-8")
    assert "got [redacted] and [redacted]" in text
