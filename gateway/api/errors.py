"""From an error to an answer: the only place where HTTP status codes of errors are written.

The body is one shape for every error, so that each of the clients finds its sentence where it looks for it: `detail`,
`error`, `errors` or `message`.
"""

from __future__ import annotations

import math

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.domain import errors, managed

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
    errors.RouteNotFound: 404,
    errors.CapacityError: 503,
    errors.RateLimited: 429,
    errors.QuotaExceeded: 429,
    errors.TooManyOutstanding: 429,
    errors.NoCapacity: 503,
    errors.Draining: 503,
    errors.GenerationFailed: 500,
    errors.BackendLacks: 500,
    errors.AttemptFailed: 500,
    errors.BackendUnreachable: 500,
    errors.BackendBroke: 500,
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
    retry_after_s = getattr(error, "retry_after_s", 0.0)
    if retry_after_s > 0:
        headers["Retry-After"] = str(math.ceil(retry_after_s))
    if isinstance(error, errors.RouteNotFound):  # clients compare this body: it says "there is no such API here"
        return json_response(b'{"detail":"Not Found"}', status)
    field = error.field if isinstance(error, errors.InvalidRequest) else ""
    details = [{"loc": ["body", field], "msg": str(error)}] if field else None
    return json_response(error_body(type(error).__name__, status, str(error), details), status, headers)


def json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer from JSON that is already bytes."""
    return Response(body, status, headers, media_type="application/json")


async def on_gateway_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for everything in the error tree."""
    assert isinstance(error, errors.GatewayError)  # noqa: S101 - registered for that type alone
    request.state.reason = type(error).__name__  # a label of the metrics
    return answer_to(error)


async def on_http_error(_request: Request, error: Exception) -> Response:
    """What the router itself refuses: unknown routes and wrong methods, in the words of a real server."""
    status = getattr(error, "status_code", 500)
    detail = {404: b'{"detail":"Not Found"}', 405: b'{"detail":"Method Not Allowed"}'}
    headers = getattr(error, "headers", None)
    if status in detail:
        return json_response(detail[status], status, headers)
    return json_response(error_body("HTTPException", status, str(getattr(error, "detail", error))), status, headers)


async def on_caller_left(_request: Request, _error: Exception) -> Response:
    """Nobody is there to read an answer, and nothing went wrong that an operator should see."""
    return Response(status_code=499)


async def on_unexpected_error(request: Request, _error: Exception) -> Response:
    """A defect of ours: the caller learns that it is ours, and nothing of its inside."""
    sentence = "The gateway failed on this call; the operator's log has the reason under the request id."
    # This answer is made outside of the middleware that gives all others their id.
    request_id = getattr(request.state, "request_id", "")
    headers = {"X-Request-Id": request_id} if request_id else None
    return json_response(error_body("InternalError", 500, sentence), 500, headers)
