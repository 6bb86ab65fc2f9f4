"""What a request of 31 MiB costs everybody else: how long other clients wait while the service handles it.

    python -m tests.bench.bodies [--rounds 1]

A real service with the demo engine and model. One client asks `/health` of the OpenAI listener again and
again, another sends one huge chat. Printed are the longest wait for `/health` meanwhile, median of rounds,
and its ratio to the time that `json.loads` and `json.dumps` take for that body on this machine. The model
refuses a picture at once; of a text it counts the tokens for minutes, which is not waited for.
"""

import argparse
import base64
import contextlib
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import httpx

from tests.integration.service_process import started_service

LIMIT_S: Final = 60.0
# By then the engine has it.
SENT_S: Final = 15.0
BODY_BYTES: Final = 31 * 1024 * 1024


def chats(rng: random.Random) -> dict[str, list[Any]]:
    """Messages of about `BODY_BYTES` each, by what they are full of."""
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(5000)]
    some = "".join(rng.choice(words) + rng.choice('   \n",') for _ in range(100_000))
    picture = "data:image/png;base64," + base64.b64encode(rng.randbytes(BODY_BYTES * 3 // 4)).decode()
    # Line ends and quotes are two bytes in JSON.
    text = some * (BODY_BYTES * 9 // 10 // len(some))
    return {
        "picture": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": picture}}]}],
        "text": [{"role": "user", "content": text}],
        "turns": [{"role": "user", "content": text[at : at + 300]} for at in range(0, 300 * 90_000, 300)],
    }


def longest_wait_s(url: str, body: bytes | None) -> float:
    """The longest `/health` while `body` is on its way and answered; without one, in as many requests."""
    waits: list[float] = []
    sent = threading.Event()

    def send() -> None:
        with contextlib.suppress(httpx.TimeoutException):
            if body is not None:
                httpx.post(f"{url}/v1/chat/completions", content=body, timeout=SENT_S, trust_env=False)
        sent.set()

    sender = threading.Thread(target=send)
    sender.start()
    host, _, port = url.removeprefix("http://").partition(":")
    health = HTTPConnection(host, int(port), timeout=LIMIT_S)
    while not sent.is_set() or len(waits) < 100:
        began = time.perf_counter()
        health.request("GET", "/health")
        health.getresponse().read()
        waits.append(time.perf_counter() - began)
    health.close()
    sender.join()
    return max(waits)


def yardstick_s(body: bytes) -> float:
    """What the standard library takes to read and to write that body."""
    began = time.perf_counter()
    json.dumps(json.loads(body))
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1)
    rounds = parser.parse_args().rounds
    with (
        tempfile.TemporaryDirectory() as home,
        started_service(Path(home), "--demo", "--openai", "127.0.0.1:0") as service,
    ):
        url = service.ready["openai"]
        model = httpx.get(f"{url}/v1/models", timeout=LIMIT_S, trust_env=False).json()["data"][0]["id"]
        ask = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
        httpx.post(f"{url}/v1/chat/completions", json=ask, timeout=LIMIT_S, trust_env=False)
        sys.stdout.write(f"nothing  {longest_wait_s(url, None) * 1000:5.0f} ms\n")
        for name, messages in chats(random.Random(1)).items():
            body = json.dumps({**ask, "messages": messages}, ensure_ascii=False).encode()
            yardstick = min(yardstick_s(body) for _ in range(rounds))
            wait = statistics.median(longest_wait_s(url, body) for _ in range(rounds))
            sys.stdout.write(f"{name:8} {wait * 1000:5.0f} ms  {wait / yardstick:.2f} of read and write\n")


if __name__ == "__main__":
    main()
