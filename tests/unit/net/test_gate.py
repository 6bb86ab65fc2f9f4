"""The request gate: every rule of R1, for every method and path."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llama_runner import __version__
from llama_runner.net.answering import OWN_HEADER, Held, Message
from llama_runner.net.credentials import MAX_FAILURES, hash_token
from llama_runner.net.gate import RequestGate, loopback_hosts

HOST = "127.0.0.1:8035"
TOKEN = "t" * 43
ORIGIN = "http://127.0.0.1:8035"
AUTH = ("Authorization", f"Bearer {TOKEN}")
WRONG = ("Authorization", "Bearer wrong")
JSON_TYPE = ("Content-Type", "application/json")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO")

Headers = tuple[tuple[str, str], ...]


@dataclass
class FakeClock:
    t_ns: int = 0

    def now_ns(self) -> int:
        return self.t_ns

    def utc(self) -> Any:
        raise NotImplementedError


@dataclass
class Answer:
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    closed: int | None = None

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]


async def echo(request: Request) -> Response:
    body = await request.body()
    return JSONResponse(
        {"n": len(body)}, headers={"Access-Control-Allow-Origin": "*", "Cache-Control": "public"}
    )


def gated(**options: Any) -> RequestGate:
    routes = [Route("/health", echo), Route("/x", echo, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])]
    settings: dict[str, Any] = {"allowed_hosts": lambda: loopback_hosts(8035), "token": TOKEN}
    return RequestGate(Starlette(routes=routes), **{**settings, **options})


def gated_app(routes: list[Route], **options: Any) -> RequestGate:
    """A gate that asks for no token, before routes of the test's own."""
    return RequestGate(
        Starlette(routes=routes), **{"allowed_hosts": lambda: loopback_hosts(8035), "token": None, **options}
    )


async def call(
    gate: RequestGate,
    *headers: tuple[str, str],
    method: str = "GET",
    path: str = "/x",
    host: str | None = HOST,
    body: tuple[bytes, ...] = (),
    version: str = "1.1",
    client: str = "127.0.0.1",
    kind: str = "http",
    server: tuple[str, int] | None = None,
) -> Answer:
    answer = Answer()
    parts = [*body] or [b""]
    sent = iter(
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    )

    async def receive() -> Message:
        return dict(next(sent, {"type": "http.disconnect"}))

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = [(k.decode(), v.decode()) for k, v in message["headers"]]
        elif message["type"] == "http.response.body":
            answer.body += message["body"]
        elif message["type"] == "websocket.close":
            answer.closed = message["code"]

    named = ((("Host", host),) if host is not None else ()) + headers
    scope: dict[str, Any] = {
        "type": kind,
        "http_version": version,
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in named],
        "client": (client, 5),
        "server": server,
    }
    await gate(scope, receive, send)
    return answer


async def test_a_proper_request_passes() -> None:
    answer = await call(gated(), AUTH)
    assert answer.status == 200
    assert json.loads(answer.body) == {"n": 0}


@pytest.mark.parametrize("host", ["127.0.0.1:8035", "localhost:8035", "LOCALHOST:8035", "[::1]:8035"])
async def test_every_spelling_of_this_listener_is_its_name(host: str) -> None:
    assert (await call(gated(), AUTH, host=host)).status == 200


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["/x", "/health", "/unknown"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8035",
        "127.0.0.1",
        "127.0.0.1:8036",
        "127.0.0.1:8035.",
        "127.0.0.1:8035@evil",
        "0.0.0.0:8035",
        "127.0.0.1.nip.io:8035",
        "[::1]:80",
        "127.0.0.1:08035",
        "",
    ],
)
async def test_another_name_is_refused_whatever_is_asked(method: str, path: str, host: str) -> None:
    assert (await call(gated(), AUTH, method=method, path=path, host=host)).status == 421


async def test_exactly_one_host_header_is_wanted() -> None:
    assert (await call(gated(), AUTH, host=None)).status == 400
    assert (await call(gated(), AUTH, ("Host", HOST))).status == 400
    assert (await call(gated(), AUTH, ("Host", "evil.example"))).status == 400


