"""Everything that can go wrong, as facts with their data, ordered by whose fault it is.

The HTTP status of each stands in `gateway/api/errors.py` and nowhere else. `str(error)` is the one sentence a caller
reads: it names the cause and the way out, and holds no path, address or credential.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class GatewayError(Exception):
    """Any refusal or failure the gateway can answer with; `str()` of it is a sentence for the caller.

    `job_id` names the job it ended, "" when none was admitted.
    """

    job_id = ""


# --- the caller's fault ------------------------------------------------------------------------


class CallerError(GatewayError):
    """The same call will fail again until the caller changes it."""


class Unauthenticated(CallerError):
    """No credential, or one that belongs to no key."""


class Forbidden(CallerError):
    """A known key that may not do this: expired, revoked, restricted, or not granted what it names."""


class NotGranted(Forbidden):
    """The key may not use this model, upscaler or LoRA."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f'This key may not use the {kind} "{name}". The lists show what it may use.')


class InvalidRequest(CallerError):
    """A body that cannot be used. `field` is the parameter at fault, "" for the body as a whole.

    `others` are further faults of the same body, each with its field.
    """

    def __init__(self, sentence: str, field: str = "", others: Sequence[InvalidRequest] = ()) -> None:
        self.field = field
        self.others = tuple(others)
        super().__init__(" ".join((sentence, *(str(other) for other in self.others))))
        self.sentence = sentence


def without_frames(error: E) -> E:
    """The error, and those that led to it, without the frames they came through.

    An error that is kept where one of its frames can reach it is a cycle: all that these frames hold, a body of 32 MB
    too, stays until the collector runs, which is seldom here. So whoever keeps an error keeps it like this.
    """
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left:
        one = left.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            left += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return error


def refuse_all(refusals: Sequence[InvalidRequest]) -> None:
    """Raise one InvalidRequest that names every fault; nothing happens when there is none."""
    if refusals:
        raise InvalidRequest(refusals[0].sentence, refusals[0].field, refusals[1:])


class UnknownModel(InvalidRequest):
    """The named checkpoint is not in the pool, is named ambiguously, or no checkpoint was named."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, field="sd_model_checkpoint")


class NeverRunnable(InvalidRequest):
    """No backend of the pool, up or down, has all that this request names."""


class SamplerNotFound(CallerError):
    """The sampler is in no list; clients compare this sentence, so it never changes."""

    def __init__(self) -> None:
        super().__init__("Sampler not found")


class BodyTooLarge(CallerError):
    """Body, image bytes or pixels above the limit."""


class BodyEncoded(CallerError):
    """The body is compressed, which no call needs: pictures do not shrink."""


class CallTooSlow(CallerError):
    """Headers or body came slower than the gateway waits for."""


class HeadersTooLarge(CallerError):
    """The request line and the headers together are above the limit."""


class NotHttp(CallerError):
    """What came over the connection is no HTTP request."""


class RouteNotFound(CallerError):
    """No such route; the body is exactly what a real server says."""

    def __init__(self) -> None:
        super().__init__("Not Found")


# --- capacity ------------------------------------------------------------------------------------


class CapacityError(GatewayError):
    """The call is fine, but not now. `retry_after_s` is the true wait in seconds, > 0."""

    def __init__(self, sentence: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(sentence)


class RateLimited(CapacityError):
    """Too many requests a minute for this tenant or key."""


class TooManyCalls(CapacityError):
    """A key or an address calls this process far more often than any client needs."""


class QuotaExceeded(CapacityError):
    """The day's or month's images or GPU-seconds are used up; waits until the window (UTC) ends."""


class TooManyOutstanding(CapacityError):
    """The tenant already has as many waiting and running jobs as its plan allows."""


class NoCapacity(CapacityError):
    """No backend became free, or none is up, before the deadline."""


class Draining(CapacityError):
    """This process is shutting down."""


# --- the backends' fault --------------------------------------------------------------------------


class GenerationFailed(GatewayError):
    """The backend failed and so did the retry; the sentence says what it said, without paths."""


class BackendLacks(GenerationFailed):
    """The backend that was chosen no longer has what the job needs; nothing was sent, another one may serve it."""

    def __init__(self, backend: str, kind: str, name: str) -> None:
        self.backend, self.kind, self.name = backend, kind, name
        super().__init__(f'The {kind} "{name}" just disappeared from the server that was to use it. Try again.')


class AttemptFailed(GatewayError):
    """One attempt on one backend failed. Never reaches the caller as such: it is retried, or becomes GenerationFailed.

    The sentence says what the backend said, in words that may be shown. `flaw` is the kind of failure
    (`replies.Flaw`, "" when there was no answer), `signature` is equal for failures that are alike, and
    `is_load_failure` says that the checkpoint could not be loaded.
    """

    def __init__(self, sentence: str, flaw: str = "", signature: str = "", *, is_load_failure: bool = False) -> None:
        self.flaw, self.signature, self.is_load_failure = flaw, signature, is_load_failure
        super().__init__(sentence)


class BackendUnreachable(AttemptFailed):
    """The connection was refused or could not be made: the backend has certainly not begun."""


class BackendUnfit(AttemptFailed):
    """Its managed options are not right, as after its start: that says nothing about the job."""


class BackendBroke(AttemptFailed):
    """The connection ended before an answer was complete; the backend may have done the work."""


class BackendAnswerTooLarge(AttemptFailed):
    """The answer is larger than it can honestly be; it was not read on, and its connection was closed."""


class BackendTimedOut(AttemptFailed):
    """The run limit passed without an answer; the backend may still be at work."""


# --- a store's fault ------------------------------------------------------------------------------


class StoreUnavailable(GatewayError):
    """Redis or the database cannot be reached; nothing was admitted."""

    retry_after_s = 1.0
