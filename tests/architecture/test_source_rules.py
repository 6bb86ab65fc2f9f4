"""Rules about the source that no linter knows: what may be called or imported where."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "llama_runner"

# Dotted names that nothing may call, with why.
NEVER_CALLED = {
    "eval": "runs text as code",
    "exec": "runs text as code",
    "pickle.load": "runs code from data",
    "pickle.loads": "runs code from data",
    "marshal.loads": "runs code from data",
    "yaml.load": "runs code from data",
    "jinja2.Environment": "templates of model files are never rendered here",
    "os.system": "starts a shell",
    "os.popen": "starts a shell",
    "asyncio.create_subprocess_shell": "starts a shell",
    "os.path.isabs": "means something else on another Python; resolve and compare",
    "time.sleep": "blocks the loop, and is no synchronisation",
    "asyncio.create_task": "a task needs an owner",
    "asyncio.ensure_future": "a task needs an owner",
    "QApplication.processEvents": "runs the loop inside itself",
    "print": "results go through cli.render, the rest is logged",
}

# Dotted names and the only places below llama_runner/ that may call them.
CALLED_ONLY_IN = {
    "httpx.AsyncClient": ("net/",),
    "aiohttp.ClientSession": ("net/",),
    "httpx_aiohttp.HttpxAiohttpClient": ("net/",),
    "asyncio.open_connection": ("net/",),
    "socket.create_connection": ("net/",),
    "asyncio.create_subprocess_exec": ("system/",),
    "subprocess.Popen": ("system/",),
    "subprocess.run": ("system/",),
    "os.startfile": ("system/",),
    "os.kill": ("system/",),
    "os.killpg": ("system/",),
    "os.setsid": ("system/",),
    "os.fork": ("system/",),
    "os.geteuid": ("system/",),
    "signal.signal": ("system/", "stress/worker.py"),
    "sys.exit": ("__main__.py",),
}

# Modules that exist on one system only, or belong to one layer.
IMPORTED_ONLY_IN = {
    "PySide6": ("ui/", "selftest.py"),
    "qasync": ("ui/",),
    "pyqtgraph": ("ui/",),
    "qtawesome": ("ui/",),
    "fcntl": ("system/",),
    "msvcrt": ("system/",),
    "pwd": ("system/",),
    "resource": ("system/", "stress/"),
    "winreg": ("system/",),
    "pynvml": ("telemetry/",),
    "uvicorn": ("service/",),
    "wsproto": ("service/",),
    "uvloop": ("net/", "stress/", "service/"),
}

# Half of all modules are shorter than 150 lines; a tab with its states is the longest thing there is.
MAX_MODULE_LINES = 450


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def calls(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Dotted names that are called, with their lines; `x.y()` on a local value counts by its spelling."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield ast.unparse(node.func), node.lineno


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Top-level names of imported modules, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], node.lineno


def _forbidden(source: str, where: str) -> list[str]:
    tree = ast.parse(source)
    found = [
        f"{where}:{line}: {name}() {NEVER_CALLED[name]}" for name, line in calls(tree) if name in NEVER_CALLED
    ]
    found += [
        f"{where}:{line}: {name}() belongs in {' or '.join(CALLED_ONLY_IN[name])}"
        for name, line in calls(tree)
        if name in CALLED_ONLY_IN and not where.startswith(CALLED_ONLY_IN[name])
    ]
    found += [
        f"{where}:{line}: {name} belongs in {' or '.join(IMPORTED_ONLY_IN[name])}"
        for name, line in imports(tree)
        if name in IMPORTED_ONLY_IN and not where.startswith(IMPORTED_ONLY_IN[name])
    ]
    return found


def test_nothing_is_called_or_imported_where_it_must_not_be() -> None:
    problems = [
        problem for path in modules() for problem in _forbidden(path.read_text(encoding="utf-8"), place(path))
    ]

    assert problems == []


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("import httpx\nhttpx.AsyncClient()", "chat/manager.py"),
        ("from PySide6.QtCore import QObject", "chat/manager.py"),
        ("import time\ntime.sleep(1)", "ui/app.py"),
        ("import asyncio\nasyncio.create_task(x())", "service/app.py"),
        ("import fcntl", "runtime/manager.py"),
        ("eval('1')", "core/x.py"),
    ],
)
def test_the_rules_see_what_they_forbid(source: str, where: str) -> None:
    assert len(_forbidden(source, where)) == 1


def test_only_one_module_opens_links_outside() -> None:
    """I19: one allow-list, in the one place every link goes through."""
    opening = {
        place(path)
        for path in modules()
        for name, _ in calls(tree_of(path))
        if name in ("QDesktopServices.openUrl", "webbrowser.open")
    }

    assert len(opening) <= 1


def test_no_except_clause_swallows_an_error_silently() -> None:
    silent = [
        f"{place(path)}:{node.lineno}"
        for path in modules()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler)
        and all(isinstance(statement, ast.Pass) for statement in node.body)
    ]

    assert silent == []


def test_no_module_is_longer_than_one_can_keep_in_mind() -> None:
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}

    assert {name: lines for name, lines in lengths.items() if lines > MAX_MODULE_LINES} == {}


def test_the_layers_of_the_architecture_hold() -> None:
    """The import contracts of pyproject.toml."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert done.returncode == 0, done.stdout
