"""What came back from a backend: whose fault it is, whether it is what was asked, and what the caller gets."""

from gateway.domain.replies.answer import AnswerBody, json_list
from gateway.domain.replies.blame import judge_error
from gateway.domain.replies.bounds import most_answer_bytes
from gateway.domain.replies.decoding import decoded, has_too_many_values
from gateway.domain.replies.repairing import repair
from gateway.domain.replies.verdicts import AttemptFailed, CallersFault, Delivered, Flaw, SetAside, Verdict
from gateway.domain.replies.verifying import is_empty, is_loaded, shows_title, verify

__all__ = [
    "AnswerBody",
    "AttemptFailed",
    "CallersFault",
    "Delivered",
    "Flaw",
    "SetAside",
    "Verdict",
    "decoded",
    "has_too_many_values",
    "is_empty",
    "is_loaded",
    "json_list",
    "judge_error",
    "most_answer_bytes",
    "repair",
    "shows_title",
    "verify",
]
