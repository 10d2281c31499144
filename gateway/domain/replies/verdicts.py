"""What an answer turned out to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from gateway.domain.errors import GatewayError


class Flaw(StrEnum):
    """Why an attempt failed; a label for metrics and for the book of faults."""

    UNREADABLE = "unreadable"
    EMPTY = "empty"
    INCOMPLETE = "incomplete"
    WRONG_MODEL = "wrong_model"
    WRONG_SIZE = "wrong_size"
    WRONG_FORMAT = "wrong_format"
    ERROR_STATUS = "error_status"
    DEFECT = "defect"
    OUT_OF_MEMORY = "out_of_memory"
    NO_ANSWER = "no_answer"


@dataclass(frozen=True, slots=True)
class Delivered:
    """Good pictures. `info` is the backend's own, parsed; `interrupted`: fewer than asked, at the caller's wish.

    `model_is_certain` is False when only `GET /checkpoint`, asked while the slot is held, can tell which checkpoint
    made them. `adjustments` are in the form of `Shaped.adjustments`.
    """

    images: tuple[msgspec.Raw, ...]
    info: Mapping[str, Any]
    html_info: str = ""
    size: tuple[int, int] | None = None
    interrupted: bool = False
    model_is_certain: bool = True
    adjustments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CallersFault:
    """The backend refused what the caller asked for; `error` is what the caller gets. Never counted, never retried."""

    error: GatewayError


@dataclass(frozen=True, slots=True)
class SetAside:
    """The operator's fault or ours: the backend gets nothing until someone looks. The job is retried elsewhere."""

    reason: str


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt that may be repeated elsewhere. `said`: what the backend said, without paths and addresses.

    `signature` is equal for failures that are alike.
    """

    flaw: Flaw
    said: str
    signature: str = ""


Verdict = Delivered | CallersFault | SetAside | AttemptFailed
