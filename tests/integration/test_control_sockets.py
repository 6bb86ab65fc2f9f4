"""The WebSockets of a real service against everything that is not a good client (W1 to W7)."""

import json
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from llama_runner.core.paths import home_at
from llama_runner.service.live import MAX_SAID, MAX_SOCKETS
from tests.fakes.waiting import until
from tests.fakes.web_socket import (
    BINARY,
    CONTINUATION,
    FINAL,
    PING,
    RawSocket,
    frame,
    upgrade_request,
    web_socket,
)
from tests.integration.service_process import ServiceProcess, run_to_end, started_service

EVENTS: Final = "/api/v1/events"


@dataclass
class Target:
    """A running service and its token."""

    service: ServiceProcess
    port: int
    token: str

    def headers(self, **more: str | None) -> dict[str, str | None]:
        """Those of a client that may come in; `more` with _ for -."""
        given = {name.replace("_", "-"): value for name, value in more.items()}
        return {
            "Host": f"127.0.0.1:{self.port}",
            "Origin": f"http://127.0.0.1:{self.port}",
            "Authorization": f"Bearer {self.token}",
            **given,
        }

    def socket(
        self, path: str = EVENTS, *, receive_bytes: int | None = None, **headers: str | None
    ) -> AbstractContextManager[RawSocket]:
        """A connection that asked for an upgrade."""
        request = upgrade_request(path, self.headers(**headers))
        return web_socket(self.port, request, receive_bytes=receive_bytes)

    def http(self, method: str, path: str, **headers: str) -> httpx.Response:
        """A plain request, with no credentials but those given."""
        with httpx.Client(trust_env=False, timeout=60) as client:  # noqa: TID251
            return client.request(method, f"http://127.0.0.1:{self.port}{path}", headers=headers)

    def assert_well(self) -> None:
        """It answers, and has not been told to end."""
        answer = self.http("GET", "/api/v1/health", Authorization=f"Bearer {self.token}")
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    home = tmp_path_factory.mktemp("home")
    with started_service(home, "--openai", "127.0.0.1:0") as service:
        yield Target(service, int(service.url.rpartition(":")[2]), service.run_file.token)


def cookie_of(target: Target) -> str:
    """The cookie that a browser gets for a link."""
    link = target.http("POST", "/api/v1/login-links", Authorization=f"Bearer {target.token}").json()["url"]
    answer = target.http("GET", link.partition(f":{target.port}")[2])
    assert answer.status_code == 303
    return answer.headers["set-cookie"].partition(";")[0]


def test_a_good_client_gets_the_whole_state_at_once(target: Target) -> None:
    with target.socket() as good:
        assert good.status == 101
        told = [good.read() for _ in range(3)]
        events = {json.loads(payload)["event"] for _, payload in filter(None, told)}
        assert events == {"health", "settings", "instances"}
    with target.socket("/api/v1/metrics") as metrics:
        found = metrics.read()
        assert found is not None
        sample = json.loads(found[1])
        assert sample["event"] == "metrics" and sample["host"]["ram_total_bytes"] > 0
        assert sample["host"]["cpu_pct"] is not None and sample["instances"] == []


def test_w1_who_does_not_show_the_token_is_not_upgraded(target: Target) -> None:
    for path, more in (
        (EVENTS, {"Authorization": None}),
        (EVENTS, {"Authorization": "Bearer wrong"}),
        (EVENTS, {"Authorization": f"Basic {target.token}"}),
        (f"{EVENTS}?token={target.token}", {"Authorization": None}),
        (EVENTS, {"Authorization": None, "Cookie": f"llama-runner-{target.port}=wrong"}),
        (EVENTS, {"Authorization": None, "Cookie": f"llama-runner-{target.port}={target.token}"}),
    ):
        with target.socket(path, **more) as refused:
            assert refused.status == 403, (path, more)


