"""Listeners that open, move, ask for tokens and close, as they are wanted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from llama_runner.core.tasks import TaskOwner
from llama_runner.net.answering import own_spelling
from llama_runner.net.credentials import hash_token
from llama_runner.service.addresses import Address, Listening, ProxyAddresses, Wanted
from llama_runner.service.doors import Dialect, Doors
from tests.fakes.listening import occupied_port

TOKEN = "t" * 40
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HERE = "127.0.0.1"


def dialect(key: str) -> Dialect:
    async def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse(key)

    return Dialect(key, f"The {key} API", Starlette(routes=[Route("/", answer)]), own_spelling, 1000)


@dataclass
class Wish:
    """What is wanted, changed by the tests as a person changes settings."""

    openai: Address | None = None
    ollama: Address | None = None
    token: str | None = None
    more: dict[str, Any] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def wanted(self) -> Wanted:
        return Wanted(ProxyAddresses(self.openai, self.ollama), **self.more)

    def token_hash(self) -> bytes | None:
        return None if self.token is None else hash_token(self.token)

    def withdraw(self, text: str) -> None:
        if text in self.notices:
            self.notices.remove(text)


@asynccontextmanager
async def doors(wish: Wish) -> AsyncIterator[Doors]:
    tasks = TaskOwner()
    made = Doors(
        (dialect("openai"), dialect("ollama")),
        fixed=frozenset({"ollama"}),
        wanted=wish.wanted,
        token_hash=wish.token_hash,
        notice=wish.notices.append,
        withdraw=wish.withdraw,
        tasks=tasks,
    )
    await made.start()
    try:
        yield made
    finally:
        await made.close()
        await tasks.close()


async def asked(listening: Listening, **headers: str) -> tuple[int, str]:
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{listening.url}/", headers=headers)
    return answer.status_code, answer.text


def port_of(listening: Listening) -> int:
    return int(str(listening.url).rpartition(":")[2])


def free_port() -> int:
    with occupied_port() as port:
        return port


async def test_nothing_is_open_before_the_start_and_after_the_end() -> None:
    wish = Wish(openai=(HERE, 0))
    async with doors(wish) as made:
        openai, ollama = made.now
        assert await asked(openai) == (200, "openai")
        assert (ollama.url, ollama.port) == (None, None)
    await made.follow()
    with pytest.raises(httpx.ConnectError):
        await asked(openai)


async def test_whether_a_token_is_asked_for_changes_without_reopening() -> None:
    wish = Wish(openai=(HERE, 0))
    async with doors(wish) as made:
        (first, _) = made.now
        wish.token = TOKEN
        wish.more["always_ask_token"] = True
        await made.follow()
        (asking, _) = made.now
        assert (asking.url, asking.needs_token, first.needs_token) == (first.url, True, False)
        assert (await asked(asking))[0] == 401
        assert (await asked(asking, **BEARER))[0] == 200
        wish.token = TOKEN[:-1] + "u"
        await made.follow()
        assert (await asked(asking, **BEARER))[0] == 401
        wish.more["always_ask_token"] = False
        await made.follow()
        assert (await asked(asking))[0] == 200


async def test_a_listener_that_asks_closes_with_its_token() -> None:
    wish = Wish(openai=(HERE, 0), token=TOKEN, more={"always_ask_token": True})
    async with doors(wish) as made:
        (asking, _) = made.now
        wish.token = None
        await made.follow()
        (closed, _) = made.now
        assert closed.url is None and "without an access token" in closed.problem
        assert wish.notices == [closed.problem]
        with pytest.raises(httpx.ConnectError):
            await asked(asking)
        wish.token = TOKEN
        await made.follow()
        assert (await asked(made.now[0], **BEARER))[0] == 200
        assert wish.notices == []


async def test_a_token_that_vanishes_lets_nobody_in_meanwhile() -> None:
    """Between its going and the listener's closing: not even who shows nothing."""
    wish = Wish(openai=(HERE, 0), token=TOKEN, more={"always_ask_token": True})
    async with doors(wish) as made:
        made._token_hash = None
        assert (await asked(made.now[0]))[0] == 401
        assert (await asked(made.now[0], **BEARER))[0] == 401


async def test_origins_and_names_count_at_once() -> None:
    wish = Wish(openai=(HERE, 0))
    async with doors(wish) as made:
        (here, _) = made.now
        page, name = {"Origin": "http://page"}, {"Host": f"box:{port_of(here)}"}
        assert [(await asked(here, **headers))[0] for headers in (page, name)] == [403, 421]
        wish.more = {"origins": frozenset({"http://page"}), "host_names": ("box",)}
        await made.follow()
        assert made.now[0].url == here.url
        assert [(await asked(here, **headers))[0] for headers in (page, name)] == [200, 200]


async def test_f12_a_listener_that_cannot_move_comes_back_where_it_was() -> None:
    """It had to make room for itself: its port under another address, which somebody else has."""
    with occupied_port() as port:
        wish = Wish(openai=("127.0.0.2", port))
        async with doors(wish) as made:
            assert made.now[0].url == f"http://127.0.0.2:{port}"
            wish.openai = (HERE, port)
            await made.follow()
            (stays, _) = made.now
            assert stays.url == f"http://127.0.0.2:{port}"
            assert "stays at http://127.0.0.2" in stays.problem
            assert await asked(stays) == (200, "openai")


async def test_f12_listeners_in_a_row_move_up_and_none_takes_a_place_that_is_kept() -> None:
    one, two = free_port(), free_port()
    wish = Wish(openai=(HERE, one), ollama=(HERE, two))
    async with doors(wish) as made:
        with occupied_port() as foreign:
            wish.openai, wish.ollama = (HERE, foreign), (HERE, one)
            await made.follow()
            assert [port_of(now) for now in made.now] == [one, two]
            assert all(now.problem for now in made.now)
            assert "--ollama HOST:PORT" in made.now[1].problem
        await made.follow()
        assert [port_of(now) for now in made.now] == [one, two]
        await made.follow(again=True)
        assert [port_of(now) for now in made.now] == [foreign, one]
        assert wish.notices == []
        assert [await asked(now) for now in made.now] == [(200, "openai"), (200, "ollama")]
