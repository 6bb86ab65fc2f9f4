"""What needs no test to be seen wrong: format, lint, types, imports, generated files, docs' paths, slips.

`python3 scripts/test.py` runs it; by itself: `.venv/bin/python scripts/check.py`. Runs everything, then says
what failed.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

# What runs only on the other system is at least type-checked here; the cache of one is no use to the other.
_OTHER: Final = "linux" if sys.platform == "win32" else "win32"
_ELSEWHERE: Final = ("--platform", _OTHER, "--cache-dir", f".mypy_cache/{_OTHER}")
_LINT_IMPORTS: Final = "from importlinter.cli import lint_imports_command as run; run()"

COMMANDS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("format", ("-m", "ruff", "format", "--check", "--quiet", ".")),
    ("lint", ("-m", "ruff", "check", "--quiet", ".")),
    ("types", ("-m", "mypy")),
    (
        "types, as the other system sees them",
        ("-m", "mypy", *_ELSEWHERE, "llama_runner", "scripts", "main.py"),
    ),
    ("imports", ("-c", _LINT_IMPORTS)),
    ("generated files", ("scripts/gen.py", "--check")),
)

# Where a path in the docs points at something that must be in the tree.
_TREE: Final = frozenset(
    {".ci", "config", "dashboard", "docs", "llama_runner", "scripts", "stubs", "tests", "logs", "data"}
)
_NOT_IN_GIT: Final = ("logs/", "data/", "config/backups", "dashboard/dist")
_LINK: Final = re.compile(r"\]\(([^)\s#]+)[^)]*\)")
_CODE: Final = re.compile(r"`([\w.-]+(?:/[\w.-]+)*/?)`")

# What has no business in a text file of the tree, whatever it means there.
SLIPS: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("a conflict marker", re.compile(r"^(<{7}|>{7}|={7})( |$)", re.MULTILINE)),
    ("an unfinished note", re.compile(r"\b(TODO|FIXME|XXX)\b")),
    ("a package index", re.compile(r"--(extra-)?index-url|--find-links|--trusted-host")),
)
_MAY_CONTAIN_SLIPS: Final = frozenset(
    {"scripts/check.py", "tests/packaging/test_scripts.py", "tests/packaging/test_setup.py"}
)
# Longer than a line a person wrote: a generated file that was committed by mistake.
MAX_FILE_BYTES: Final = 2 * 1024 * 1024


def tracked_files() -> list[str]:
    """Paths of the tree's files, with `/`, from git: what is committed or about to be."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    return sorted(name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file())


def paths_in_markdown(text: str) -> Iterator[tuple[str, bool]]:
    """Every path a document names: (path, whether it is a link and so relative to the document)."""
    for match in _LINK.finditer(text):
        if "://" not in match[1] and not match[1].startswith(("mailto:", "<")):
            yield match[1], True
    for match in _CODE.finditer(text):
        head, slash, _ = match[1].partition("/")
        if slash and head in _TREE and not match[1].startswith(_NOT_IN_GIT):
            yield match[1], False


def check_documents(files: list[str]) -> list[str]:
    """Problems with paths that the documents name."""
    problems = []
    for name in files:
        if not name.endswith(".md"):
            continue
        for path, is_link in paths_in_markdown((ROOT / name).read_text(encoding="utf-8")):
            base = (ROOT / name).parent if is_link else ROOT
            if not (base / path).exists():
                problems.append(f"{name}: {path} does not exist")
    return problems


def check_slips(files: list[str]) -> list[str]:
    """Problems in the text of files: leftovers, this machine's own folders, paths out of the tree."""
    here = re.compile(
        "|".join(re.escape(str(folder)) for folder in (ROOT, Path.home()) if len(folder.parts) > 1)
    )
    patterns = (*SLIPS, ("a folder of this machine", here))
    problems = []
    for name in files:
        data = (ROOT / name).read_bytes()
        if len(data) > MAX_FILE_BYTES:
            problems.append(f"{name}: larger than {MAX_FILE_BYTES} bytes")
        elif b"\0" not in data and name not in _MAY_CONTAIN_SLIPS:
            text = data.decode("utf-8")
            problems += [
                f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {what}: {match[0].strip()}"
                for what, pattern in patterns
                for match in pattern.finditer(text)
            ]
    return problems


def _run_command(arguments: tuple[str, ...]) -> list[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return [] if done.returncode == 0 else done.stdout.splitlines() or [f"exit code {done.returncode}"]


def main() -> int:
    """Run every check; 0 when none found a problem."""
    files = tracked_files()
    checks: list[tuple[str, Callable[[], list[str]]]] = [
        *((title, lambda arguments=arguments: _run_command(arguments)) for title, arguments in COMMANDS),
        ("paths in the docs", lambda: check_documents(files)),
        ("slips", lambda: check_slips(files)),
    ]
    failed = 0
    for title, check in checks:
        started = time.monotonic()
        problems = check()
        failed += bool(problems)
        verdict = "FAILED" if problems else "ok"
        sys.stdout.write(f"{title}: {verdict} ({time.monotonic() - started:.1f} s)\n")
        sys.stdout.writelines(f"    {problem}\n" for problem in problems)
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