def test_w1_a_link_works_once_and_its_cookie_only_with_an_origin(target: Target) -> None:
    link = target.http("POST", "/api/v1/login-links", Authorization=f"Bearer {target.token}").json()["url"]
    path = link.partition(f":{target.port}")[2]
    first = target.http("GET", path, **{"Sec-Fetch-Site": "none"})
    assert (first.status_code, first.headers["location"]) == (303, "/api/v1/health")
    cookie = first.headers["set-cookie"]
    assert cookie.startswith(f"llama-runner-{target.port}=")
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= {part.strip() for part in cookie.split(";")}
    again = target.http("GET", path)
    assert again.status_code == 403 and "set-cookie" not in again.headers
    value = cookie.partition(";")[0]
    assert target.token not in link and target.token not in cookie
    # What the browser does next: the page itself, then its socket.
    seen = target.http("GET", "/api/v1/health", Cookie=value, **{"Sec-Fetch-Site": "same-origin"})
    assert seen.status_code == 200
    with target.socket(Authorization=None, Cookie=value) as good:
        assert good.status == 101
    with target.socket(Authorization=None, Cookie=value, Origin=None) as refused:
        assert refused.status == 403
    # A page of another site can make the browser ask, but not with this: and it would not be heard.
    assert target.http("GET", "/api/v1/health", Cookie=value, Origin="http://evil.test").status_code == 403
    assert target.http("POST", "/api/v1/shutdown", Cookie=value, Origin="null").status_code == 403
    assert target.http("GET", path, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_w1_a_command_prints_the_link(target: Target) -> None:
    code, stdout, _ = run_to_end(["serve", "--print-url", "--json", "--home", str(target.service.home)])
    assert code == 0
    link = json.loads(stdout)["url"]
    assert link.startswith(f"{target.service.url}/login?token=")
    assert target.http("GET", link.partition(f":{target.port}")[2]).status_code == 303
    log = home_at(target.service.home).logs_dir / "llama-runner.log"
    assert link.partition("token=")[2] not in log.read_text("utf-8")


def test_without_a_service_there_is_no_link(home: Path) -> None:
    code, _, stderr = run_to_end(["serve", "--print-url", "--home", str(home)])
    assert code == 1 and "No service is running" in stderr


@pytest.mark.parametrize("path", ["/login", "/login?token=", "/login?token=" + "x" * 43, "/login?token=%00"])
def test_w1_no_link_no_cookie(target: Target, path: str) -> None:
    answer = target.http("GET", path)
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.test",
        "null",
        None,
        "file://",
        "http://127.0.0.1:1234",
        "http://127.0.0.1",
        "https://localhost",
    ],
)
def test_w2_only_our_own_page_may_connect(target: Target, origin: str | None) -> None:
    with target.socket(Origin=origin) as refused:
        assert refused.status == 403


@pytest.mark.parametrize(
    "host", ["evil.test", "127.0.0.1.evil.test:{port}", "localhost.:{port}", "127.0.0.1:1"]
)
def test_w3_a_name_that_is_not_ours_is_refused(target: Target, host: str) -> None:
    with target.socket(Host=host.format(port=target.port)) as refused:
        assert refused.status == 403


