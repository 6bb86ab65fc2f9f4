"""Settings that are right one by one and wrong together."""

from llama_runner.core.settings import AppConfig
from llama_runner.core.validation import Problem, Severity


def clashes(config: AppConfig, *, file_name: str) -> tuple[Problem, ...]:
    """What of `config` cannot work beside the rest of it (C5: one port for two listeners)."""
    proxy, taken = config.proxy, {config.service.control_port: "service.control_port"}
    found: list[Problem] = []
    for key, port, enabled in (
        ("proxy.openai_port", proxy.openai_port, proxy.openai_enabled),
        ("proxy.ollama_port", proxy.ollama_port, proxy.ollama_enabled),
    ):
        # Port 0 is a free one each time.
        if not enabled or port == 0:
            continue
        if (other := taken.setdefault(port, key)) != key:
            message = f"{key} and {other} are both {port}; only one of them can be served there."
            found.append(Problem(Severity.WARNING, key, message, f"Change one of them in {file_name}."))
    return tuple(found)
