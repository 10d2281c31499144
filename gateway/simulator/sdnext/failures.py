"""The ways SD.Next says no, as facts with their data; `app` turns each into the reply it was observed as.

Four shapes: pydantic's `{"detail": [...]}` and the router's `{"detail": "..."}` come from FastAPI itself; a refusal is
`{"error": "HTTPException", "code", "detail", "body": "", "errors"}`; a crash is the same with the exception's class and
detail empty; and one early answer is just `{"error": "..."}`.
"""

from __future__ import annotations

from typing import Any


class SimulatedFailure(Exception):
    """Base of all: a reply with a status and a JSON body."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(body)
        self.status = status
        self.body = body


class Refused(SimulatedFailure):
    """The server raised an HTTPException on purpose."""

    def __init__(self, status: int, detail: str) -> None:
        error = {
            "error": "HTTPException",
            "code": status,
            "detail": detail,
            "body": "",
            "errors": f"{status}: {detail}",
        }
        super().__init__(status, error)


class RateLimited(Refused):
    """The address asked too often; raised after the work was done. Carries no `x-process-time`."""

    def __init__(self, address: str, path: str) -> None:
        super().__init__(429, f"{address}:{path}: rate limit exceeded")


class Crashed(SimulatedFailure):
    """An exception nobody caught: always 500, and the reply lacks `x-process-time`."""

    def __init__(self, error: str, message: str, body: object = "") -> None:
        super().__init__(500, {"error": error, "code": 500, "detail": "", "body": body, "errors": message})


class EarlyAnswer(SimulatedFailure):
    """The bare `{"error": ...}` of an img2img without init images."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(status, {"error": error})


def invalid_image() -> Refused:
    """Base64 that is none, bytes that are no image, a URL, a file path: all the same answer."""
    return Refused(500, "Invalid encoded image")


def model_search_offline(name: str) -> Crashed:
    """A name with a slash that is not listed makes SD.Next search Hugging Face; offline that is a crash."""
    search = name.replace("/", "%2F").replace(" ", "+")
    url = f"https://huggingface.co/api/models?filter=diffusers&search={search}&sort=downloads&limit=20&full=true"
    return Crashed(
        "OfflineModeIsEnabled",
        f"Cannot reach {url}: offline mode is enabled. "
        "To disable it, please unset the `HF_HUB_OFFLINE` environment variable.",
    )