async def test_the_port_may_be_absent_only_for_80() -> None:
    gate = gated(allowed_hosts=lambda: loopback_hosts(80))
    assert (await call(gate, AUTH, host="localhost")).status == 200
    assert (await call(gate, AUTH, host="localhost:80")).status == 200
    assert (await call(gated(), AUTH, host="localhost")).status == 421


async def test_the_allow_list_is_asked_at_every_request() -> None:
    names = {HOST}
    gate = gated(allowed_hosts=lambda: frozenset(names))
    assert (await call(gate, AUTH, host="box:8035")).status == 421
    names.add("box:8035")
    assert (await call(gate, AUTH, host="box:8035")).status == 200


@pytest.mark.parametrize("version", ["1.0", "2", "3"])
async def test_only_http_1_1_is_spoken(version: str) -> None:
    assert (await call(gated(), AUTH, version=version)).status == 505


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "headers",
    [
        (("Origin", "http://evil.example"),),
        (("Origin", "null"),),
        (("Origin", ORIGIN),),
        (("Origin", "http://localhost:3000"), ("Sec-Fetch-Site", "same-origin")),
        (("Sec-Fetch-Site", "cross-site"),),
        (("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "no-cors")),
        (("Sec-Fetch-Site", "nonsense"),),
        (("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")),
    ],
)
async def test_pages_of_other_sites_may_call_nothing(method: str, headers: Headers) -> None:
    answer = await call(gated(), AUTH, JSON_TYPE, *headers, method=method)
    assert answer.status == 403
    assert not answer.header("access-control-allow-origin")


async def test_the_listeners_own_page_may_call_and_read() -> None:
    gate = gated(allowed_origins=lambda: frozenset({ORIGIN}))
    own = (AUTH, ("Origin", ORIGIN), ("Sec-Fetch-Site", "same-origin"))
    answer = await call(gate, *own)
    assert answer.status == 200
    assert answer.header("access-control-allow-origin") == [ORIGIN]
    assert not answer.header("access-control-allow-credentials")
    assert (
        await call(gate, *own, JSON_TYPE, ("Content-Length", "2"), method="POST", body=(b"{}",))
    ).status == 200
    for wrong in ("null", "HTTP://127.0.0.1:8035", ORIGIN + "/", ORIGIN + ".evil.example"):
        assert (await call(gate, AUTH, ("Origin", wrong))).status == 403
    assert (await call(gate, AUTH, ("Origin", ORIGIN), ("Origin", ORIGIN))).status == 403


@pytest.mark.parametrize("site", ["none", "same-origin", "Same-Origin"])
async def test_an_address_typed_into_a_browser_passes(site: str) -> None:
    assert (await call(gated(), AUTH, ("Sec-Fetch-Site", site))).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
async def test_browsers_must_send_json_and_others_need_not(method: str, kind: str | None) -> None:
    """H9: `curl -d` sends a form and works."""
    headers: Headers = (AUTH, ("Content-Length", "2"))
    if kind is not None:
        headers = (*headers, ("Content-Type", kind))
    browser = ("Sec-Fetch-Site", "same-origin")
    assert (await call(gated(), *headers, browser, method=method, body=(b"{}",))).status == 415
    assert (await call(gated(), *headers, method=method, body=(b"{}",))).status == 200


async def test_browsers_may_leave_the_type_out_without_a_body() -> None:
    browser = ("Sec-Fetch-Site", "same-origin")
    assert (await call(gated(), AUTH, browser, method="DELETE")).status == 200
    chunked = ("Transfer-Encoding", "chunked")
    assert (await call(gated(), AUTH, browser, chunked, method="POST", body=(b"{}",))).status == 415
    json_type = ("Content-Type", "Application/JSON; charset=utf-8")
    assert (
        await call(gated(), AUTH, browser, chunked, json_type, method="POST", body=(b"{}",))
    ).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Authorization", "Bearer wrong"),),
        (("Authorization", f"bearer {TOKEN}"),),
        (("Authorization", TOKEN),),
        (("Authorization", f"Bearer {TOKEN} "),),
        (("Authorization", "Bearer \xe9"),),
        (("Authorization", "Bearer "),),
        (("Authorization", "Basic dDp0"),),
        (("Authorization", f"Bearer {TOKEN}' OR '1'='1"),),
        (("X-Api-Key", "wrong"),),
        (("X-Api-Key", ""),),
    ],
)
@pytest.mark.parametrize("path", ["/x", "/unknown", "/health/", "/health/../x"])
async def test_without_the_token_nothing_is_answered(headers: Headers, path: str) -> None:
    answer = await call(gated(public_paths=frozenset({"/health"})), *headers, path=path)
    assert answer.status == 401
    assert answer.header("www-authenticate") == ["Bearer"]
    assert TOKEN not in answer.body.decode()
    assert json.loads(answer.body)["error"]["kind"] == "refused"


