"""Libraries for Python and Node.js in their own environments: each prints what worked, one line a check."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.integration.service_process import ServiceProcess


def _checks(argv: list[str], service: ServiceProcess, **more: str) -> dict[str, str]:
    """Name of each check and what it told; empty where it worked."""
    env = {
        **os.environ,
        "OPENAI_URL": service.ready["openai"],
        "OLLAMA_URL": service.ready["ollama"],
        # LiteLLM looks for prices on the network otherwise.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        **more,
    }
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=280, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"check"')]
    assert lines, done.stderr
    return {line["check"]: line["fault"] for line in lines}


def test_python(clients: Path, service: ServiceProcess) -> None:
    """openai, anthropic, ollama, LangChain, LiteLLM, llm."""
    script = Path(__file__).with_name("python_checks.py")
    found = _checks([str(clients / "python" / "bin" / "python"), str(script)], service)
    assert {name: fault for name, fault in found.items() if fault} == {}


def test_node(clients: Path, service: ServiceProcess, tmp_path: Path) -> None:
    """openai, anthropic, ollama, the AI SDK with its providers."""
    node = shutil.which("node")
    assert node is not None
    # Modules are looked for beside the script.
    (tmp_path / "node_modules").symlink_to(clients / "node" / "node_modules")
    script = shutil.copy(Path(__file__).with_name("node_checks.mjs"), tmp_path)
    found = _checks([node, str(script)], service)
    assert {name: fault for name, fault in found.items() if fault} == {}
