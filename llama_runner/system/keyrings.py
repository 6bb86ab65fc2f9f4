"""The operating system's keyring: Secret Service, KWallet, macOS Keychain, Windows Credential Manager.

Every call has a thread of its own and a limit in time, as a keyring may be locked, ask its user, or hang
(F37). Only keyrings that encrypt are used: nothing here ever writes a secret in plain text.
"""

import asyncio
import contextlib
import logging
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from llama_runner.core.errors import StorageError

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

log = logging.getLogger(__name__)

T = TypeVar("T")

# F37: long enough for a slow disk and a busy bus; a person who is asked to unlock it may take longer, and
# what they unlock is found at the next call.
CALL_TIMEOUT_S: Final = 5.0
# The Windows vault takes 2,560 bytes and is given UTF-16 (PINPal issue 1).
MAX_WINDOWS_CHARS: Final = 1280
ACCOUNT: Final = "api-key"
# An allow-list: other packages bring keyrings that write plain files, and `null` forgets what it is given.
_ENCRYPTING: Final = tuple(
    f"keyring.backends.{name}" for name in ("SecretService", "libsecret", "kwallet", "macOS", "Windows")
)
_INSTEAD: Final = "Keep the key in a file that only you can read, or in memory until the program ends."


class KeyringError(StorageError):
    """The system's keyring cannot be used. The hint names what else there is; the choice is a person's."""

    kind = "keyring"


def choose_backend() -> "KeyringBackend":
    """The keyring to use. Raises KeyringError when the system has none that encrypts."""
    # Not at the top: it looks through all installed packages, and most runs never need it.
    import keyring
    from keyring.backends.chainer import ChainerBackend

    chosen = keyring.get_keyring()
    candidates = chosen.backends if isinstance(chosen, ChainerBackend) else [chosen]
    for backend in candidates:
        if type(backend).__module__.startswith(_ENCRYPTING):
            return backend
    raise KeyringError("This system has no keyring that can be used.", _INSTEAD)


@dataclass(slots=True)
class _Call:
    """One call on its way through the thread.

    Attributes:
        work: What to do there.
        undo: What to do when it succeeded after its caller had given up.
        done: Told the result, on the caller's loop.
    """

    work: Callable[["KeyringBackend"], Any]
    undo: Callable[["KeyringBackend"], Any] | None
    done: "asyncio.Future[Any]"
    abandoned: bool = False


class SystemKeyring:
    """Secrets by name in the system's keyring. Its thread starts with the first call.

    Args:
        choose: Called in the thread, once per call until it succeeds; may raise KeyringError. None: the
            system's own (`choose_backend`).
        platform: As `sys.platform` spells it.
    """

    def __init__(
        self,
        choose: "Callable[[], KeyringBackend] | None" = None,
        *,
        platform: str = sys.platform,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        self._choose = choose or choose_backend
        self._platform = platform
        self._timeout_s = timeout_s
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._backend: KeyringBackend | None = None

    async def get(self, name: str) -> str | None:
        """The secret of that name, None when there is none. Raises KeyringError."""
        found: str | None = await self._call(lambda backend: backend.get_password(name, ACCOUNT))
        return found

    async def set(self, name: str, secret: str) -> None:
        """Keep a secret; one that is kept only after this gave up waiting is taken out again.

        Raises:
            KeyringError: It is not kept.
        """
        if self._platform == "win32" and len(secret) > MAX_WINDOWS_CHARS:
            raise KeyringError(
                f"The Windows Credential Manager keeps no more than {MAX_WINDOWS_CHARS} characters.", _INSTEAD
            )
        await self._call(
            lambda backend: backend.set_password(name, ACCOUNT, secret),
            undo=lambda backend: backend.delete_password(name, ACCOUNT),
        )

    async def delete(self, name: str) -> None:
        """Forget a secret; one that is not there is no error. Raises KeyringError."""

        def delete(backend: "KeyringBackend") -> None:
            if backend.get_password(name, ACCOUNT) is not None:
                backend.delete_password(name, ACCOUNT)

        await self._call(delete)

    async def _call(
        self,
        work: Callable[["KeyringBackend"], T],
        undo: Callable[["KeyringBackend"], None] | None = None,
    ) -> T:
        call = _Call(work, undo, asyncio.get_running_loop().create_future())
        self._calls.put(call)
        if self._thread is None:
            # A daemon, and not the loop's pool: a call that hangs must not hold up the program's end.
            self._thread = threading.Thread(target=self._serve, name="keyring", daemon=True)
            self._thread.start()
        try:
            async with asyncio.timeout(self._timeout_s):
                result: T = await call.done
        except TimeoutError as error:
            raise KeyringError(
                f"The system's keyring did not answer within {self._timeout_s:g} s.",
                f"Unlock it and try again. {_INSTEAD}",
            ) from error
        finally:
            call.abandoned = True
        return result

    def _serve(self) -> None:
        while True:
            call = self._calls.get()
            if not call.abandoned:
                self._carry_out(call)

    def _carry_out(self, call: _Call) -> None:
        result: Any = None
        failure: KeyringError | None = None
        try:
            if self._backend is None:
                self._backend = self._choose()
            result = call.work(self._backend)
            if call.abandoned and call.undo is not None:
                call.undo(self._backend)
        except KeyringError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the thread's top edge; backends raise whatever their bus does
            # Its text stays out: nothing says that a backend never quotes what it was given.
            log.warning("keyring call failed error=%s", type(error).__name__)
            failure = _failure(error)
        # RuntimeError: the loop is closed already, nobody waits any more.
        with contextlib.suppress(RuntimeError):
            call.done.get_loop().call_soon_threadsafe(_settle, call.done, result, failure)


def _failure(error: Exception) -> KeyringError:
    import keyring.errors

    if isinstance(error, keyring.errors.KeyringLocked):
        return KeyringError("The system's keyring is locked.", f"Unlock it and try again. {_INSTEAD}")
    if isinstance(error, keyring.errors.NoKeyringError):
        return KeyringError("This system has no keyring that can be used.", _INSTEAD)
    return KeyringError(f"The system's keyring failed ({type(error).__name__}).", _INSTEAD)


def _settle(done: "asyncio.Future[Any]", result: object, failure: KeyringError | None) -> None:
    if done.done():
        return
    if failure is not None:
        done.set_exception(failure)
    else:
        done.set_result(result)
