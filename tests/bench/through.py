"""How fast the real model answers through the proxy, against asking its engine directly.

    python -m tests.bench.through [--json] [--rounds 15] [--tokens 256]

A real service with the demo engine and model. Each round asks the engine itself, the OpenAI listener and the
Ollama listener the same question, in an order that changes; the speed is what this client sees between the
first and the last piece of the answer. Printed are the medians, and the paired ratios to the direct way.
"""

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from tests.integration.service_process import ServiceProcess, started_service

LIMIT_S: Final = 120.0
# A piece of text that is not empty, in both dialects; what begins and ends an answer has none.
_TOKEN: Final = re.compile(rb'"content":\s*"[^"]')
QUESTION: Final = "Tell a long story about a lighthouse."


@dataclass(frozen=True, slots=True)
class Speeds:
    """One way's figures.

    Attributes:
        decode_tps: Tokens per second between the first and the last piece, median.
        ratio: To the direct way of the same round, median.
        ratio_low, ratio_high: The quartiles of it.
    """

    way: str
    decode_tps: float
    ratio: float
    ratio_low: float
    ratio_high: float


def speed(url: str, body: dict[str, Any], headers: dict[str, str]) -> float:
    """Tokens per second of one streamed answer, between the first and the last token."""
    stamps: list[float] = []
    with httpx.stream("POST", url, json=body, headers=headers, timeout=LIMIT_S, trust_env=False) as answer:
        answer.raise_for_status()
        for data in answer.iter_raw():
            stamps += [time.perf_counter()] * len(_TOKEN.findall(data))
    return (len(stamps) - 1) / (stamps[-1] - stamps[0])


def ways(service: ServiceProcess, model: str, tokens: int) -> dict[str, Callable[[], float]]:
    """The three ways to the same child."""
    headers = {"Authorization": f"Bearer {service.run_file.token}"}
    access = httpx.get(
        f"{service.url}/api/v1/instances/{model}/access", headers=headers, timeout=LIMIT_S, trust_env=False
    ).json()
    messages = [{"role": "user", "content": QUESTION}]
    openai = {
        "model": model,
        "messages": messages,
        "stream": True,
        "temperature": 0,
        "max_tokens": tokens,
        "ignore_eos": True,
    }
    options = {"temperature": 0, "num_predict": tokens}
    ollama = {"model": model, "messages": messages, "stream": True, "options": options}
    chat = "/v1/chat/completions"
    key = {"Authorization": f"Bearer {access['api_key']}"}
    return {
        "direct": lambda: speed(access["url"] + chat, openai, key),
        "openai": lambda: speed(service.ready["openai"] + chat, openai, {}),
        "ollama": lambda: speed(service.ready["ollama"] + "/api/chat", ollama, {}),
    }


def compare(rounds: int, tokens: int) -> list[Speeds]:
    """All ways, round after round."""
    with (
        tempfile.TemporaryDirectory() as home,
        started_service(
            Path(home), "--demo", "--openai", "127.0.0.1:0", "--ollama", "127.0.0.1:0"
        ) as service,
    ):
        listed = httpx.get(f"{service.ready['openai']}/v1/models", timeout=LIMIT_S, trust_env=False).json()
        model = listed["data"][0]["id"]
        load = {"model": model, "prompt": "x", "max_tokens": 1}
        httpx.post(
            f"{service.ready['openai']}/v1/completions", json=load, timeout=LIMIT_S, trust_env=False
        ).raise_for_status()
        found = ways(service, model, tokens)
        speeds: dict[str, list[float]] = {name: [] for name in found}
        for number in range(rounds + 1):
            names = list(found)
            # The first round warms up; the order turns, so that none always comes after the same other.
            for name in names[number % 3 :] + names[: number % 3]:
                seen = found[name]()
                if number:
                    speeds[name].append(seen)
    return [_summary(name, speeds) for name in speeds]


def _summary(name: str, speeds: dict[str, list[float]]) -> Speeds:
    ratios = [seen / direct for seen, direct in zip(speeds[name], speeds["direct"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return Speeds(name, statistics.median(speeds[name]), middle, low, high)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=256)
    args = parser.parse_args()
    figures = compare(args.rounds, args.tokens)
    if args.json:
        sys.stdout.write(json.dumps([asdict(figure) for figure in figures]) + "\n")
        return
    for one in figures:
        sys.stdout.write(
            f"{one.way:7} {one.decode_tps:7.1f} tok/s  {one.ratio:.3f} of direct"
            f" ({one.ratio_low:.3f} to {one.ratio_high:.3f})\n"
        )


if __name__ == "__main__":
    main()
