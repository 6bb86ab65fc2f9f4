"""The load client against real sockets: it keeps what came and never raises."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import OverloadedError, ProtocolError, TruncatedError, UnreachableError
from llama_runner.net import load
from llama_runner.net.lines import StreamCaps
from llama_runner.net.load import LoadClient, RawAnswer
from llama_runner.net.ports import pick_free_port
from tests.fakes.raw_server import raw_server, response

CLOCK = SystemClock()


@dataclass(frozen=True)
class Wire:
    url: str
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"


async def send(wire: Wire, timeout_s: float = 5.0) -> RawAnswer:
    async with LoadClient(clock=CLOCK) as client:
        return await client.send(wire, timeout_s=timeout_s)


async def test_reads_are_kept_with_stamps_in_order() -> None:
    async with raw_server(lambda n, head: response(b"abc")) as server:
        raw = await send(Wire(server.url, headers={"Authorization": "Bearer k"}))
    assert raw.error is None
    assert raw.status == 200
    assert b"".join(data for _, data in raw.reads) == b"abc"
    assert raw.t_send_ns is not None and raw.t_headers_ns is not None and raw.t_end_ns is not None
    stamps = [raw.t_send_ns, raw.t_headers_ns, *(t_ns for t_ns, _ in raw.reads), raw.t_end_ns]
    assert stamps == sorted(stamps)
    assert b"authorization: bearer k" in server.heads[0].lower()


async def test_a_cut_answer_keeps_what_came() -> None:
    async with raw_server(lambda n, head: response(b"abcdef")[:-3]) as server:
        raw = await send(Wire(server.url))
    assert isinstance(raw.error, TruncatedError)
    assert b"".join(data for _, data in raw.reads) == b"abc"


async def test_a_refusal_carries_the_servers_advice() -> None:
    busy = response(b'{"error":"busy"}', status="503 Busy", more="Retry-After: 3\r\n")
    async with raw_server(lambda n, head: busy) as server:
        raw = await send(Wire(server.url))
    assert isinstance(raw.error, OverloadedError)
    assert raw.error.retry_after_s == 3
    assert raw.status == 503


async def test_a_redirect_is_not_followed() -> None:
    """D10."""
    async with raw_server(lambda n, head: response(b"", status="302 F", more="Location: /x\r\n")) as server:
        raw = await send(Wire(server.url))
    assert isinstance(raw.error, ProtocolError)
    assert len(server.heads) == 1


async def test_silence_ends_at_the_request_timeout() -> None:
    async with raw_server(lambda n, head: None) as server:
        raw = await send(Wire(server.url), timeout_s=0.2)
    assert isinstance(raw.error, UnreachableError)
    assert "0.2 s" in raw.error.message
    assert raw.t_send_ns is not None


async def test_nobody_there_leaves_no_send_stamp() -> None:
    raw = await send(Wire(f"http://127.0.0.1:{pick_free_port()}"))
    assert isinstance(raw.error, UnreachableError)
    assert raw.t_send_ns is None


async def test_an_answer_beyond_the_cap_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """S9."""
    monkeypatch.setattr(load, "DEFAULT_CAPS", StreamCaps(stream=1000))
    async with raw_server(lambda n, head: response(b"x" * 100_000)) as server:
        raw = await send(Wire(server.url))
    assert isinstance(raw.error, ProtocolError)
    assert "stream_too_long" in raw.error.message


async def test_cancelling_closes_the_connection() -> None:
    async with raw_server(lambda n, head: None) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await send(Wire(server.url), timeout_s=60)


def test_the_fastest_loop_is_uvloop_where_it_exists() -> None:
    # In a process of its own: uvloop keeps a pipe for as long as its process lives.
    code = """
import asyncio
import subprocess
import sys
from llama_runner.net.load import run_on_fastest_loop

async def main() -> str:
    return type(asyncio.get_running_loop()).__module__

print(run_on_fastest_loop(main))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == ("asyncio.windows_events" if sys.platform == "win32" else "uvloop")


def test_windows_keeps_the_standard_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert load._fastest_loop() is None


@pytest.mark.parametrize("more", ["Transfer-Encoding: chunked\r\n", "Content-Length: 2\r\n"])
async def test_i34_an_answer_with_two_lengths_is_refused(more: str) -> None:
    async with raw_server(lambda n, head: response(b"abc", more=more)) as server:
        raw = await send(Wire(server.url))
    assert isinstance(raw.error, ProtocolError)


async def test_another_protocol_is_named() -> None:
    async with raw_server(lambda n, head: b"SSH-2.0-OpenSSH_9.6\r\n") as server:
        raw = await send(Wire(server.url))
    assert isinstance(raw.error, ProtocolError)
    assert "does not speak HTTP" in raw.error.message


async def test_a_connection_closed_without_an_answer_and_one_that_nobody_takes_are_told_apart() -> None:
    async with raw_server(lambda n, head: b"") as server:
        silent = await send(Wire(server.url))
    nobody = await send(Wire(server.url))
    assert "without an answer" in str(silent.error)
    assert "Nothing listens" in str(nobody.error)
    assert silent.t_send_ns is not None and silent.t_headers_ns is None


async def test_a_name_is_resolved_and_each_of_its_addresses_tried() -> None:
    """The name has both kinds of addresses, and the server only one."""
    async with raw_server(lambda n, head: response(b"abc")) as server:
        raw = await send(Wire(server.url.replace("127.0.0.1", "localhost")))
    assert b"".join(data for _, data in raw.reads) == b"abc"
    assert b"host: localhost:" in server.heads[0].lower()


async def test_a_header_with_a_line_end_is_never_sent() -> None:
    async with raw_server(lambda n, head: response(b"abc")) as server:
        with pytest.raises(ValueError, match="line end"):
            await send(Wire(server.url, headers={"Authorization": "Bearer a\r\nX: y"}))
    assert server.connections == 0
