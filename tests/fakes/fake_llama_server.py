"""A llama-server that misbehaves on command: same options, same endpoints, same child protocol, no model.

`fake_engine` writes a start script that carries the plan, because the environment of a child is scrubbed.
Runs on the standard library alone, and as `python -S`, so that it starts fast.
"""

import contextlib
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

# Every key a plan may have, with what a well-behaved server does.
DEFAULTS: dict[str, Any] = {
    "ready_after_s": 0.05,  # None: never
    "stderr": [],  # lines written at the start
    "exit_code": None,  # end with this code instead of loading
    "exit_after_s": 0.0,
    "signal": None,  # end by this signal while loading ...
    "signal_unless": None,  # ... unless this argument was given
    "crash_after_ready_s": None,  # then SIGSEGV
    "dies_saying": None,  # a line written once ready, before it ends with code 1
    "ignore_term": False,
    "protocol": True,  # speak the child protocol on stdin and stdout
    "progress": [0.0, 1.0],
    "grandchild": False,  # leave one behind that holds the pipes
    "flood_bytes": 0,  # written to stderr before becoming ready
    "alias": None,  # claim to be another model
    "open": False,  # ask nobody for a key
    "deaf_after_ready": False,  # accept, never answer
    "stuck_after_ready": False,  # works on a request for ever, and says so
    "spins_after_ready": False,  # the same, and uses a processor for it
    "closes_on_term": False,  # on SIGTERM give up the port, and stay
    "closed_when_ready": False,  # gives up the port in the moment it is ready, and stays
    "needs_at_most": None,  # context tokens or GPU layers beyond which memory is not enough ...
    "stderr_beyond": [],  # ... and what it says then, before it ends with code 1
}

HELP = """\
-h,    --help, --usage                  print usage and exit
--version                               show version and build info
-m,    --model FNAME                    model path to load
-c,    --ctx-size N                     size of the prompt context
-t,    --threads N                      number of CPU threads
-ngl,  --gpu-layers, --n-gpu-layers N   max. number of layers in VRAM
-np,   --parallel N                     number of server slots
--repack, -nr, --no-repack              whether to enable weight repacking
-a,    --alias STRING                   set model name aliases
--host HOST                             ip address to listen
--port PORT                             port to listen
--offline                               Offline mode
--ui,  --webui, --no-ui, --no-webui     whether to enable the Web UI
--slots, --no-slots                     expose slots monitoring endpoint
--cors-origins ORIGINS                  comma-separated list of allowed origins
--metrics                               enable prometheus compatible metrics endpoint
--sse-ping-interval N                   server SSE ping interval in seconds
--log-colors [on|off|auto]              Set colored logging
"""


def fake_engine(folder: Path, *lives: dict[str, Any]) -> Path:
    """An executable file that acts as a llama-server.

    Args:
        lives: What its first, second, … start does; the last one repeats.
    """
    unknown = {key for life in lives for key in life} - DEFAULTS.keys()
    assert not unknown, unknown
    folder.mkdir(parents=True, exist_ok=True)
    plan = folder / "plan.json"
    plan.write_text(json.dumps(lives or ({},)), encoding="utf-8")
    script = folder / "llama-server"
    command = shlex.join([sys.executable, "-S", "-E", __file__, str(plan)])
    script.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return script


def starts(engine: Path) -> list[list[str]]:
    """The arguments of every start so far, `--help` and `--version` left out."""
    log = engine.with_name("starts.jsonl")
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _state(state: str, payload: dict[str, Any] | None = None) -> None:
    sys.stdout.write(f"cmd_child_to_router:state:{json.dumps({'state': state, 'payload': payload or {}})}\n")
    sys.stdout.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, address: tuple[str, int], plan: dict[str, Any], alias: str) -> None:
        self.plan = plan
        self.alias = plan["alias"] or alias
        self.ready = threading.Event()
        self.closed = threading.Event()
        super().__init__(address, _Handler)

    def give_up_the_port(self) -> None:
        """Answer nobody any more, new or known, and stay."""
        self.closed.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.server.closed.is_set():
            self.close_connection = True
            return
        if self.server.ready.is_set() and self.server.plan["deaf_after_ready"] and self.path == "/health":
            threading.Event().wait()
        if not self.server.ready.is_set():
            self._answer(503, {"error": {"message": "Loading model", "code": 503}})
        elif self.path == "/health":
            self._answer(200, {"status": "ok"})
        elif not self._allowed():
            self._answer(401, {"error": {"message": "Invalid API Key", "code": 401}})
        elif self.path == "/metrics":
            self._say(f"llamacpp:requests_processing {int(self._works_for_ever())}\n")
        elif self.path == "/props":
            self._answer(200, {"model_alias": self.server.alias, "environment": dict(os.environ)})
        else:
            self._answer(404, {"error": {"message": "File Not Found", "code": 404}})

    def _works_for_ever(self) -> bool:
        return bool(self.server.plan["stuck_after_ready"] or self.server.plan["spins_after_ready"])

    def _allowed(self) -> bool:
        key = os.environ.get("LLAMA_API_KEY")
        return self.server.plan["open"] or self.headers.get("Authorization") == f"Bearer {key}"

    def _answer(self, status: int, document: Any) -> None:
        self._say(json.dumps(document), status, "application/json")

    def _say(self, text: str, status: int = 200, content_type: str = "text/plain") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def _watch_stdin() -> None:
    for line in sys.stdin:
        if line.startswith("cmd_router_to_child:exit"):
            os._exit(0)
    os._exit(1)


