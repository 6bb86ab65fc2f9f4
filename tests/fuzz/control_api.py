"""Asks a real service's control API what its own OpenAPI document allows and forbids, many times over.

    python -m tests.fuzz.control_api [--examples 200] [--seed 1]

The promises: no server error, nothing answered that the document does not tell, nothing taken that it
forbids, no call without the token. It is schemathesis that thinks up the calls.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import httpx

from tests.integration.service_process import ServiceProcess, started_service

# What a schema can say, and no more: a setting's key may be a text and still name none.
CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)
# They end the service, or last.
LEFT_OUT: Final = ("/api/v1/shutdown", "/api/v1/release", "/api/v1/lease")


def document_of(service: ServiceProcess) -> dict[str, Any]:
    """What the service publishes, with the models there are, and without what makes a call wait."""
    headers = {"Authorization": f"Bearer {service.run_file.token}"}
    answer = httpx.get(f"{service.url}/api/v1/openapi.json", headers=headers, timeout=30)
    document: dict[str, Any] = answer.json()
    models = httpx.get(f"{service.url}/api/v1/models", headers=headers, timeout=30).json()["models"]
    if models:
        # Random texts would name none, and no load would get as far as its options.
        wanted = document["components"]["schemas"]["LoadRequest"]["properties"]["model"]
        wanted["enum"] = [model["id"] for model in models]
    call = document["paths"]["/api/v1/instances"]["get"]
    call["parameters"] = [one for one in call["parameters"] if one["name"] != "wait_s"]
    return document


def fuzz(
    service: ServiceProcess, folder: Path, *, examples: int, seed: int, phases: str, limit_s: float
) -> tuple[bool, str]:
    """Whether every promise was kept, and the report.

    Args:
        folder: Where schemathesis may write.
        examples: Per call and phase.
        phases: Of schemathesis: coverage, fuzzing, stateful.
    """
    file = folder / "openapi.json"
    file.write_text(json.dumps(document_of(service)))
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(file), "--url", service.url]
    command += ["--header", f"Authorization: Bearer {service.run_file.token}", "--no-color"]
    command += [option for path in LEFT_OUT for option in ("--exclude-path", path)]
    command += ["--checks", ",".join(CHECKS), "--phases", phases, "--max-examples", str(examples)]
    command += ["--seed", str(seed), "--generation-database", "none", "--request-timeout", "60"]
    command += ["--continue-on-failure", "--suppress-health-check", "all"]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        timeout=limit_s,
        check=False,
    )
    return done.returncode == 0, done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")


def main() -> int:
    """The long run, with the demo engine and model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--phases", default="coverage,fuzzing,stateful")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        home.mkdir()
        with started_service(home, "--demo") as service:
            kept, report = fuzz(
                service,
                Path(folder),
                examples=args.examples,
                seed=args.seed,
                phases=args.phases,
                limit_s=24 * 3600,
            )
    sys.stdout.write(report)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
