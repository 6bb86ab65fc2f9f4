"""A program for a network namespace of its own: a scan where silence is real. Prints what came of it as JSON.

`unshare --map-root-user --net python -m tests.integration.namespace_scan SCENARIO HOME`
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from zeroconf import Zeroconf
from zeroconf._dns import DNSPointer
from zeroconf._protocol.outgoing import DNSOutgoing
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from llama_runner.core.settings import DiscoverySettings
from llama_runner.discovery.networks import own_networks, plan_scan
from llama_runner.discovery.scan import ScanReport
from tests.fakes import model_servers
from tests.fakes.model_servers import simulated
from tests.integration.test_discovery import finder

SILENT_NETWORK = "10.77.0.0/24"
OWN_ADDRESS = "10.77.0.1"
NEIGHBOURS = "10.78.0.0/24"
NEIGHBOUR = "10.78.0.2"
SETTINGS = DiscoverySettings()
_SYN_SENT = "02"
# RFC 1035: an authoritative answer, a pointer, the internet.
_ANSWER, _PTR, _IN = 0x8400, 12, 1


def say(line: str) -> None:
    """A line for whoever started this."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def ip(*arguments: str) -> None:
    """Run `ip`."""
    subprocess.run(("ip", *arguments), check=True, capture_output=True)


