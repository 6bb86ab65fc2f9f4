"""Which class speaks to which engine: the one table."""

from collections.abc import Mapping
from typing import Final

import httpx

from llama_runner.backends.anthropic import AnthropicBackend
from llama_runner.backends.anthropic_decoder import AnthropicDecoder
from llama_runner.backends.base import Backend, Endpoint, Engine, StreamDecoder
from llama_runner.backends.decoding import DecoderBase
from llama_runner.backends.http_backend import HttpBackend
from llama_runner.backends.koboldcpp import KoboldCppBackend
from llama_runner.backends.litellm import LiteLLMBackend
from llama_runner.backends.llama_server import LlamaServerBackend
from llama_runner.backends.llama_swap import LlamaSwapBackend
from llama_runner.backends.lm_studio import LmStudioBackend
from llama_runner.backends.localai import LocalAIBackend
from llama_runner.backends.ollama import OllamaBackend
from llama_runner.backends.ollama_decoder import OllamaDecoder
from llama_runner.backends.openai import OpenAIBackend
from llama_runner.backends.openai_decoder import OpenAIDecoder
from llama_runner.backends.sglang import SglangBackend
from llama_runner.backends.tgi import TgiBackend
from llama_runner.backends.vllm import VllmBackend
from llama_runner.core.clock import Clock

_BACKENDS: Final[Mapping[Engine, type[HttpBackend]]] = {
    Engine.LLAMA_SERVER: LlamaServerBackend,
    Engine.OLLAMA: OllamaBackend,
    Engine.OPENAI: OpenAIBackend,
    Engine.LM_STUDIO: LmStudioBackend,
    Engine.VLLM: VllmBackend,
    Engine.SGLANG: SglangBackend,
    Engine.TGI: TgiBackend,
    Engine.LOCALAI: LocalAIBackend,
    Engine.KOBOLDCPP: KoboldCppBackend,
    Engine.LITELLM: LiteLLMBackend,
    Engine.LLAMA_SWAP: LlamaSwapBackend,
    Engine.ANTHROPIC: AnthropicBackend,
    Engine.UNKNOWN: OpenAIBackend,
}
# All others stream as OpenAI does.
_DECODERS: Final[Mapping[Engine, type[DecoderBase]]] = {
    Engine.OLLAMA: OllamaDecoder,
    Engine.ANTHROPIC: AnthropicDecoder,
}


def connect(endpoint: Endpoint, *, http: httpx.AsyncClient, clock: Clock) -> Backend:
    """The backend for an endpoint. Opens nothing: the first request does."""
    return _BACKENDS[endpoint.engine](endpoint, http=http, clock=clock)


def decoder_for(engine: Engine, base_url: str) -> StreamDecoder:
    """A fresh decoder for one answer of that engine, where no client is at hand (load workers)."""
    return _DECODERS.get(engine, OpenAIDecoder)(base_url)
