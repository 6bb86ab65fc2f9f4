"""The metronome: a real model server in its own process that keeps time and notes when it sent what.

    python -m tests.fakes.metronome --port 0 [--engine ENGINE] [--api-key KEY] [--model NAME]...

Prints one JSON line with its URL, then serves until its standard input ends. The answer to each request is a
plan (`metronome_plan.Plan`) in the body's field `metronome`, or in the model id (`Plan.model_id()`); tokens
are due at absolute times counted from the request's first byte. `GET /metronome/log?id=ID&wait=1` returns
the request's own stamps (perf_counter, comparable on one machine) once it has ended.
"""

import argparse
import asyncio
import gc
import http.client
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from tests.fakes.metronome_engines import ENGINES
from tests.fakes.metronome_plan import Plan
from tests.fakes.metronome_server import Connection, Entry, Server

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Metronome:
    """A running metronome."""

    url: str
    process: subprocess.Popen[bytes]

    def log(
        self, request_id: str | None = None, *, wait: bool = True, timeout_s: float = 30.0
    ) -> list[Entry]:
        """The stamps of the requests with that id, all without one; waits until the newest has ended."""
        query = "?wait=1" if wait else "?"
        query += f"&id={quote(request_id, safe='')}" if request_id is not None else ""
        return [
            Entry(**{**item, "sends": [(t_ns, n) for t_ns, n in item["sends"]]})
            for item in self._get(f"/metronome/log{query}", timeout_s)
        ]

    def last(self, request_id: str) -> Entry:
        """The newest request with that id, once it has ended."""
        return self.log(request_id)[-1]

    def load(self) -> dict[str, int]:
        """in_flight and max_in_flight as the server sees them."""
        found = self._get("/metronome/load", 10.0)
        return {str(name): int(value) for name, value in found.items()}

    def close(self) -> None:
        """End the process. Closing twice is harmless."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process.wait(timeout=10)

    def _get(self, path: str, timeout_s: float) -> Any:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=timeout_s)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


def start_metronome(
    *,
    engine: str = "any",
    api_key: str | None = None,
    models: tuple[str, ...] = ("metronome",),
    port: int = 0,
) -> Metronome:
    """Start a metronome of one's own; it ends with `close`, or when this process dies."""
    command = [sys.executable, "-m", "tests.fakes.metronome", "--port", str(port), "--engine", engine]
    command += ["--api-key", api_key] if api_key is not None else []
    command += [f"--model={name}" for name in models]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the metronome did not start (exit code {process.wait(timeout=10)})")
    return Metronome(json.loads(line)["url"], process)


async def serve(arguments: argparse.Namespace) -> None:
    """Listen, say where, and serve until the standard input ends."""
    loop = asyncio.get_running_loop()
    models = tuple(arguments.model or ("metronome",))
    manners = ENGINES[arguments.engine](models, arguments.api_key)
    shared = Server(manners=manners, default=Plan(**json.loads(arguments.plan)))
    listener = await loop.create_server(
        lambda: Connection(shared, loop), arguments.host, arguments.port, backlog=1024
    )
    port = listener.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"url": f"http://{arguments.host}:{port}"}) + "\n")
    sys.stdout.flush()
    # A collection in the middle of a schedule would be a late token of our own making.
    gc.collect()
    gc.freeze()
    await asyncio.to_thread(sys.stdin.buffer.read)
    listener.close()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--engine", choices=tuple(ENGINES), default="any")
    parser.add_argument("--api-key")
    parser.add_argument("--model", action="append")
    parser.add_argument("--plan", default="{}", help="JSON: default plan of requests that bring none")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
