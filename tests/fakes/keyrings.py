"""A keyring that does as a test says."""

import threading

import keyring.errors
from keyring.backend import KeyringBackend


class Drawer(KeyringBackend):
    """A working keyring; `mood` is raised instead while it is set, and `busy` holds every call up."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.content: dict[tuple[str, str], str] = {}
        self.mood: Exception | None = None
        self.calls = 0
        self.busy: threading.Event | None = None

    def get_password(self, service: str, username: str) -> str | None:
        self._called()
        return self.content.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._called()
        self.content[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.content:
            raise keyring.errors.PasswordDeleteError("not there")
        del self.content[service, username]

    def _called(self) -> None:
        self.calls += 1
        if self.busy is not None:
            self.busy.wait(10)
        if self.mood is not None:
            raise self.mood