async def test_public_paths_need_no_token_and_keep_all_other_rules() -> None:
    gate = gated(public_paths=frozenset({"/health"}))
    assert (await call(gate, path="/health")).status == 200
    assert (await call(gate, path="/health", host="evil:8035")).status == 421
    assert (await call(gate, ("Origin", "null"), path="/health")).status == 403


async def test_a_listener_without_a_token_asks_for_none() -> None:
    assert (await call(gated(token=None))).status == 200


async def test_guessing_tokens_is_slowed_down_per_address() -> None:
    clock = FakeClock()
    gate = gated(clock=clock)
    for _ in range(MAX_FAILURES):
        assert (await call(gate, WRONG, client="10.0.0.9")).status == 401
    assert (await call(gate, AUTH, client="10.0.0.9")).status == 429
    assert (await call(gate, AUTH, client="10.0.0.8")).status == 200
    clock.t_ns += 61 * 10**9
    assert (await call(gate, AUTH, client="10.0.0.9")).status == 200


async def test_a_random_token_needs_no_limit_on_guesses() -> None:
    gate = gated(max_failures=None)
    for _ in range(MAX_FAILURES + 1):
        assert (await call(gate, WRONG)).status == 401
    assert (await call(gate, AUTH)).status == 200


async def test_remembering_failures_takes_bounded_memory() -> None:
    gate = gated(clock=FakeClock())
    for number in range(1100):
        await call(gate, WRONG, client=f"10.0.{number // 256}.{number % 256}")
    assert len(gate._failures) == 1024


async def test_the_body_is_capped_by_its_announced_length_and_while_reading() -> None:
    gate = gated(max_body_bytes=10)
    assert (await call(gate, AUTH, ("Content-Length", "11"), method="POST")).status == 413
    assert (await call(gate, AUTH, ("Content-Length", "9" * 400), method="POST")).status == 413
    assert (await call(gate, AUTH, method="POST", body=(b"x" * 6, b"x" * 6))).status == 413
    assert (await call(gate, AUTH, ("Content-Length", "3"), method="POST", body=(b"x" * 11,))).status == 413
    assert (await call(gate, AUTH, method="POST", body=(b"x" * 5, b"x" * 5))).status == 200


@pytest.mark.parametrize("lengths", [("x",), ("-1",), ("1", "2"), ("+1",), ("1,2",), ("",)])
async def test_a_content_length_that_is_not_one_number_is_refused(lengths: tuple[str, ...]) -> None:
    headers = tuple(("Content-Length", text) for text in lengths)
    assert (await call(gated(), AUTH, *headers, method="POST")).status == 400


@pytest.mark.parametrize(
    "send", [lambda g: call(g, AUTH), lambda g: call(g), lambda g: call(g, AUTH, path="/unknown")]
)
async def test_every_answer_carries_the_security_headers_once(send: Callable[[RequestGate], Any]) -> None:
    answer: Answer = await send(gated())
    assert answer.header("x-content-type-options") == ["nosniff"]
    assert answer.header("cache-control") == ["no-store"]
    assert answer.header("referrer-policy") == ["no-referrer"]
    assert not answer.header("access-control-allow-origin")


