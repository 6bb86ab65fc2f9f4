"""What a listener says to a request that no handler sees, in the dialect of the path that was asked."""

from llama_runner.core.jsonio import JsonValue
from llama_runner.proxy import anthropic_errors
from llama_runner.proxy.openai_errors import error_object


def openai_refusal(path: str, status: int, message: str, kind: str) -> JsonValue:
    """On the OpenAI and LM Studio listener: an object, Anthropic's below its messages."""
    if path.removeprefix("/v1").startswith("/messages"):
        return anthropic_errors.spelt(status, message)
    return error_object(message, kind, None)


def ollama_refusal(path: str, status: int, message: str, kind: str) -> JsonValue:
    """On the Ollama listener: one text, as its clients read it; below `/v1` as OpenAI has it."""
    return openai_refusal(path, status, message, kind) if path.startswith("/v1/") else {"error": message}
