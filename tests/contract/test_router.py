"""A real llama-server as router: it starts a process per model and stops it when told to."""

from collections.abc import Iterator

import httpx
import pytest

from llama_runner.backends.base import Backend
from llama_runner.backends.models import ContextSource
from llama_runner.backends.registry import connect
from llama_runner.core.clock import SystemClock
from llama_runner.core.errors import NotFoundError, ServerError
from llama_runner.core.trace import TokensSource
from tests.contract.servers import CONTEXT_TOKENS, ROUTER, Server
from tests.contract.test_model_calls import answer_to


# Of each test: the processes that it starts have to be gone when the test is over.
@pytest.fixture
def router(request: pytest.FixtureRequest) -> Iterator[Server]:
    with ROUTER.start(request) as running:
        yield running


@pytest.fixture
def router_backend(router: Server, http: httpx.AsyncClient) -> Backend:
    return connect(router.endpoint(), http=http, clock=SystemClock())


async def test_a_model_is_loaded_described_asked_and_unloaded(
    router: Server, router_backend: Backend
) -> None:
    backend = router_backend
    models = {model.id: model for model in await backend.list_models()}
    assert sorted(models) == ["broken", "smol"]
    assert (models["smol"].loaded, models["smol"].context_length) == (False, None)
    assert backend.can_load
    # Looking at it does not load it.
    assert (await backend.describe("smol")).loaded is False
    with pytest.raises(NotFoundError) as caught:
        await backend.load("smoll")
    assert caught.value.suggestions == ("smol",)

    await backend.load("smol")
    found = await backend.describe("smol")
    assert (found.loaded, found.context_length) == (True, CONTEXT_TOKENS)
    assert (found.context_source, found.trained_context) == (ContextSource.SLOT, 8192)
    assert (found.parameters, found.quantization) == ("135M", "Q4_1")
    assert found.capabilities == ("completion",)
    request = router.request(max_tokens=3)
    metrics = (await answer_to(backend, request)).metrics()
    assert (metrics.output_tokens, metrics.tokens_source) == (3, TokensSource.CHUNK_USAGE)
    count = await backend.count_prompt(request)
    assert count is not None and count.tokens == metrics.prompt_tokens

    await backend.unload("smol")
    assert (await backend.describe("smol")).loaded is False


async def test_a_model_that_cannot_be_loaded_says_so(router_backend: Backend) -> None:
    with pytest.raises(ServerError, match="could not load broken: its process ended with code 1"):
        await router_backend.load("broken")
    assert (await router_backend.describe("broken")).loaded is False
