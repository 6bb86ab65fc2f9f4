"""Servers as a well-filled list has them, for pictures: addresses that belong to nobody (RFC 5737)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llama_runner.discovery.registry import ServerRecord


def example_servers() -> "tuple[ServerRecord, ...]":
    """One of each state, the engines mixed."""
    from llama_runner.backends.base import Engine
    from llama_runner.backends.models import ContextSource, ModelInfo
    from llama_runner.discovery.registry import Certainty, ServerRecord, ServerSource, ServerStatus

    now = datetime.now(UTC)

    def server(host: str, port: int, engine: Engine, *models: ModelInfo) -> ServerRecord:
        url = f"http://{host}:{port}"
        return ServerRecord(
            id=url,
            base_url=url,
            engine=engine,
            product=engine.value,
            certainty=Certainty.CERTAIN,
            status=ServerStatus.ONLINE,
            source=ServerSource.FOUND,
            models=models,
            latency_s=0.0008 * (1 + len(host) % 5),
            last_seen_utc=now,
            checked_utc=now,
        )

    def model(name: str, context: int, source: ContextSource, *words: str, loaded: bool = False) -> ModelInfo:
        return ModelInfo(
            name,
            context_length=context,
            context_source=source,
            trained_context=max(context, 40_960),
            capabilities=words if "embedding" in words else ("completion", *words),
            loaded=loaded,
            family="qwen3",
            parameters="8.2B",
            quantization="Q4_K_M",
            size_bytes=5_200_000_000,
        )

    trained, slot, running = ContextSource.TRAINED, ContextSource.SLOT, ContextSource.RUNNING
    ollama = server(
        "127.0.0.1",
        11434,
        Engine.OLLAMA,
        model("qwen3:8b", 40_960, trained, "tools", "thinking", loaded=True),
        model("llava:13b", 4096, trained, "vision"),
        model("nomic-embed-text:latest", 2048, trained, "embedding"),
    )
    llama = server(
        "192.0.2.20", 8080, Engine.LLAMA_SERVER, model("gemma-3-27b-it", 8192, slot, "vision", loaded=True)
    )
    vllm = server(
        "192.0.2.31", 8000, Engine.VLLM, model("Qwen/Qwen3-32B-AWQ", 32_768, running, "tools", "thinking")
    )
    studio = server(
        "192.0.2.44", 1234, Engine.LM_STUDIO, model("openai/gpt-oss-20b", 131_072, trained, "tools")
    )
    return (
        replace(ollama, version="0.12.3"),
        replace(llama, version="b6700", favourite=True, trusted=True, note="In the attic. Ask Ann first."),
        replace(vllm, version="0.11.0", mac="02:42:c0:00:02:1f"),
        replace(
            studio,
            certainty=Certainty.LIKELY,
            changed="It was llama-server until yesterday and now answers as lm-studio.",
        ),
        replace(
            server("192.0.2.50", 30000, Engine.SGLANG),
            status=ServerStatus.NEEDS_KEY,
            problem="It wants an API key.",
        ),
        replace(
            server("192.0.2.60", 11434, Engine.OLLAMA, model("llama3.3:70b", 8192, trained, "tools")),
            status=ServerStatus.OFFLINE,
            latency_s=None,
            mac="02:42:c0:00:02:3c",
            last_seen_utc=now - timedelta(hours=7),
            problem="Nothing listens at 192.0.2.60:11434.",
        ),
        replace(
            server("models.example.test", 443, Engine.OPENAI),
            id="https://models.example.test",
            base_url="https://models.example.test",
            status=ServerStatus.ERROR,
            source=ServerSource.MANUAL,
            certainty=Certainty.GUESS,
            latency_s=None,
            problem="The certificate of https://models.example.test is self-signed: "
            "nobody but the server itself vouches for it.",
        ),
    )


def long_server() -> "ServerRecord":
    """2,000 models, some with names that nobody would choose."""
    from llama_runner.backends.models import ModelInfo

    first, *_ = example_servers()
    odd = ("<b>bold</b> & co %s {}", "\u202egpj.exe", "x" * 200, "名前はまだない" * 12, " ", "a\nb\tc")
    names = [*odd, *(f"org/some-model-{n:04}-instruct-awq" for n in range(1994))]
    url = "http://a-rather-long-host-name.of-some-department.in-a-large-company.example.test:28080"
    return replace(
        first,
        id=url,
        base_url=url,
        product="a program with a name that is much too long for any column",
        version="2026.11.21.dev0+g1234567890abcdef.dirty",
        models=tuple(ModelInfo(name) for name in names),
    )
