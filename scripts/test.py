"""Everything that must hold: `python3 scripts/test.py`, from any folder. Installs what is missing first.

With arguments it sets up and hands them to pytest: `python3 scripts/test.py tests/unit/core -k paths`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from scripts import environment  # noqa: E402 - the folder must be on the path first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import List, Tuple

    # A title and a command.
    Step = Tuple[str, List[str]]

LOCKS = (environment.DEV_LOCK, environment.DEMO_LOCK)

# A virtual screen with a window manager, and the libraries Qt needs to draw on it (names of Debian 12).
SCREEN_PACKAGES = (
    "at-spi2-core",
    "dbus",
    "fonts-dejavu-core",
    "libdbus-1-3",
    "libegl1",
    "libfontconfig1",
    "libgl1",
    "libxcb-cursor0",
    "libxcb-icccm4",
    "libxcb-image0",
    "libxcb-keysyms1",
    "libxcb-randr0",
    "libxcb-render-util0",
    "libxcb-shape0",
    "libxcb-sync1",
    "libxcb-xfixes0",
    "libxcb-xkb1",
    "libxkbcommon-x11-0",
    "openbox",
    "xauth",
    "xdotool",
    "xvfb",
)

# PyInstaller reads libraries with objdump.
PACKAGES = ("binutils", *SCREEN_PACKAGES)

# Never imported on this system, so nothing can run it here.
_NOT_HERE = "llama_runner/system/" + ("_posix.py" if sys.platform == "win32" else "_windows.py")

CORE = "tests/unit/core"
PROCESSES = "tests/integration"
WINDOW = ("tests/ui", "tests/e2e")
_NOT_TIMING = ("-m", "not timing")

# From the tests of `core` alone; and of the whole package from everything that runs under measurement.
CORE_COVERAGE_PCT = 100
PACKAGE_COVERAGE_PCT = 90


def missing_packages(wanted: Sequence[str], status: str) -> list[str]:
    """Those of `wanted` that dpkg-query's lines of a package and its status do not call installed."""
    installed = {line.split()[0] for line in status.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]


def ensure_packages() -> int:
    """Install the Debian packages that are missing; 0, or 2 with a line that names them when it may not."""
    try:
        answer = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n", *PACKAGES],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            check=False,  # It fails when it knows one of them not at all, and still lists the others.
        )
    except FileNotFoundError:
        environment.say("This is not Debian: a virtual screen, where wanted, is yours to provide.")
        return 0
    missing = missing_packages(PACKAGES, answer.stdout)
    if not missing:
        return 0
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if sys.platform == "win32" or os.geteuid() != 0:
        environment.say("The tests need these Debian packages; install them with: sudo " + " ".join(install))
        return 2
    environment.say("Installing Debian packages: " + " ".join(missing))
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "-q", "update"], install):
        if subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=False).returncode != 0:
            environment.say(" ".join(command) + " failed; see above. Check the network, then run this again.")
            return 2
    return 0


def steps(python: str) -> list[list[Step]]:
    """What is run: groups in order, the steps of a group side by side. All of it runs, whatever fails."""
    return [
        [("format, lint, types, imports, generated files", [python, "scripts/check.py"])],
        [_measured(python, "core", [CORE])],
        [_combined(python, "core")],
        [_report(python, "core", "llama_runner/core/*", CORE_COVERAGE_PCT)],
        # Most of the tests wait for a process or a picture: side by side they take half as long.
        [
            _measured(python, "processes", [PROCESSES, *_NOT_TIMING]),
            _measured(python, "window", [*WINDOW, *_NOT_TIMING]),
            _measured(
                python, "rest", [*(f"--ignore={path}" for path in (CORE, PROCESSES, *WINDOW)), *_NOT_TIMING]
            ),
        ],
        # Tests that judge times run by themselves: measuring coverage slows down what they judge.
        [("tests that judge times", [python, "-m", "pytest", "-q", "-m", "timing"])],
        *([_combined(python, name)] for name in ("processes", "window", "rest")),
        [
            (
                "coverage of all",
                [
                    *(python, "-m", "coverage", "combine", "-q", "--keep"),
                    *_files("package", "core", "processes", "window", "rest"),
                ],
            )
        ],
        [_report(python, "package", "llama_runner/*", PACKAGE_COVERAGE_PCT)],
    ]


def _data_file(name: str) -> str:
    return ".coverage-data/" + name + "/data"


def _files(into: str, *names: str) -> list[str]:
    return ["--data-file=" + _data_file(into), *(_data_file(name) for name in names)]


def _measured(python: str, name: str, pytest_arguments: Sequence[str]) -> Step:
    run = [python, "-m", "coverage", "run", "--data-file=" + _data_file(name), "-m", "pytest", "-q"]
    # Runs side by side would overwrite each other's cache.
    return "tests: " + name, [*run, "-p", "no:cacheprovider", *pytest_arguments]


def _combined(python: str, name: str) -> Step:
    combine = [python, "-m", "coverage", "combine", "-q", "--data-file=" + _data_file(name)]
    return "coverage of " + name, [*combine, str(Path(_data_file(name)).parent)]


def _report(python: str, name: str, include: str, percent: int) -> Step:
    report = [python, "-m", "coverage", "report", "--data-file=" + _data_file(name)]
    return (
        f"branch coverage of {include}: at least {percent} %",
        [*report, "--include=" + include, "--omit=" + _NOT_HERE, f"--fail-under={percent}"],
    )


def run_steps(groups: Sequence[Sequence[Step]]) -> int:
    """Run them all and say at the end which failed; 0 when none did."""
    results = []
    for group in groups:
        results += _run_side_by_side(group)
    environment.say("")
    for title, returncode, elapsed_s in results:
        environment.say(f"{'ok    ' if returncode == 0 else 'FAILED'} {elapsed_s:6.1f} s  {title}")
    return 0 if all(returncode == 0 for _, returncode, _ in results) else 1


def _run_side_by_side(group: Sequence[Step]) -> list[tuple[str, int, float]]:
    """What the first says is seen as it comes, what the others say when they are done."""
    environment.say("\n=== " + ", ".join(title for title, _ in group))
    started = time.monotonic()
    running = []
    for place, (_, command) in enumerate(group):
        said = tempfile.TemporaryFile() if place else None  # noqa: SIM115 - closed below
        running.append((said, subprocess.Popen(command, cwd=str(ROOT), stdout=said, stderr=said)))
    results = []
    for (title, _), (said, process) in zip(group, running):
        returncode = process.wait()
        results.append((title, returncode, time.monotonic() - started))
        if said is not None:
            environment.say("\n=== " + title)
            said.seek(0)
            environment.say(said.read().decode("utf-8", errors="replace"))
            said.close()
    return results


def main(arguments: Sequence[str]) -> int:
    """Set up, then check and test everything, or run pytest with `arguments`."""
    try:
        status = ensure_packages()
        if status != 0:
            return status
        python = str(environment.ensure(ROOT, LOCKS))
    except environment.SetupFailed as error:
        environment.say(str(error))
        return 1
    os.environ.update(environment.clean_environment(os.environ))
    if arguments:
        return subprocess.run([python, "-m", "pytest", *arguments], cwd=str(ROOT), check=False).returncode
    return run_steps(steps(python))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