async def test_every_answer_says_once_that_it_is_ours() -> None:
    """A scan leaves our own listeners out by it; what the application says there is kept."""

    async def more(request: Request) -> Response:
        return Response(headers={"X-Llama-Runner": "1.0; step=local"})

    talkative = RequestGate(
        Starlette(routes=[Route("/x", more)]), allowed_hosts=lambda: loopback_hosts(8035), token=None
    )

    assert (await call(gated(), AUTH)).header(OWN_HEADER) == [__version__]
    assert (await call(gated())).header(OWN_HEADER) == [__version__]
    assert (await call(talkative)).header(OWN_HEADER) == ["1.0; step=local"]


async def test_a_session_counts_as_the_token_but_not_beside_a_wrong_one() -> None:
    gate = RequestGate(
        Starlette(routes=[Route("/x", lambda request: Response())]),
        allowed_hosts=lambda: loopback_hosts(8035),
        token=TOKEN,
        session=lambda headers: headers.get("cookie") == ["s=1"],
    )
    assert (await call(gate, ("Cookie", "s=1"))).status == 200
    assert (await call(gate, ("Cookie", "s=2"))).status == 401
    assert (await call(gate, ("Cookie", "s=1"), ("Authorization", "Bearer wrong"))).status == 401


async def test_w1_w2_w3_web_sockets_are_judged_by_the_same_rules_and_need_an_origin() -> None:
    assert (await call(gated(), AUTH, kind="websocket", host="evil:8035")).closed == 1008
    assert (await call(gated(), kind="websocket")).closed == 1008
    assert (await call(gated(), AUTH, ("Origin", "null"), kind="websocket")).closed == 1008
    reached: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["type"])

    own = ("Origin", "http://127.0.0.1:8035")
    gate = RequestGate(
        app,
        allowed_hosts=lambda: loopback_hosts(8035),
        allowed_origins=lambda: frozenset({own[1]}),
        token=TOKEN,
    )
    assert (await call(gate, AUTH, kind="websocket")).closed == 1008
    assert (await call(gate, own, kind="websocket")).closed == 1008
    await call(gate, AUTH, own, kind="websocket")
    await call(gate, kind="lifespan")
    assert reached == ["websocket", "lifespan"]
    assert (await call(gate, AUTH, kind="webtransport")).status == 400


async def test_the_address_that_a_connection_came_in_on_is_a_name_of_the_listener() -> None:
    """H3: bound to every address, each of them and no other one."""
    for server, host, status in (
        (("192.168.1.5", 8035), "192.168.1.5:8035", 200),
        (("192.168.1.5", 8035), "192.168.1.6:8035", 421),
        (("192.168.1.5", 8035), "192.168.1.5:8036", 421),
        (("192.168.1.5", 8035), "192.168.1.5", 421),
        (("192.168.1.5", 80), "192.168.1.5", 200),
        (("fe80::1%eth0", 8035), "[fe80::1]:8035", 200),
        (("fd00::5", 8035), "[FD00::5]:8035", 200),
    ):
        assert (await call(gated(), AUTH, server=server, host=host)).status == status, (server, host)


async def test_h1_a_target_that_names_a_server_is_refused() -> None:
    for path in ("http://evil.example/x", f"http://{HOST}/x", "*", "evil.example:443", ""):
        assert (await call(gated(), AUTH, path=path)).status == 400


@pytest.mark.parametrize("headers", [(AUTH,), (("X-Api-Key", TOKEN),), (AUTH, ("X-Api-Key", TOKEN))])
async def test_i24_the_token_counts_wherever_sdks_put_it(headers: Headers) -> None:
    assert (await call(gated(), *headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        (AUTH, ("X-Api-Key", "other")),
        (("Authorization", "Basic dDp0"), ("X-Api-Key", TOKEN)),
        (AUTH, AUTH),
        (("X-Api-Key", TOKEN), ("X-Api-Key", TOKEN)),
        (AUTH, ("Authorization", "Bearer other")),
    ],
)
async def test_h12_two_credentials_are_one_too_many(headers: Headers) -> None:
    assert (await call(gated(), *headers)).status == 400


