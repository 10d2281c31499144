"""Recordings of a real SD.Next 058a7f0cf, reduced to facts, and the same reduction for a live reply.

`recordings.json` maps a recording's name to its request and the facts of its reply. Both sides go through `facts_of`,
so that what is compared is what a client could notice: status, headers that matter, shape and meaning. Seeds, ids,
times and the pixels themselves are replaced by what must hold of them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from gateway.simulator.sdnext.facts import load_facts

_FACTS = load_facts()
FILE = Path(__file__).with_name("recordings.json")
_TRUNCATED = re.compile(r"^<TRUNCATED string len=\d+ starts=.(?P<head>.{4})", re.DOTALL)
_FORMATS = {"/9j/": "jpeg", "iVBO": "png"}
# Lists of which only the shape of the items is kept, and why.
_KEYS_ONLY = {
    "prompt-styles": "288 styles with pictures in them; the simulated server has 24 without",
    "extra-networks": "the same styles again",
    "script-info": "281 kB of a user interface's labels; the simulated scripts have no arguments",
    "history": "ids and times of one afternoon",
    "latents": "times of one afternoon",
}


def load_recordings() -> dict[str, Any]:
    """Name -> {"request": ..., "facts": ...}."""
    recordings: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return recordings


def facts_of(path: str, status: int, headers: dict[str, str], body: Any) -> dict[str, Any]:
    """The facts of one reply; `body` is parsed JSON, text, or None."""
    kept = {name: headers[name].split(";")[0] for name in ("content-type", "allow", "vary") if name in headers}
    return {
        "status": status,
        "headers": kept | {"x-process-time": "x-process-time" in headers},
        "body": _body_facts(path.split("?")[0].rsplit("/", 1)[-1], body),
    }


def _body_facts(route: str, body: Any) -> Any:
    if isinstance(body, str):
        return "text"
    if isinstance(body, list):
        return _list_facts(route, body)
    if isinstance(body, dict):
        return _object_facts(route, body)
    return body


def _object_facts(route: str, body: dict[str, Any]) -> dict[str, Any]:
    if "images" in body and "parameters" in body:
        return _generation_facts(body)
    if "html_info" in body:
        return {name: _image_facts(value) for name, value in body.items()}
    if route in ("status", "progress"):
        return _state_facts(body)
    return {name: _error_facts(value) for name, value in body.items()}


def _list_facts(route: str, items: list[Any]) -> Any:
    if route in _KEYS_ONLY:
        return sorted({key for item in items if isinstance(item, dict) for key in item})
    return items


def _generation_facts(body: dict[str, Any]) -> dict[str, Any]:
    info = json.loads(body["info"]) if body["info"] else ""
    return {
        "images": [_image_facts(image) for image in body["images"]],
        "parameters": _echo_facts(body["parameters"]),
        "info": _info_facts(info, body["parameters"]) if info else "",
    }


def _info_facts(info: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Seeds become their distance from the first, unless the request chose them."""
    first = info["seed"]
    facts = dict(info)
    if asked["seed"] == -1:
        facts["seed"], facts["all_seeds"] = "random", [seed - first for seed in info["all_seeds"]]
    facts["subseed"], facts["all_subseeds"] = "random", [seed - info["subseed"] for seed in info["all_subseeds"]]
    facts["job_timestamp"] = bool(re.fullmatch(r"\d{14}", info["job_timestamp"]))
    facts["infotexts"] = [_text_facts(text, first, asked["seed"] == -1) for text in info["infotexts"]]
    return facts


def _text_facts(text: str, seed: int, is_random: bool) -> str:
    text = re.sub(r"Init image hash: [0-9a-f]{8}", "Init image hash: *", text)
    return re.sub(r"Seed: (\d+)", lambda m: f"Seed: +{int(m[1]) - seed}", text) if is_random else text


def _image_facts(value: Any) -> Any:
    if isinstance(value, list):
        return [_image_facts(each) for each in value]
    if not isinstance(value, str):
        return value
    match = _TRUNCATED.match(value)
    return _FORMATS.get(match["head"] if match else value[:4], value)


def _echo_facts(parameters: dict[str, Any]) -> dict[str, Any]:
    """How many fields are echoed, and which of them differ from the request model's defaults."""
    kind = "img2img" if "include_init_images" in parameters else "txt2img"
    defaults = {name: default for name, (_, default) in _FACTS.fields[kind].items()}
    unlike = {name: value for name, value in parameters.items() if name not in defaults or defaults[name] != value}
    shown = {name: "images" if name == "init_images" and value else value for name, value in unlike.items()}
    return {"fields": len(parameters), "order": list(parameters) == list(defaults), **shown}


def _state_facts(body: dict[str, Any]) -> dict[str, Any]:
    """Ids, times and counters become whether they are set."""
    loose = {"id", "timestamp", "job_timestamp", "total", "uptime", "elapsed", "eta", "eta_relative", "current_image"}
    return {
        name: _state_facts(value) if isinstance(value, dict) else (value is not None if name in loose else value)
        for name, value in body.items()
    }


def _error_facts(value: Any) -> Any:
    """Pydantic's long listing is only compared by its beginning."""
    if isinstance(value, str):
        match = re.match(r"(<TRUNCATED string len=\d+ starts=.)?(23 validation errors:)", value)
        return match[2] if match else value
    return value
