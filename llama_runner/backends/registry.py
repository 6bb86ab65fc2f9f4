"""Which class speaks to which engine: the one table."""

from collections.abc import Mapping
from typing import Final

import httpx

from llama_runner.backends.base import Backend, Endpoint, Engine, StreamDecoder
from llama_runner.backends.http_backend import HttpBackend
from llama_runner.backends.llama_server import LlamaServerBackend
from llama_runner.backends.ollama import OllamaBackend
from llama_runner.backends.ollama_decoder import OllamaDecoder
from llama_runner.backends.openai import OpenAIBackend
from llama_runner.backends.openai_decoder import OpenAIDecoder
from llama_runner.backends.vllm import VllmBackend
from llama_runner.core.clock import Clock

_BACKENDS: Final[Mapping[Engine, type[HttpBackend]]] = {
    Engine.LLAMA_SERVER: LlamaServerBackend,
    Engine.OLLAMA: OllamaBackend,
    Engine.OPENAI: OpenAIBackend,
    Engine.LM_STUDIO: OpenAIBackend,
    Engine.VLLM: VllmBackend,
    Engine.SGLANG: OpenAIBackend,
    Engine.TGI: OpenAIBackend,
    Engine.LOCALAI: OpenAIBackend,
    Engine.KOBOLDCPP: OpenAIBackend,
    Engine.LITELLM: OpenAIBackend,
    Engine.LLAMA_SWAP: OpenAIBackend,
    Engine.ANTHROPIC: OpenAIBackend,
    Engine.UNKNOWN: OpenAIBackend,
}


def connect(endpoint: Endpoint, *, http: httpx.AsyncClient, clock: Clock) -> Backend:
    """The backend for an endpoint. Opens nothing: the first request does."""
    return _BACKENDS[endpoint.engine](endpoint, http=http, clock=clock)


def decoder_for(engine: Engine, base_url: str) -> StreamDecoder:
    """A fresh decoder for one answer of that engine, where no client is at hand (load workers)."""
    decoder = OllamaDecoder if engine is Engine.OLLAMA else OpenAIDecoder
    return decoder(base_url)
