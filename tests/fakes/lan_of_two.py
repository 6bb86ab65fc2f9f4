"""Two machines in one network, for real: run as a program in a network namespace of one's own.

    unshare -rn python -m tests.fakes.lan_of_two HOME

This machine is 10.77.0.1. The other one, a namespace inside, is 10.77.0.2: it serves as vLLM on port 8000,
listens for wake packets and tells what it was asked. What happened is written as one JSON document.
"""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llama_runner.core.clock import SystemClock
from llama_runner.core.paths import create_folders, home_at
from llama_runner.core.settings import DiscoverySettings
from llama_runner.discovery.manager import DiscoveryManager
from llama_runner.discovery.registry import ServerRecord, ServerRegistry
from llama_runner.discovery.saved import SavedServers
from llama_runner.discovery.wake import WAKE_PORT
from llama_runner.net.client import open_http
from tests.fakes import model_servers
from tests.fakes.model_servers import simulated

HERE, THERE, NETWORK = "10.77.0.1", "10.77.0.2", "10.77.0.255"
PORT: Final = 8000
MAC, OTHER_MAC = "02:00:00:00:00:02", "02:00:00:00:00:99"


def _ip(*words: str, inside: int | None = None) -> None:
    entering = () if inside is None else ("nsenter", "-t", str(inside), "-n")
    subprocess.run((*entering, "ip", *words), check=True, capture_output=True, timeout=10)


# --- the other machine -------------------------------------------------------------------------------------


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: list[str] = []

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.append(data.hex())


async def serve_there() -> None:
    """Tell that it runs, wait for the network, then answer one command per line."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    _say({"ready": True})
    await commands.readline()
    transport, datagrams = await loop.create_datagram_endpoint(_Datagrams, ("0.0.0.0", WAKE_PORT))
    async with simulated(model_servers.vllm("m"), host=THERE, port=PORT) as server:
        _say({"serving": True})
        while (await commands.readline()).strip():
            keys = [
                headers["authorization"] for _, _, headers in server.requests if "authorization" in headers
            ]
            _say({"asked": len(server.requests), "keys": keys, "woken": datagrams.received})
            server.requests.clear()
    transport.close()


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


@dataclass
class OtherMachine:
    """The process that is the other machine."""

    process: asyncio.subprocess.Process

    async def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        said: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return said

    async def tell(self, line: str = "go") -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        return await self.read()

    async def until_woken(self) -> dict[str, Any]:
        """What it was asked since the last command, once a wake packet came; as it is after many looks."""
        for _ in range(100):
            if (said := await self.tell())["woken"]:
                break
        return said

    def change_mac(self, mac: str) -> None:
        """Another machine has its address now."""
        _ip("link", "set", "there", "address", mac, inside=self.process.pid)
        _ip("neigh", "flush", "all")


@asynccontextmanager
async def other_machine() -> AsyncIterator[OtherMachine]:
    """Start it and lay the cable."""
    process = await asyncio.create_subprocess_exec(
        *("unshare", "-n", sys.executable, "-m", "tests.fakes.lan_of_two"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    other = OtherMachine(process)
    await other.read()
    try:
        _ip("link", "add", "here", "type", "veth", "peer", "name", "there", "netns", str(process.pid))
        _ip("link", "set", "lo", "up")
        _ip("addr", "add", f"{HERE}/24", "brd", "+", "dev", "here")
        _ip("link", "set", "here", "up")
        _ip("link", "set", "there", "address", MAC, inside=process.pid)
        _ip("addr", "add", f"{THERE}/24", "brd", "+", "dev", "there", inside=process.pid)
        _ip("link", "set", "there", "up", inside=process.pid)
        await other.tell()
        yield other
    finally:
        process.terminate()
        await process.wait()


# --- this machine ------------------------------------------------------------------------------------------


def _told(record: ServerRecord) -> dict[str, Any]:
    return {
        "status": record.status,
        "mac": record.mac,
        "changed": record.changed,
        "trusted": record.trusted,
        "problem": record.problem,
    }


async def happenings(home: Path) -> dict[str, Any]:
    """A server with a key; another machine takes its address; a person trusts it; it is told to wake."""
    create_folders(home_at(home))
    registry, clock = ServerRegistry(), SystemClock()
    happened: dict[str, Any] = {}
    async with other_machine() as other, open_http() as http:
        manager = DiscoveryManager(
            registry=registry,
            http=http,
            clock=clock,
            settings=DiscoverySettings,
            saved=SavedServers(home_at(home), clock),
        )
        try:
            added = await manager.add(f"http://{THERE}:{PORT}", "secret", key_over_plain_http=True)
            happened["added"] = _told(added) | await other.tell()
            other.change_mac(OTHER_MAC)
            happened["moved"] = _told(await manager.check(added.id)) | await other.tell()
            happened["trusted"] = _told(await manager.trust(added.id)) | await other.tell()
            await manager.wake(added.id)
            happened["woken"] = await other.until_woken()
        finally:
            await manager.close()
    return happened


def main() -> None:
    """One of the two machines, by whether a home is named."""
    logging.disable()
    if len(sys.argv) == 1:
        asyncio.run(serve_there())
    else:
        _say(asyncio.run(happenings(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
