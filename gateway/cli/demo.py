"""`gateway demo`: a working gateway on an empty machine, with two simulated SD.Next servers; what `make run` starts."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import socket
import sys
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from gateway.cli.desk import config_of
from gateway.domain.keys import has_key_form
from gateway.launcher import ExtraChild, launch, say
from gateway.settings import BackendSettings, Settings, load_settings

_DATA = Path(".run")
_KEYS = "demo-keys"
# Different sets with one model in common: a job for the first or the last can run in one place only.
_SIMULATED = {"sim-1": ("aurora-xl", "harbor-v2"), "sim-2": ("harbor-v2", "meadow-xl")}
_SHARED = "harbor-v2"
_SIMULATED_EXTRAS = (
    "--seconds-per-megapixel-step",
    "0.1",
    "--upscalers",
    "fixed",
    "--upscaler-weights",
    "ESRGAN 4x GAN",
    "--loras",
    "ink-lines,styles/dawn",
)
_ASK_WITHIN_S = 5.0
_ASK_AT_ONCE = 16
_MOST_BYTES = 32_000_000


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo ready to start: `models` as far as known before anything runs, empty if not at all."""

    settings: Settings
    extra_children: tuple[ExtraChild, ...]
    models: tuple[str, ...]


def demo(
    context: typer.Context,
    port: Annotated[int | None, typer.Option(help="The TCP port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="How many gateway processes share the port.")] = None,
) -> None:
    """A gateway to try: embedded Valkey, SQLite file in ./.run, two simulated servers, two keys, a curl line.

    With GATEWAY_BACKENDS the pool is those servers instead of simulated ones.
    """
    prepared = prepare(load_settings(config_of(context), port=port, workers=workers))

    def tell(address: str) -> None:
        sys.stdout.write(welcome(prepared, address))
        sys.stdout.flush()

    raise typer.Exit(launch(prepared.settings, prepared.extra_children, when_ready=tell))


def prepare(given: Settings) -> Demo:
    """The settings of the demo, with its own defaults where the operator chose nothing, and what runs beside it."""
    chosen = given.model_fields_set
    data_dir = given.data_dir if "data_dir" in chosen else _DATA.resolve()
    first, second = _kept_keys(data_dir)
    settings = given.changed(
        data_dir=data_dir,
        drain_delay_s=given.drain_delay_s if "drain_delay_s" in chosen else 0.0,
        log_format=given.log_format if "log_format" in chosen else "console",
        demo_key=given.demo_key if given.demo_key.get_secret_value() else SecretStr(first),
        demo_key_2=given.demo_key_2 if given.demo_key_2.get_secret_value() else SecretStr(second),
    )
    if settings.backends:
        models = _models_of_all(settings.backends)
        return Demo(settings.changed(demo_model_2=settings.demo_model_2 or next(iter(models), "")), (), models)
    ports = dict(zip(_SIMULATED, _free_ports(len(_SIMULATED)), strict=True))
    children = tuple(
        ExtraChild(
            name,
            ("sim-backend", "--port", str(ports[name]), "--models", ",".join(models), *_SIMULATED_EXTRAS),
            ports[name],
        )
        for name, models in _SIMULATED.items()
    )
    backends = tuple(BackendSettings(name=name, url=f"http://127.0.0.1:{port}") for name, port in ports.items())
    settings = settings.changed(
        backends=backends,
        default_model=settings.default_model or _SHARED,
        demo_model_2=settings.demo_model_2 or _SHARED,
    )
    return Demo(settings, children, tuple(sorted({model for models in _SIMULATED.values() for model in models})))


def welcome(prepared: Demo, address: str) -> str:
    """What the demo prints once it serves: where, with which keys, and a line that writes a picture."""
    settings = prepared.settings
    key, second = settings.demo_key.get_secret_value(), settings.demo_key_2.get_secret_value()
    model = settings.demo_model_2
    call = json.dumps({"prompt": "a lighthouse at dawn", "steps": 20, "width": 512, "height": 512}
                      | ({"sd_model_checkpoint": model} if model else {}))  # fmt: skip
    write = (
        'import base64,json,sys; open("picture.png","wb").write(base64.b64decode(json.load(sys.stdin)["images"][0]))'
    )
    return f"""
The gateway serves at {address} (SD.Next's paths under /sdapi/v1, the same under /v1). Ctrl-C ends it.

  key {key}  may use every model: {", ".join(prepared.models) or "GET /sdapi/v1/sd-models lists them"}
  key {second}  may use only: {model or "nothing, as no backend named a model; set GATEWAY_DEMO_MODEL_2"}

A picture, into picture.png:

  curl -s {address}/sdapi/v1/txt2img -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\
    -d '{call}' | python3 -c '{write}'

"""


def _kept_keys(data_dir: Path) -> tuple[str, str]:
    """The keys this folder's demo drew at its first start, so that what was copied from its lines goes on working.

    New ones where they cannot be read; where they cannot be kept either, the start that follows says why.
    """
    file = data_dir / _KEYS
    try:
        first, second = file.read_text(encoding="ascii").split()
        if has_key_form(first) and has_key_form(second) and first != second:
            return first, second
    except (OSError, ValueError):
        pass
    first, second = (f"sk-{secrets.token_urlsafe(20)}" for _ in range(2))
    with contextlib.suppress(OSError):
        data_dir.mkdir(parents=True, exist_ok=True)
        with open(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="ascii") as kept:
            kept.write(f"{first}\n{second}\n")
    return first, second


def _free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 free a moment ago; all are held until all are found, so that they differ."""
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()


def _models_of_all(backends: Sequence[BackendSettings]) -> tuple[str, ...]:
    """The models of all real servers, each once, in the order of the servers; all are asked at the same time."""
    with ThreadPoolExecutor(max_workers=_ASK_AT_ONCE) as threads:
        return tuple(dict.fromkeys(name for names in threads.map(_models_of, backends) for name in names))


def _models_of(backend: BackendSettings) -> tuple[str, ...]:
    """The names of a real server's models in the gateway's form (no folder, no extension); empty if it cannot tell."""
    request = urllib.request.Request(f"{backend.url}/sdapi/v1/sd-models")  # noqa: S310 - http(s), settings checked it
    if backend.username:
        credentials = f"{backend.username}:{backend.password.get_secret_value()}".encode()
        request.add_header("Authorization", f"Basic {base64.b64encode(credentials).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=_ASK_WITHIN_S) as answer:  # noqa: S310
            items: list[dict[str, Any]] = json.loads(answer.read(_MOST_BYTES))
        names = [str(item["model_name"]) for item in items]
    except (OSError, HTTPException, ValueError, KeyError, TypeError, RecursionError) as error:
        say(f"{backend.url} did not list its models ({error}): they are not among those named below")
        return ()
    return tuple(Path(name.rpartition("/")[2]).stem if name.endswith((".safetensors", ".ckpt")) else
                 name.rpartition("/")[2] for name in names)  # fmt: skip
