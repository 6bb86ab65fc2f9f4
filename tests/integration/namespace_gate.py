"""A program for a network of its own: the proxy opened to other machines. Prints what came of it as JSON.

Inside `unshare --map-root-user --net`: root there is root for the service too.
"""

import asyncio
import json
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from llama_runner.control.access_token import forget_token, make_token
from llama_runner.control.launcher import attach
from llama_runner.core.clock import SystemClock
from llama_runner.core.paths import create_folders, home_at
from llama_runner.net.client import open_http
from tests.integration.service_process import run_to_end, started_service

OWN_ADDRESS = "10.77.0.1"
NETWORK = (
    "ip link set lo up && ip link add lan0 type veth peer name lan1 && "
    f"ip address add {OWN_ADDRESS}/24 dev lan0 && ip link set lan0 up && ip link set lan1 up"
)
ORDINARY = "unshare --map-user=1000"


def new_token(home: Path) -> str:
    """A token as a person makes it."""
    code, out, err = run_to_end(["access-token", "new", "--json", "--home", str(home)])
    assert code == 0, err
    return str(json.loads(out)["token"])


def refused_start(home: Path) -> dict[str, Any]:
    """A service that is told to listen for everybody."""
    code, out, _ = run_to_end(["serve", "--json", "--home", str(home), "--openai", "0.0.0.0:0"])
    return {"code": code, "error": json.loads(out)["error"]}


async def statuses(port: int, token: str) -> dict[str, int]:
    """What is answered to whom."""
    own = f"http://{OWN_ADDRESS}:{port}"
    bearer, key = {"Authorization": f"Bearer {token}"}, {"x-api-key": token}
    asked = {
        "nobody": (own, {}),
        "nobody here": (f"http://127.0.0.1:{port}", {}),
        "bearer": (own, bearer),
        "key": (own, key),
        "bearer here": (f"http://127.0.0.1:{port}", bearer),
        "another host": (own, {**bearer, "Host": f"evil.test:{port}"}),
        "a neighbour's host": (own, {**bearer, "Host": f"10.77.0.2:{port}"}),
        "a page": (own, {**bearer, "Origin": own}),
    }
    async with httpx.AsyncClient(timeout=60) as http:
        return {
            name: (await http.get(f"{url}/v1/models", headers=headers)).status_code
            for name, (url, headers) in asked.items()
        }


async def faces(home: Path) -> dict[str, Any]:
    """What the service says of itself."""
    async with open_http() as http:
        client = await attach(home_at(home), http=http)
        assert client is not None
        health = await client.reload()
    return {
        "url": health.openai.url,
        "problem": health.openai.problem,
        "open": health.openai.open_to_others,
        "token": health.openai.needs_token,
        "notices": list(health.notices),
    }


def crowd(address: str, port: int, count: int) -> int:
    """How many of so many connections at once are heard."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(socket.create_connection((address, port), timeout=20)) for _ in range(count)
        ]
        # The newest first: once it is heard, all before it were accepted, or sent away as too many.
        return sum(map(_is_heard, reversed(made)))


def _is_heard(one: socket.socket) -> bool:
    try:
        one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return one.recv(12) == b"HTTP/1.1 421"
    except ConnectionError:
        return False


async def open_to_others(home: Path) -> dict[str, Any]:
    """A token made, a service opened, the token taken away and made anew while it runs."""
    without = refused_start(home)
    token = new_token(home)
    with started_service(home, "--openai", "0.0.0.0:0") as service:
        port = int(str(service.ready["openai"]).rpartition(":")[2])
        return {
            "without": without,
            "answers": await statuses(port, token),
            "faces": await faces(home),
            "crowd": await asyncio.to_thread(crowd, OWN_ADDRESS, port, 60),
            "crowd here": await asyncio.to_thread(crowd, "127.0.0.1", port, 60),
            **await _changed(home, token),
            "logged": any(token in path.read_text() for path in (home / "logs").glob("*.log")),
            "kept": [path.name for path in home.rglob("*") if path.is_file() and token in path.read_text()],
        }


async def _changed(home: Path, token: str) -> dict[str, Any]:
    forget_token(home_at(home))
    closed = await faces(home)
    newer = make_token(home_at(home), SystemClock().utc())
    again = await faces(home)
    port = int(str(again["url"]).rpartition(":")[2])
    return {
        "removed": closed,
        "again": await statuses(port, newer),
        "the old one": (await statuses(port, token))["bearer"],
    }


async def as_root(home: Path) -> dict[str, Any]:
    """A8."""
    make_token(home_at(home), SystemClock().utc())
    return refused_start(home)


SCENARIOS = {"open_to_others": open_to_others, "as_root": as_root}

if __name__ == "__main__":
    place = Path(sys.argv[2])
    create_folders(home_at(place))
    sys.stdout.write(json.dumps(asyncio.run(SCENARIOS[sys.argv[1]](place))) + "\n")
