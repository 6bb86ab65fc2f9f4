"""The real servers of a table outside the tree: started, waited for, stopped.

The table is the JSON file that LLAMA_RUNNER_REAL_SERVERS names; docs/servers.md shows how it is written. What
is known of a server's ways stands in `known.py`, by its name.
"""

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from pydantic import BaseModel, ConfigDict

from llama_runner.backends.base import Engine
from llama_runner.net.ports import pick_free_port
from tests.contract.servers import API_KEY, Row, Server
from tests.real.known import traits_of

VARIABLE: Final = "LLAMA_RUNNER_REAL_SERVERS"
# vLLM compiles nothing here and still takes most of a minute to import itself.
START_TIMEOUT_S: Final = 180.0
STOP_TIMEOUT_S: Final = 20.0


class Entry(BaseModel):
    """One server of the file; {port}, {key}, {engine}, {model} and {upstream} in it are filled in.

    Attributes:
        url: Of a server that already runs; then nothing is started.
        model: As the server lists it.
        keyed: It is started with `API_KEY` and asks for it.
        ready: A path that answers 200 once the server serves.
        behind: The name of the entry that it forwards to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    engine: Engine
    model: str
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    url: str | None = None
    keyed: bool = False
    ready: str = "/v1/models"
    behind: str | None = None


def entries() -> dict[str, Entry]:
    """The table by name; empty when the variable is not set."""
    file = os.environ.get(VARIABLE)
    if not file:
        return {}
    found = (Entry.model_validate(item) for item in json.loads(Path(file).read_text("utf-8")))
    return {entry.name: entry for entry in found}


def rows() -> tuple[Row, ...]:
    """The table as the contract suite takes it."""
    table = entries()
    return tuple(_row(entry, table) for entry in table.values())


def _row(entry: Entry, table: Mapping[str, Entry]) -> Row:
    @contextmanager
    def start(request: pytest.FixtureRequest) -> Iterator[Server]:
        with ExitStack() as stack:
            url = entry.url or stack.enter_context(_running(entry, table, request))
            yield Server(
                entry.engine,
                url,
                _filled(entry.model, {}),
                API_KEY if entry.keyed else None,
                traits=traits_of(entry.name, keyed=entry.keyed),
            )

    return Row(entry.name, start)


@contextmanager
def _running(entry: Entry, table: Mapping[str, Entry], request: pytest.FixtureRequest) -> Iterator[str]:
    """Its base URL once it serves; what it forwards to runs as long."""
    port = pick_free_port()
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        words = {
            "port": str(port),
            "key": API_KEY,
            "engine": str(request.getfixturevalue("engine")),
            "model": str(request.getfixturevalue("demo_model")),
        }
        if entry.behind is not None:
            words["upstream"] = stack.enter_context(_running(table[entry.behind], table, request))
        folder = request.getfixturevalue("tmp_path_factory").mktemp(entry.name.replace(" ", "-"))
        log = folder / "server.log"
        process = subprocess.Popen(
            [_filled(word, words) for word in entry.argv],
            cwd=folder,
            env={**os.environ, **{name: _filled(value, words) for name, value in entry.env.items()}},
            stdin=subprocess.DEVNULL,
            stdout=stack.enter_context(log.open("wb")),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stack.callback(_stop, process)
        _wait_until_ready(entry, port, process, log)
        yield url


def _filled(text: str, words: Mapping[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(f"{{{name}}}", value)
    return os.path.expandvars(text)


def _wait_until_ready(entry: Entry, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _is_ready(port, entry.ready, API_KEY if entry.keyed else None):
        assert process.poll() is None, f"{entry.name} ended: {_tail(log)}"
        assert time.monotonic() < deadline, f"{entry.name} did not get ready: {_tail(log)}"
        time.sleep(0.2)


def _tail(log: Path) -> str:
    return log.read_bytes()[-3000:].decode("utf-8", "replace")


def _is_ready(port: int, path: str, key: str | None) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Its whole session: some servers do the work in children, and leave them behind."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_TIMEOUT_S)
