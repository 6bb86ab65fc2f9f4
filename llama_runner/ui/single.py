"""One window per home (R13): the file lock is the truth, the local socket only carries "come to the front".

The socket belongs to this user alone and knows one message. A dead socket file is replaced.
"""

import hashlib
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from llama_runner.core.paths import Home
from llama_runner.system.locks import FileLock

if TYPE_CHECKING:
    from PySide6.QtCore import QObject
    from PySide6.QtNetwork import QLocalServer, QLocalSocket

log = logging.getLogger(__name__)

RAISE: Final = b"raise window\n"
# The other window is on this machine and idle most of the time.
ANSWER_MS: Final = 1000


class SingleWindow:
    """This process's claim to be the window of a home."""

    def __init__(self, home: Home) -> None:
        self._lock = FileLock(home.run_dir / "window.lock")
        self._name = f"llama-runner-{hashlib.sha256(str(home.root).encode()).hexdigest()[:24]}"
        self._server: QLocalServer | None = None

    def claim(self) -> bool:
        """Become the one window. False when there is one already."""
        try:
            return self._lock.acquire()
        except OSError as error:
            # A folder that takes no lock (a network drive) is no reason to show nothing.
            log.warning("no window lock error=%s", error)
            return True

    def raise_other(self) -> bool:
        """Ask the window that holds the claim to come to the front. False when it does not listen."""
        from PySide6.QtNetwork import QLocalSocket

        socket = QLocalSocket()
        socket.connectToServer(self._name)
        if not socket.waitForConnected(ANSWER_MS):
            return False
        socket.write(RAISE)
        sent = socket.waitForBytesWritten(ANSWER_MS)
        socket.disconnectFromServer()
        return sent

    def listen(self, parent: "QObject", come_to_front: Callable[[], None]) -> None:
        """Hear other starts for as long as `parent` lives."""
        from PySide6.QtNetwork import QLocalServer

        server = QLocalServer(parent)
        server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        # We hold the lock: whoever left this socket behind is gone.
        QLocalServer.removeServer(self._name)
        if not server.listen(self._name):
            log.warning("no window socket error=%s", server.errorString())
            return
        server.newConnection.connect(lambda: _hear(server, come_to_front))
        self._server = server

    def release(self) -> None:
        """Give the claim back. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._lock.release()


def _hear(server: "QLocalServer", come_to_front: Callable[[], None]) -> None:
    while (socket := server.nextPendingConnection()) is not None:
        # What is longer than the one message is not ours.
        socket.setReadBufferSize(len(RAISE) + 1)
        socket.readyRead.connect(partial(_read, socket, come_to_front))
        socket.disconnected.connect(socket.deleteLater)
        _read(socket, come_to_front)


def _read(socket: "QLocalSocket", come_to_front: Callable[[], None]) -> None:
    if socket.bytesAvailable() < len(RAISE):
        return
    wanted = socket.readAll().data() == RAISE
    socket.abort()
    if wanted:
        come_to_front()