def _flood(count: int) -> None:
    line = b"x" * 99 + b"\n"
    for _ in range(count // (len(line) * 1000)):
        sys.stderr.buffer.write(line * 1000)
    sys.stderr.flush()


def _asked(argv: list[str]) -> int:
    """GPU layers, else context tokens, that it was started with."""
    for flag in ("--n-gpu-layers", "--ctx-size"):
        if flag in argv:
            return int(argv[argv.index(flag) + 1])
    return 1 << 30


def _misbehave(plan: dict[str, Any], argv: list[str], server: _Server) -> None:
    for line in plan["stderr"]:
        _say(line)
    if plan["closes_on_term"]:
        signal.signal(signal.SIGTERM, lambda number, frame: server.give_up_the_port())
    if plan["ignore_term"]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if plan["grandchild"]:
        subprocess.Popen(["sleep", "300"])
    if plan["signal"] is not None and plan["signal_unless"] not in argv:
        os.kill(os.getpid(), plan["signal"])
    if plan["needs_at_most"] is not None and _asked(argv) > plan["needs_at_most"]:
        for line in plan["stderr_beyond"]:
            _say(line)
        os._exit(1)
    if plan["exit_code"] is not None:
        threading.Event().wait(plan["exit_after_s"])
        sys.stderr.flush()
        os._exit(plan["exit_code"])


def _become_ready(plan: dict[str, Any], server: _Server) -> None:
    server.ready.set()
    if plan["closed_when_ready"]:
        server.give_up_the_port()
    if plan["protocol"]:
        _state("ready")
        threading.Thread(target=_watch_stdin, daemon=True).start()


def _serve(plan: dict[str, Any], argv: list[str]) -> NoReturn:
    port, alias = int(argv[argv.index("--port") + 1]), argv[argv.index("--alias") + 1]
    try:
        server = _Server(("127.0.0.1", port), plan, alias)
    except OSError:
        _say(f"E srv start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: {port}")
        os._exit(1)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _misbehave(plan, argv, server)
    if plan["protocol"]:
        for value in plan["progress"]:
            _state("loading", {"stages": ["text_model"], "current": "text_model", "value": value})
    _flood(plan["flood_bytes"])
    if plan["ready_after_s"] is None:
        threading.Event().wait()
    threading.Event().wait(plan["ready_after_s"])
    _become_ready(plan, server)
    if plan["dies_saying"] is not None:
        _say(plan["dies_saying"])
        os._exit(1)
    if plan["crash_after_ready_s"] is not None:
        threading.Event().wait(plan["crash_after_ready_s"])
        os.kill(os.getpid(), signal.SIGSEGV)
    while plan["spins_after_ready"]:
        # Lets the other threads answer meanwhile.
        hashlib.sha256(bytes(1 << 20)).digest()
    while True:
        threading.Event().wait(3600)


def main() -> None:
    plan_file, argv = Path(sys.argv[1]), sys.argv[2:]
    if argv == ["--help"]:
        sys.stdout.write(HELP)
        return
    if argv == ["--version"]:
        _say("version: 0.0.0-fake (build 0, commit 0000000)")
        return
    log = plan_file.with_name("starts.jsonl")
    number = len(log.read_text().splitlines()) if log.exists() else 0
    # Where the disk is full it serves all the same.
    with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(argv) + "\n")
    lives = json.loads(plan_file.read_text(encoding="utf-8"))
    _serve(DEFAULTS | lives[min(number, len(lives) - 1)], argv)


if __name__ == "__main__":
    main()
