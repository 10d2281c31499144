"""From an error to an answer: the only place where HTTP status codes of errors are written.

The body is one shape for every error, so that each of the clients finds its sentence where it looks for it: `detail`,
`error`, `errors` or `message`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.api.limits import charge_refused, count_stranger
from gateway.api.rates import refused_rate_headers
from gateway.domain import errors, managed
from gateway.domain.keys import Caller


class CallerLeft(Exception):
    """The caller closed the connection before the answer was there; there is nobody to tell.

    Its cause, where it has one, is what went wrong besides while the call was given up.
    """


REALM = 'Basic realm="SD.Next gateway, key as password"'

# Looked up along the class's ancestors, so that a new fact has the status of its kind until it gets a row of its own.
STATUS: dict[type[errors.GatewayError], int] = {
    errors.GatewayError: 500,
    errors.CallerError: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotGranted: 403,
    errors.InvalidRequest: 422,
    errors.UnknownModel: 422,
    errors.NeverRunnable: 422,
    managed.UnknownName: 404,
    managed.NameTaken: 409,
    managed.EditConflict: 409,
    errors.SamplerNotFound: 404,
    errors.BodyTooLarge: 413,
    errors.BodyEncoded: 415,
    errors.CallTooSlow: 408,
    errors.HeadersTooLarge: 431,
    errors.NotHttp: 400,
    errors.RouteNotFound: 404,
    errors.CapacityError: 503,
    errors.RateLimited: 429,
    errors.TooManyCalls: 429,
    errors.QuotaExceeded: 429,
    errors.TooManyOutstanding: 429,
    errors.NoCapacity: 503,
    errors.Draining: 503,
    errors.GenerationFailed: 500,
    errors.BackendLacks: 500,
    errors.AttemptFailed: 500,
    errors.BackendUnreachable: 500,
    errors.BackendBroke: 500,
    errors.BackendAnswerTooLarge: 500,
    errors.BackendUnfit: 500,
    errors.BackendTimedOut: 500,
    errors.StoreUnavailable: 503,
}


def status_of(error: errors.GatewayError) -> int:
    """The HTTP status of an error, by the nearest of its ancestors that has a row."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def error_body(name: str, status: int, sentence: str, details: object = None) -> bytes:
    """The one error body, as JSON; `details` stands under `errors` where there is more to say than the sentence."""
    return msgspec.json.encode(
        {
            "error": name,
            "code": status,
            "detail": sentence,
            "body": "",
            "errors": sentence if details is None else details,
            "message": sentence,
        }
    )


def answer_to(error: errors.GatewayError) -> Response:
    """The answer that tells the caller of `error`."""
    status = status_of(error)
    headers = {}
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = REALM
    if error.job_id:
        headers["X-Job-Id"] = error.job_id
    retry_after_s = getattr(error, "retry_after_s", 0.0)
    if retry_after_s > 0:
        headers["Retry-After"] = str(math.ceil(retry_after_s))
    if isinstance(error, errors.RouteNotFound):  # clients compare this body: it says "there is no such API here"
        return json_response(b'{"detail":"Not Found"}', status)
    faults = (error, *error.others) if isinstance(error, errors.InvalidRequest) and error.field else ()
    details = [{"loc": ["body", fault.field], "msg": fault.sentence} for fault in faults] or None
    return json_response(error_body(type(error).__name__, status, str(error), details), status, headers)


def json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer from JSON that is already bytes."""
    return Response(body, status, headers, media_type="application/json")


async def on_gateway_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for everything in the error tree."""
    assert isinstance(error, errors.GatewayError)  # noqa: S101 - registered for that type alone
    answer = answer_to(error)
    request.state.error = errors.without_frames(error)
    request.state.reason = type(error).__name__  # a label of the metrics
    caller: Caller | None = getattr(request.state, "caller", None)
    if isinstance(error, errors.CallerError):
        charge_refused(request)
    if (
        caller is not None
        and isinstance(error, errors.CapacityError)
        and not isinstance(error, errors.TooManyCalls)  # the headers tell of the rate of pictures
        and answer.status_code == STATUS[errors.RateLimited]
    ):
        answer.headers.update(refused_rate_headers(caller.plan, error))
    return answer


async def on_http_error(request: Request, error: Exception) -> Response:
    """What the router itself refuses: unknown routes and wrong methods, in the words of a real server."""
    status = getattr(error, "status_code", 500)
    try:
        count_stranger(request.scope)
    except errors.TooManyCalls as too_many:
        return answer_to(too_many)
    if status == 404:  # noqa: PLR2004 - the table of statuses is this file
        return answer_to(errors.RouteNotFound())
    if status == 405:  # noqa: PLR2004 - as above
        allowed = ", ".join(sorted(methods_at(request.scope["path"], request.app.router.routes) | {"OPTIONS"}))
        return json_response(b'{"detail":"Method Not Allowed"}', status, {"Allow": allowed})
    sentence, headers = str(getattr(error, "detail", error)), getattr(error, "headers", None)
    return json_response(error_body("HTTPException", status, sentence), status, headers)


def methods_at(path: str, routes: Iterable[BaseRoute]) -> set[str]:
    """Every method that some route answers at `path`; a path may have a route for each."""
    found = (route.methods for route in routes if isinstance(route, Route) and route.path_regex.match(path))
    return {method for methods in found for method in methods or ()}


def each_error(error: BaseException) -> Iterator[BaseException]:
    """The errors inside of groups, however deep; one that is no group is itself."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from each_error(part)
    else:
        yield error


def unexpected_answer() -> Response:
    """The answer to a defect of ours: the caller learns that it is ours, and nothing of its inside."""
    sentence = "The gateway failed on this call; the operator's log has the reason under the request id."
    return json_response(error_body("InternalError", 500, sentence), 500)
