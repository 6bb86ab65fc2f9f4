"""A WebSocket client of bytes: it sends what no good client would, and reads frames one by one."""

import base64
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
CONTINUATION: Final = 0x0
FINAL: Final = 0x80
LIMIT_S: Final = 10.0


def frame(
    payload: bytes, *, opcode: int = TEXT, flags: int = FINAL, masked: bool = True, says: int | None = None
) -> bytes:
    """One frame.

    Args:
        flags: The upper half of its first byte: FINAL, and the reserved bits.
        says: The length its head claims, in place of the payload's.
    """
    length, mask_bit = len(payload) if says is None else says, 0x80 if masked else 0
    head = bytes([flags | opcode])
    if length < 126:
        head += bytes([mask_bit | length])
    elif length < 65536:
        head += bytes([mask_bit | 126]) + struct.pack("!H", length)
    else:
        head += bytes([mask_bit | 127]) + struct.pack("!Q", length)
    if not masked:
        return head + payload
    # A mask of zeros is one.
    return head + b"\0\0\0\0" + payload


class RawSocket:
    """One connection.

    Attributes:
        status: What the upgrade was answered with; 101 when it worked, 0 when nothing came.
    """

    def __init__(self, connection: socket.socket, request: bytes) -> None:
        self.connection = connection
        self._data = b""
        connection.sendall(request)
        while b"\r\n\r\n" not in self._data and self._more():
            pass
        self.head, _, self._data = self._data.partition(b"\r\n\r\n")
        self.status = int(self.head.split()[1]) if self.head else 0

    def send(self, data: bytes) -> None:
        """Send as much as is taken: the other side may have closed already."""
        try:
            self.connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def read(self) -> tuple[int, bytes] | None:
        """The next frame's opcode and payload; None when the connection has ended."""
        while (found := _first_frame(self._data)) is None:
            if not self._more():
                return None
        opcode, payload, self._data = found
        return opcode, payload

    def closed_with(self) -> int | None:
        """Read on to the close frame; its code, None when the connection ended without one."""
        while (found := self.read()) is not None:
            if found[0] == CLOSE:
                return int(struct.unpack("!H", found[1][:2])[0])
        return None

    def _more(self) -> bool:
        try:
            data = self.connection.recv(65536)
        except ConnectionResetError:
            return False
        self._data += data
        return bool(data)


def _first_frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    if len(data) < 2:
        return None
    length, start = data[1] & 0x7F, 2
    if length == 126:
        length, start = int.from_bytes(data[2:4], "big"), 4
    elif length == 127:
        length, start = int.from_bytes(data[2:10], "big"), 10
    end = start + length
    return None if len(data) < max(end, start) else (data[0] & 0x0F, data[start:end], data[end:])


def upgrade_request(
    path: str, headers: dict[str, str | None], *, version: str = "1.1", key: bool = True
) -> bytes:
    """A good upgrade with `headers` in place of or beside its own; None leaves one out."""
    given: dict[str, str | None] = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode() if key else None,
        **headers,
    }
    lines = [f"GET {path} HTTP/{version}", *(f"{name}: {value}" for name, value in given.items() if value)]
    return "\r\n".join((*lines, "", "")).encode("latin-1")


@contextmanager
def web_socket(port: int, request: bytes, *, receive_bytes: int | None = None) -> Iterator[RawSocket]:
    """A connection to 127.0.0.1 that has asked for an upgrade.

    Args:
        receive_bytes: What the kernel keeps for a client that does not read.
    """
    with socket.socket() as connection:
        connection.settimeout(LIMIT_S)
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.connect(("127.0.0.1", port))
        yield RawSocket(connection, request)