async def test_a_client_without_a_token_locks_nobody_out() -> None:
    gate = gated(clock=FakeClock())
    for _ in range(MAX_FAILURES + 1):
        assert (await call(gate)).status == 401
    assert (await call(gate, AUTH)).status == 200


async def test_the_wanted_token_may_change_and_go() -> None:
    wanted: list[bytes | None] = [hash_token(TOKEN)]
    gate = gated(token=lambda: wanted[0])
    assert [(await call(gate, *headers)).status for headers in ((), (AUTH,))] == [401, 200]
    wanted[0] = hash_token("another")
    assert (await call(gate, AUTH)).status == 401
    wanted[0] = None
    assert (await call(gate)).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate", "identity, gzip"])
async def test_h14_compressed_requests_are_not_taken(encoding: str) -> None:
    packed = (AUTH, ("Content-Encoding", encoding), ("Content-Length", "2"))
    assert (await call(gated(), *packed, method="POST", body=(b"{}",))).status == 415
    plain = (AUTH, ("Content-Encoding", "identity"), ("Content-Length", "2"))
    assert (await call(gated(), *plain, method="POST", body=(b"{}",))).status == 200


async def test_h8_only_an_allowed_page_is_told_what_it_may_send() -> None:
    gate = gated(allowed_origins=lambda: frozenset({ORIGIN}))
    asked = (
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "X-Odd, Authorization"),
    )
    granted = await call(gate, ("Origin", ORIGIN), *asked, method="OPTIONS")
    assert (granted.status, granted.body) == (204, b"")
    assert granted.header("access-control-allow-headers") == ["authorization"]
    assert granted.header("access-control-allow-origin") == [ORIGIN]
    for stranger in ((), (("Origin", "null"),), (("Origin", "http://evil.example"),)):
        refused = await call(gate, AUTH, *stranger, *asked, method="OPTIONS")
        assert refused.status in (403, 405)
        assert not [name for name, _ in refused.headers if name.lower().startswith("access-control")]
    # No preflight: an ordinary request, which needs the token.
    assert (await call(gate, ("Origin", ORIGIN), method="OPTIONS")).status == 401


async def test_h22_so_many_requests_at_once_and_no_more() -> None:
    inside, let_go = asyncio.Event(), asyncio.Event()

    async def wait(request: Request) -> Response:
        inside.set()
        await let_go.wait()
        return Response()

    gate = gated_app([Route("/x", wait)], max_requests=1)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(call(gate))
        await inside.wait()
        second = await call(gate)
        assert (second.status, second.header("retry-after")) == (503, ["2"])
        let_go.set()
    assert first.result().status == 200
    assert (await call(gate)).status == 200


async def test_h14_bodies_of_all_requests_together_are_bounded() -> None:
    inside, let_go = asyncio.Event(), asyncio.Event()

    async def wait(request: Request) -> Response:
        await request.body()
        inside.set()
        await let_go.wait()
        return Response()

    gate = gated_app([Route("/x", wait, methods=["POST"])])
    gate._held = Held(100)
    async with asyncio.TaskGroup() as group:
        group.create_task(call(gate, method="POST", body=(b"x" * 60,)))
        await inside.wait()
        refused = await call(gate, method="POST", body=(b"x" * 30, b"x" * 30))
        assert (refused.status, refused.header("retry-after")) == (503, ["2"])
        let_go.set()
    assert (await call(gate, method="POST", body=(b"x" * 100,))).status == 200


async def test_refusals_are_written_as_the_listener_spells_them() -> None:
    gate = gated(spelling=lambda path, refusal: {"error": f"{path} {refusal.status}"})
    assert json.loads((await call(gate, path="/y")).body) == {"error": "/y 401"}
