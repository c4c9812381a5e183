"""`AuthError` → problem+json. The table `app.core.reasons.EXPLANATIONS` contains everything except the request id (I24)."""

from typing import Final

import orjson

from app.api.answer import Answer
from app.core.errors import AuthError, RequestError, UpstreamError
from app.core.reasons import EXPLANATIONS, Reason

MEDIA_TYPE: Final = "application/problem+json"


def problem_answer(error: AuthError, request_id: str) -> Answer:
    """Return the answer to an error: its reason's status, title and fixed sentence, and the field on 400."""
    field = error.field if isinstance(error, RequestError) else None
    retry_after = error.retry_after if isinstance(error, UpstreamError) else None
    return reason_answer(error.reason, request_id, field=field, retry_after=retry_after)


def reason_answer(
    reason: Reason, request_id: str, *, field: str | None = None, retry_after: int | None = None
) -> Answer:
    """Return the answer for a reason.

    Apart from a field name of the schema, the answer contains nothing that the caller or AWS sent.
    """
    explanation = EXPLANATIONS[reason]
    detail = explanation.detail if field is None else f"At fault: {field}. {explanation.detail}"
    seconds = retry_after or explanation.retry_after
    headers = [] if seconds is None else [(b"retry-after", b"%d" % seconds)]
    return Answer(
        status=explanation.status,
        media_type=MEDIA_TYPE,
        body=orjson.dumps(
            {
                "type": "about:blank",
                "title": explanation.title,
                "status": explanation.status,
                "detail": detail,
                "reason": reason.value,
                "requestId": request_id,
            }
        ),
        request_id=request_id,
        extra_headers=headers,
    )
