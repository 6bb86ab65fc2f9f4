"""Discovery names every server of the table, by itself and without a key."""

import httpx
import pytest

from llama_runner.core.clock import SystemClock
from llama_runner.discovery.fingerprint import Fingerprint
from llama_runner.discovery.prober import probe
from tests.contract.servers import Server
from tests.real.known import PRODUCTS


async def test_it_is_recognised_for_what_it_is(
    request: pytest.FixtureRequest, server: Server, http: httpx.AsyncClient
) -> None:
    product = PRODUCTS.get(request.node.callspec.params["server"].name)
    found = (await probe(http, server.url, timeout_s=1.5, clock=SystemClock())).verdict
    assert isinstance(found, Fingerprint)
    if product is not None:
        assert (found.product, found.certainty, found.needs_key) == product
        assert found.engine is server.engine
