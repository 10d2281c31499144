"""`make bench`: the whole run. QUICK=1 is the speed table alone, in one short round; RECORD=1 writes it down.

PEERS=litellm adds LiteLLM, from the Python that LITELLM_PYTHON names (a virtual environment of its own).
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bench import growth, memory, record, speed

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, print, keep."""
    flags = {name: os.environ.get(name, "") for name in ("QUICK", "RECORD", "PEERS", "LITELLM_PYTHON", "ONLY")}  # noqa: TID251
    if problem := unusable(flags):
        sys.exit(f"make bench: {problem}")
    measure(flags)


def measure(flags: Mapping[str, str]) -> None:
    """The sections that are wanted."""
    is_quick = bool(flags["QUICK"])
    python = (flags["LITELLM_PYTHON"] or "python3") if "litellm" in flags["PEERS"] else ""
    wanted = flags["ONLY"].split(",") if flags["ONLY"] else ["speed"] if is_quick else ["speed", "memory", "growth"]
    began = time.monotonic()
    RESULTS.mkdir(exist_ok=True)
    sections: dict[str, list[str]] = {}
    result: dict[str, object] = {"at": time.strftime("%Y-%m-%d %H:%M"), "versions": versions(python)}
    with tempfile.TemporaryDirectory(prefix="b") as folder:
        home = Path(folder)
        home.chmod(0o755)
        if "speed" in wanted:
            rounds, seconds = (1, 1.0) if is_quick else (3, 2.0)
            figures = speed.run(
                home, rounds=rounds, seconds=seconds, litellm_python=python, say=_progress, is_quick=is_quick
            )
            sections["Speed"] = [*speed.table(figures), "", *speed.verdicts(figures)]
            result["speed"] = speed.as_json(figures)
        if "memory" in wanted:
            found = memory.run(home, say=_progress, is_quick=is_quick)
            sections["Memory"], result["memory"] = memory.table(found), found
        if "growth" in wanted:
            points = growth.run(home, say=_progress, is_quick=is_quick)
            sections["Growth"], result["growth"] = growth.table(points), growth.as_json(points)
            (RESULTS / "growth.svg").write_text(growth.plot(points))
    for name, lines in sections.items():
        print(f"\n## {name}\n", *lines, sep="\n")
    print(f"\n{time.monotonic() - began:.0f} s in all")
    (RESULTS / "latest.json").write_text(json.dumps(result, indent=1))
    if flags["RECORD"]:
        record.write(sections, result, _command(flags), RESULTS / "growth.svg")


SECTIONS = ("speed", "memory", "growth")


def unusable(flags: Mapping[str, str]) -> str:
    """Why nothing can be measured with these, and what to do; "" if it can."""
    for name in ("nginx", "wrk"):
        if shutil.which(name) is None:
            return f"it needs {name}: apt-get install nginx-light wrk."
    if unknown := set(filter(None, flags["ONLY"].split(","))) - set(SECTIONS):
        return f"ONLY has no {', '.join(sorted(unknown))}; it has {', '.join(SECTIONS)}, with commas between."
    if flags["PEERS"] not in ("", "litellm"):
        return f"PEERS={flags['PEERS']} is not known; litellm is."
    program = Path(flags["LITELLM_PYTHON"] or "python3").parent / "litellm"
    if flags["PEERS"] and shutil.which(str(program)) is None:
        return (
            "PEERS=litellm needs LiteLLM in a virtual environment of its own: python3 -m venv peer && "
            "peer/bin/pip install 'litellm[proxy]', then LITELLM_PYTHON=peer/bin/python."
        )
    return ""


def versions(litellm_python: str) -> dict[str, str]:
    """What was measured with."""
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    found = {
        "python": platform.python_version(),
        "nginx": nginx.strip().rpartition("/")[2],
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "commit": _output(["git", "rev-parse", "--short", "HEAD"]),
    }
    for package in ("aiohttp", "fastapi", "redis", "starlette", "uvicorn", "uvloop"):
        found[package] = _version_of(sys.executable, package)
    if litellm_python:
        found["litellm"] = _version_of(litellm_python, "litellm")
    return found


def _version_of(python: str, package: str) -> str:
    return _output([python, "-c", f"import importlib.metadata as m; print(m.version({package!r}))"])


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _command(flags: Mapping[str, str]) -> str:
    shown = {name: value for name, value in flags.items() if value and name not in ("LITELLM_PYTHON", "RECORD")}
    return " ".join(["make bench", *(f"{name}={value}" for name, value in shown.items())])


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