MEGABYTES: Final = 10 * 1024 * 1024
BAD_FRAMES: Final = {
    "10 MB message": (frame(b"x" * MEGABYTES), 1009),
    "claims 1 GB": (frame(b"x" * 70_000, says=2**30), 1009),
    "claims 2^63": (frame(b"x" * 100, says=2**63), 1002),
    "fragments without end": (
        frame(b"x" * 4000, flags=0) + frame(b"x" * 4000, opcode=CONTINUATION, flags=0) * 30,
        1009,
    ),
    "unmasked": (frame(b"x", masked=False), 1002),
    "compressed without being asked to": (frame(b"x" * 100, flags=FINAL | 0x40), 1002),
    "reserved bits": (frame(b"x", flags=FINAL | 0x30), 1002),
    "reserved opcode": (frame(b"x", opcode=0x3), 1002),
    "continuation of nothing": (frame(b"x", opcode=CONTINUATION), 1002),
    "text that is none": (frame(b"\xff\xfe\xff"), 1007),
    "oversize ping": (frame(b"x" * 126, opcode=PING), 1002),
    "ping in pieces": (frame(b"x", opcode=PING, flags=0), 1002),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_w4_what_is_no_good_frame_ends_the_connection_with_its_code(target: Target, name: str) -> None:
    data, code = BAD_FRAMES[name]
    with target.socket() as bad:
        assert bad.status == 101
        bad.connection.settimeout(10)
        bad.send(data)
        # A connection that was reset under its data did end.
        assert bad.closed_with() in (code, None)
    target.assert_well()


def test_w4_a_hundred_thousand_empty_fragments_cost_nothing(target: Target) -> None:
    with target.socket() as bad:
        bad.send(frame(b"", flags=0) + frame(b"", opcode=CONTINUATION, flags=0) * 100_000)
        target.assert_well()


@pytest.mark.parametrize(
    "said",
    [
        frame(b'{"command": "shutdown"}'),
        frame(b'{"path": "/etc/passwd"}'),
        frame(b"["),
        frame(b""),
        frame(b"\0\1", opcode=BINARY),
    ],
)
def test_w5_nothing_can_be_asked_and_who_goes_on_asking_is_sent_away(target: Target, said: bytes) -> None:
    with target.socket() as talker:
        talker.send(said * 10_000)
        errors = 0
        while (found := talker.read()) is not None and found[0] != 8:
            errors += json.loads(found[1])["event"] == "error"
        assert errors <= MAX_SAID
    with target.socket() as talker:
        talker.send(said)
        told = iter(talker.read, None)
        assert "error" in {json.loads(payload)["event"] for _, payload in (next(told) for _ in range(4))}
    target.assert_well()


async def test_w6_more_sockets_than_anybody_needs_are_refused_and_places_come_free(target: Target) -> None:
    with ExitStack() as stack:
        held: list[RawSocket] = []

        def place_was_free() -> bool:
            one = stack.enter_context(target.socket())
            held.extend([one] if one.status == 101 else [])
            return one.status == 101

        # Those of earlier tests may be on their way out.
        for _ in range(MAX_SOCKETS):
            await until(place_was_free)
        for _ in range(5):
            with target.socket() as refused:
                assert refused.status == 403
        target.assert_well()
        held.pop().connection.shutdown(socket.SHUT_RDWR)
        await until(place_was_free)


def test_w6_pings_that_nobody_reads_the_answers_of_end_the_connection(target: Target) -> None:
    with target.socket(receive_bytes=4096) as flood:
        data = frame(b"x" * 125, opcode=PING) * 1000
        # The kernel's own buffers take a few megabytes before ours fill.
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(1000):
                flood.connection.sendall(data)
    target.assert_well()


@pytest.mark.parametrize("path", ["/", "/api/v1/health", "/api/v1/nothing", "/login", "/api/v1/events/x"])
def test_w7_there_is_nothing_to_upgrade_elsewhere(target: Target, path: str) -> None:
    with target.socket(path) as refused:
        assert refused.status in (400, 403, 404)


def test_w7_a_handshake_that_is_none_is_refused(target: Target) -> None:
    good = target.headers()
    for request in (
        upgrade_request(EVENTS, good, version="1.0"),
        upgrade_request(EVENTS, good, key=False),
        upgrade_request(EVENTS, {**good, "Sec-WebSocket-Version": "12"}),
        upgrade_request(EVENTS, good).replace(b"GET", b"POST"),
    ):
        with web_socket(target.port, request) as refused:
            assert 400 <= refused.status < 500, request
    target.assert_well()


def test_w7_the_proxy_has_no_web_sockets(target: Target) -> None:
    port = int(str(target.service.ready["openai"]).rpartition(":")[2])
    headers = {"Host": f"127.0.0.1:{port}"}
    for path in (EVENTS, "/v1/realtime", "/llm"):
        with web_socket(port, upgrade_request(path, dict(headers))) as refused:
            assert 400 <= refused.status < 500


def test_a_browser_that_only_reads_gets_a_plain_refusal(target: Target, tmp_path: Path) -> None:
    answer = target.http("GET", EVENTS, Authorization=f"Bearer {target.token}")
    assert answer.status_code == 404 and answer.json()["error"]["kind"] == "not_found"
