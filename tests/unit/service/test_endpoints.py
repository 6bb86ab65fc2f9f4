"""From a request to a call, and from a value to an answer."""

from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest
from starlette.applications import Starlette

from llama_runner.service.endpoints import Call, Endpoint, Query, no_route, routes_of


@dataclass(frozen=True)
class Thing:
    n: float


async def count(call: Call) -> Thing:
    return Thing(call.query.get("n", -1))


async def nothing(call: Call) -> None:
    return None


async def wrong(call: Call) -> Any:
    return "not a thing"


async def _before() -> None:
    """Nothing to look at."""


QUERY = (Query("n", "A number.", 10), Query("s", "Seconds.", 30, whole=False))
APP = Starlette(
    routes=routes_of(
        (
            Endpoint(method="GET", path="/x", summary="S.", handle=count, answer=Thing, query=QUERY),
            Endpoint(method="DELETE", path="/x", summary="S.", handle=nothing),
            Endpoint(method="GET", path="/wrong", summary="S.", handle=wrong, answer=Thing),
        ),
        _before,
    ),
    exception_handlers={404: no_route, 405: no_route},
)


async def ask(method: str, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(APP)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/api/v1") as http:
        return await http.request(method, path)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("10", 10), ("007", 7)])
async def test_numbers_in_the_query_are_read(text: str, value: float) -> None:
    assert (await ask("GET", f"x?n={text}")).json() == {"n": value}


BAD: Final = (
    *("n=", "n=11", "n=-1", "n=1.5", "n=1e1", "n=nan", "n=inf", "n=%201", "n=1_0", "n=%D9%A1", "n=1&n=1"),
    *("s=31", "s=nan", "s=-0.1", "s=0x1", "s=.5", "m=1", "token=x", "n=" + "9" * 5000),
)


@pytest.mark.parametrize("query", BAD)
async def test_what_is_no_number_of_the_query_is_refused_by_name(query: str) -> None:
    answer = await ask("GET", f"x?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["error"]["message"]


async def test_a_path_knows_all_of_its_methods() -> None:
    assert (await ask("DELETE", "x")).status_code == 204
    head = await ask("HEAD", "x")
    assert (head.status_code, head.content) == (200, b"")
    other = await ask("PUT", "x")
    assert other.status_code == 405
    assert {"GET", "DELETE"} <= set(other.headers["allow"].replace(" ", "").split(","))


async def test_an_answer_that_the_document_does_not_tell_is_our_mistake() -> None:
    answer = await ask("GET", "wrong")
    assert (answer.status_code, answer.json()["error"]["kind"]) == (500, "internal")
    assert "not a thing" not in answer.text
