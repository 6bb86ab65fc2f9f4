"""The system's keyring: there, absent, locked, hanging, or no better than plain text (F37, R9)."""

import asyncio
import threading
from collections.abc import Iterator

import keyring.errors
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null

from llama_runner.system import keyrings
from llama_runner.system.keyrings import MAX_WINDOWS_CHARS, KeyringError, SystemKeyring
from tests.fakes.keyrings import Drawer


@pytest.fixture
def drawer() -> Iterator[Drawer]:
    made = Drawer()
    yield made
    if made.busy is not None:
        made.busy.set()


async def test_what_is_kept_is_found_until_it_is_deleted(drawer: Drawer) -> None:
    system = SystemKeyring(lambda: drawer)
    assert await system.get("a") is None
    await system.set("a", "secret")
    await system.set("b", "other")
    assert await system.get("a") == "secret"
    await system.delete("a")
    await system.delete("a")
    assert await system.get("a") is None
    assert await system.get("b") == "other"


async def test_f37_a_keyring_that_hangs_is_given_up_and_does_not_hold_the_program_up(drawer: Drawer) -> None:
    drawer.busy = threading.Event()
    system = SystemKeyring(lambda: drawer, timeout_s=0.1)
    for _ in range(2):
        with pytest.raises(KeyringError, match=r"did not answer within 0\.1 s") as hung:
            await system.get("a")
        assert "file" in hung.value.hint
    threads = [thread for thread in threading.enumerate() if thread.name == "keyring"]
    assert threads
    assert all(thread.daemon for thread in threads)


async def test_f37_a_call_that_was_given_up_is_not_made_later(drawer: Drawer) -> None:
    drawer.busy = threading.Event()
    system = SystemKeyring(lambda: drawer, timeout_s=0.1)
    for name in ("a", "b", "c"):
        with pytest.raises(KeyringError):
            await system.set(name, "secret")
    system._timeout_s = 5
    drawer.busy.set()
    assert await system.get("d") is None
    # The first was under way, and was undone; the others never began.
    assert drawer.content == {}
    assert drawer.calls == 2


async def test_f37_a_keyring_that_woke_up_is_used_again(drawer: Drawer) -> None:
    drawer.busy = threading.Event()
    system = SystemKeyring(lambda: drawer, timeout_s=0.1)
    with pytest.raises(KeyringError):
        await system.get("a")
    drawer.busy.set()
    system._timeout_s = 5
    await system.set("a", "secret")
    assert await system.get("a") == "secret"


@pytest.mark.parametrize(
    ("mood", "words"),
    [
        (keyring.errors.KeyringLocked("x"), "is locked"),
        (keyring.errors.NoKeyringError("x"), "has no keyring"),
        (keyring.errors.InitError("x"), "InitError"),
        (keyring.errors.PasswordSetError("for hunter2"), "PasswordSetError"),
        (OSError("the bus is gone"), "OSError"),
        (ValueError("hunter2"), "ValueError"),
    ],
)
async def test_f37_whatever_a_keyring_raises_becomes_one_error_that_names_other_places(
    mood: Exception, words: str, drawer: Drawer, caplog: pytest.LogCaptureFixture
) -> None:
    drawer.mood = mood
    system = SystemKeyring(lambda: drawer)
    with pytest.raises(KeyringError, match=words) as failed:
        await system.set("a", "hunter2")
    assert "in memory" in failed.value.hint
    assert "hunter2" not in str(failed.value) + caplog.text
    drawer.mood = None
    await system.set("a", "hunter2")
    assert await system.get("a") == "hunter2"


async def test_a_key_that_windows_cannot_keep_is_refused_before_it_is_tried(drawer: Drawer) -> None:
    """S62: the Credential Manager answers with "the stub received bad data"."""
    windows = SystemKeyring(lambda: drawer, platform="win32")
    with pytest.raises(KeyringError, match="1280 characters"):
        await windows.set("a", "x" * (MAX_WINDOWS_CHARS + 1))
    assert drawer.calls == 0
    await windows.set("a", "x" * MAX_WINDOWS_CHARS)
    await SystemKeyring(lambda: drawer, platform="linux").set("b", "x" * (MAX_WINDOWS_CHARS + 1))


class PlainFile(Drawer):
    """What some packages bring: a keyring that writes a plain file."""


@pytest.mark.parametrize("chosen", [fail.Keyring, null.Keyring, PlainFile])
def test_r9_a_keyring_that_does_not_encrypt_or_forgets_counts_as_none(
    chosen: type[KeyringBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyring.get_keyring", lambda: chosen())
    with pytest.raises(KeyringError, match="no keyring that can be used"):
        keyrings.choose_backend()


def test_of_several_keyrings_the_first_that_encrypts_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from keyring.backends.chainer import ChainerBackend

    good = type("Keyring", (Drawer,), {"__module__": "keyring.backends.kwallet"})()
    chained = type("Chained", (ChainerBackend,), {"backends": [PlainFile(), good]})()
    monkeypatch.setattr("keyring.get_keyring", lambda: chained)
    assert keyrings.choose_backend() is good


def test_a_loop_that_ended_before_the_keyring_answered_does_no_harm(drawer: Drawer) -> None:
    drawer.busy = threading.Event()
    system = SystemKeyring(lambda: drawer, timeout_s=0.05)

    async def ask() -> None:
        with pytest.raises(KeyringError):
            await system.get("a")

    asyncio.run(ask())
    drawer.busy.set()

    async def ask_again() -> str | None:
        system._timeout_s = 5
        return await system.get("a")

    assert asyncio.run(ask_again()) is None