def silent_network() -> None:
    """An interface whose other end has no address: nobody ever answers."""
    ip("link", "set", "lo", "up")
    ip("link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
    ip("address", "add", f"{OWN_ADDRESS}/24", "dev", "lan0")
    for end in ("lan0", "lan1"):
        ip("link", "set", end, "up")


def outcome(report: ScanReport) -> dict[str, Any]:
    """A report as JSON."""
    return {
        "probed": report.probed,
        "elapsed_s": report.elapsed_s,
        "found": [record.base_url for record in report.found],
        "rejected": [rejected.url for rejected in report.rejected],
        "problems": list(report.problems),
        "stopped": report.stopped,
    }


class Watch:
    """Counts connects that wait, and those begun, as the kernel does."""

    def __init__(self) -> None:
        self.most_at_once = 0
        self.most_in_a_second = 0

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look every few milliseconds."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._look())
            try:
                yield
            finally:
                task.cancel()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        seen: list[tuple[float, int]] = []
        while True:
            waiting = sum(line.split()[3] == _SYN_SENT for line in _lines("/proc/self/net/tcp")[1:])
            self.most_at_once = max(self.most_at_once, waiting)
            now = loop.time()
            seen = [*((at, count) for at, count in seen if at > now - 1), (now, _connects_begun())]
            self.most_in_a_second = max(self.most_in_a_second, seen[-1][1] - seen[0][1])
            await asyncio.sleep(0.02)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _connects_begun() -> int:
    head, values = (line.split() for line in _lines("/proc/self/net/snmp") if line.startswith("Tcp:"))
    return int(values[head.index("ActiveOpens")])


async def silence(home: Path) -> dict[str, Any]:
    """A /24 on which nobody answers, on eight ports: stopped while hundreds of connects wait, then whole."""
    silent_network()
    ports = (11434, 1234, 8080, 9931, 8000, 5000, 5001, 30000)
    plan = plan_scan(SETTINGS, networks=[SILENT_NETWORK], ports=ports, browse=False)
    watch = Watch()
    async with finder(home, SETTINGS) as find, asyncio.TaskGroup() as group:
        scanning = group.create_task(find.manager.scan(plan))
        async for progress in find.manager.progress.subscribe():
            if progress.done > 200:
                break
        began = asyncio.get_running_loop().time()
        await find.manager.stop()
        stopped = await scanning
        stop_s = asyncio.get_running_loop().time() - began
    async with finder(home, SETTINGS) as find, watch.watching():
        report = await find.manager.scan(plan)
    return {
        **outcome(report),
        "stopped": {**outcome(stopped), "stop_s": stop_s},
        "most_at_once": watch.most_at_once,
        "most_in_a_second": watch.most_in_a_second,
        "own": [interface.network for interface in own_networks()],
    }


async def interface_down(home: Path) -> dict[str, Any]:
    """D18: the interface goes down after the first server was found, and another one appears."""
    silent_network()
    async with (
        simulated(model_servers.ollama("m"), host=OWN_ADDRESS) as server,
        finder(home, SETTINGS) as find,
    ):
        ports = (server.port, 1234, 8080, 9931)
        plan = plan_scan(SETTINGS, networks=[SILENT_NETWORK], ports=ports, browse=False)
        async with asyncio.TaskGroup() as group:
            scanning = group.create_task(find.manager.scan(plan))
            # Our own address is asked after all others; its port shows here as soon as it is known open.
            async for progress in find.manager.progress.subscribe():
                if progress.done > 100:
                    break
            ip("link", "set", "lan0", "down")
            ip("link", "add", "vpn0", "type", "veth", "peer", "name", "vpn1")
            ip("address", "add", "10.99.0.1/24", "dev", "vpn0")
            ip("link", "set", "vpn0", "up")
        return {**outcome(scanning.result()), "server": server.url}


async def mdns(home: Path) -> dict[str, Any]:
    """A neighbour in a namespace of its own that says by mDNS what it offers, on a port nobody looks at."""
    ip("link", "set", "lo", "up")
    command = ("unshare", "--net", sys.executable, "-m", __spec__.name, "neighbour", str(home))
    neighbour = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert neighbour.stdin is not None
    assert neighbour.stdout is not None
    try:
        await neighbour.stdout.readline()
        ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1", "netns", str(neighbour.pid))
        ip("address", "add", "10.78.0.1/24", "dev", "veth0")
        ip("link", "set", "veth0", "up")
        neighbour.stdin.write(b"\n")
        port = int(await neighbour.stdout.readline())
        async with finder(home, SETTINGS) as find:
            settings = DiscoverySettings(never_scan=("10.78.0.3",))
            report = await find.manager.scan(plan_scan(settings, networks=[NEIGHBOURS], ports=[1]))
        return {**outcome(report), "server": f"http://{NEIGHBOUR}:{port}"}
    finally:
        neighbour.stdin.close()
        await neighbour.wait()


async def neighbour(home: Path) -> dict[str, Any]:
    """The other side of `mdns`: a model server, and offers that lead elsewhere."""
    say("here")
    await asyncio.to_thread(sys.stdin.readline)
    ip("link", "set", "lo", "up")
    ip("address", "add", f"{NEIGHBOUR}/24", "dev", "veth1")
    ip("address", "add", "10.78.0.3/24", "dev", "veth1")
    ip("link", "set", "veth1", "up")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(simulated(model_servers.ollama("m"), host=NEIGHBOUR))
        avoided = await stack.enter_async_context(simulated(model_servers.ollama("m"), host="10.78.0.3"))
        zeroconf = await stack.enter_async_context(AsyncZeroconf(interfaces=[NEIGHBOUR]))
        offers = (
            ("\u202emine <b>", "_ollama._tcp.local.", NEIGHBOUR, server.port),
            ("avoided", "_ollama._tcp.local.", "10.78.0.3", avoided.port),
            ("elsewhere", "_llm._tcp.local.", "192.0.2.9", 80),
            ("a printer", "_http._tcp.local.", NEIGHBOUR, 631),
            ("my llama box", "_http._tcp.local.", NEIGHBOUR, 9),
        )
        infos = [
            AsyncServiceInfo(kind, f"{name}.{kind}", port=port, parsed_addresses=[address])
            for name, kind, address, port in offers
        ]
        announced = [zeroconf.async_register_service(info, strict=False) for info in infos]
        await asyncio.gather(*await asyncio.gather(*announced))
        say(str(server.port))
        async with asyncio.TaskGroup() as group:
            shouting = group.create_task(_shout(zeroconf.zeroconf))
            await asyncio.to_thread(sys.stdin.readline)
            shouting.cancel()
    return {}


async def _shout(zeroconf: Zeroconf) -> None:
    """A name that breaks the rules of names, and many that nobody answers for."""
    kind = "_ollama._tcp.local."
    names = [f"\x1b[31mbroken.{kind}", *(f"flood {number}.{kind}" for number in range(60))]
    while True:
        for start in range(0, len(names), 20):
            packet = DNSOutgoing(_ANSWER)
            for name in names[start : start + 20]:
                packet.add_answer_at_time(DNSPointer(kind, _PTR, _IN, 4500, name), 0)
            zeroconf.async_send(packet)
        await asyncio.sleep(0.5)


SCENARIOS = {
    "silence": silence,
    "interface_down": interface_down,
    "mdns": mdns,
    "neighbour": neighbour,
}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[2]) as folder:
        say(json.dumps(asyncio.run(SCENARIOS[sys.argv[1]](Path(folder)))))
