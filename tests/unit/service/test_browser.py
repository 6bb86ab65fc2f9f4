"""Links that work once and the sessions they become (I37, W1)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from llama_runner.service.browser import (
    IDLE_LIFE_S,
    LINK_LIFE_S,
    MAX_LINKS,
    MAX_SESSIONS,
    SESSION_LIFE_S,
    Browsers,
)
from llama_runner.service.endpoints import Call

URL = "http://127.0.0.1:8035"


@dataclass
class HandClock:
    t_s: float = 0.0

    def now_ns(self) -> int:
        return int(self.t_s * 1e9)

    def utc(self) -> datetime:
        return datetime(2026, 1, 2, tzinfo=UTC)


class Desk:
    """A desk that gives out links, and a browser for each of them."""

    def __init__(self, http: httpx.AsyncClient, browsers: Browsers, clock: HandClock) -> None:
        self.http, self.browsers, self.clock = http, browsers, clock

    async def link(self) -> str:
        (endpoint,) = self.browsers.endpoints()
        call = Call(path={}, query={}, body=None, request=Request({"type": "http", "headers": []}))
        return str((await endpoint.handle(call)).url)

    async def cookie(self, link: str) -> str | None:
        """What a browser that follows the link gets."""
        self.http.cookies.clear()
        answer = await self.http.get(link)
        cookie = answer.headers.get("set-cookie")
        assert answer.status_code == (403 if cookie is None else 303)
        return None if cookie is None else cookie.partition(";")[0]

    def admits(self, *lines: str | None) -> bool:
        return self.browsers.admits({"cookie": [line for line in lines if line is not None]})


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    clock = HandClock()
    browsers = Browsers(url=URL, port=8035, clock=clock)
    transport = httpx.ASGITransport(Starlette(routes=[browsers.route()]))
    async with httpx.AsyncClient(transport=transport) as http:
        yield Desk(http, browsers, clock)


async def test_a_link_works_once_and_not_when_it_is_old(desk: Desk) -> None:
    link = await desk.link()
    assert desk.admits(await desk.cookie(link))
    assert await desk.cookie(link) is None
    link = await desk.link()
    desk.clock.t_s += LINK_LIFE_S - 1
    assert await desk.cookie(link) is not None
    link = await desk.link()
    desk.clock.t_s += LINK_LIFE_S + 1
    assert await desk.cookie(link) is None


async def test_only_the_whole_cookie_of_this_port_counts(desk: Desk) -> None:
    cookie = await desk.cookie(await desk.link())
    assert cookie is not None and cookie.startswith("llama-runner-8035=")
    assert desk.admits(f"other=1; {cookie}; more=2")
    assert not desk.admits(cookie[:-1])
    assert not desk.admits(cookie.replace("8035", "8036"))
    assert not desk.admits(cookie, cookie)
    assert not desk.admits()
    assert not desk.admits("\x00;=;;,=\xff")


async def test_a_session_ends_when_nobody_uses_it(desk: Desk) -> None:
    cookie = await desk.cookie(await desk.link())
    for _ in range(3):
        desk.clock.t_s += IDLE_LIFE_S - 1
        assert desk.admits(cookie)
    desk.clock.t_s += IDLE_LIFE_S + 1
    assert not desk.admits(cookie)
    desk.clock.t_s -= IDLE_LIFE_S
    assert not desk.admits(cookie)


async def test_a_session_ends_after_a_day_however_much_it_is_used(desk: Desk) -> None:
    cookie = await desk.cookie(await desk.link())
    began_s = desk.clock.t_s
    while desk.clock.t_s + 600 <= began_s + SESSION_LIFE_S:
        desk.clock.t_s += 600
        assert desk.admits(cookie)
    desk.clock.t_s = began_s + SESSION_LIFE_S + 1
    assert not desk.admits(cookie)


async def test_links_and_sessions_are_bounded_the_oldest_go(desk: Desk) -> None:
    links = [await desk.link() for _ in range(MAX_LINKS + 1)]
    assert await desk.cookie(links[0]) is None
    cookies = [await desk.cookie(link) for link in links[1:]]
    cookies += [await desk.cookie(await desk.link()) for _ in range(MAX_SESSIONS)]
    assert [desk.admits(cookie) for cookie in cookies].count(True) == MAX_SESSIONS
    assert desk.admits(cookies[-1]) and not desk.admits(cookies[0])
