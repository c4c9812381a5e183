"""The status of each reason: whether a caller may take it for a denial, and when the caller asks again."""

import pytest

from app.core.reasons import EXPLANATIONS, Reason

# The statuses of the API are fixed: a control plane treats 401 and 403 as a denial, and 503 as no decision.
STATUSES: dict[int, set[Reason]] = {
    400: {Reason.MALFORMED_REQUEST},
    404: {Reason.NOT_FOUND},
    405: {Reason.METHOD_NOT_ALLOWED},
    413: {Reason.REQUEST_TOO_LARGE},
    415: {Reason.UNSUPPORTED_MEDIA_TYPE},
    401: {
        Reason.CALLER_NOT_AUTHENTICATED,
        Reason.CREDENTIAL_MALFORMED,
        Reason.HOST_NOT_ALLOWED,
        Reason.AUDIENCE_MISSING,
        Reason.AUDIENCE_MISMATCH,
        Reason.SCOPE_MISMATCH,
        Reason.CREDENTIAL_EXPIRED,
        Reason.CREDENTIAL_NOT_YET_VALID,
        Reason.SESSION_EXPIRED,
        Reason.STS_REJECTED,
        Reason.TOKEN_REJECTED,
    },
    403: {
        Reason.PRINCIPAL_NOT_A_ROLE,
        Reason.ACCOUNT_NOT_AUTHORIZED,
        Reason.ROLE_NOT_FOUND,
        Reason.ROLE_ID_MISMATCH,
        Reason.ROLE_TYPE_MISSING,
        Reason.ROLE_MESH_MISSING,
        Reason.ROLE_SERVICE_MISSING,
        Reason.ROLE_WORKLOAD_MISSING,
        Reason.ROLE_PATH_NOT_ALLOWED,
        Reason.ROLE_TAG_INVALID,
        Reason.ROLE_ZONE_MISSING,
        Reason.ACCOUNT_MESH_NOT_ALLOWED,
        Reason.PROXY_TYPE_DISABLED,
        Reason.PROXY_TYPE_MISMATCH,
        Reason.PROXY_MESH_MISMATCH,
        Reason.PROXY_SERVICE_MISMATCH,
        Reason.PROXY_WORKLOAD_MISMATCH,
        Reason.PROXY_LABEL_MISMATCH,
        Reason.PROXY_ZONE_MISMATCH,
        Reason.PROXY_NAME_MISMATCH,
        Reason.PROXY_NAME_MISSING,
    },
    500: {Reason.INTERNAL_ERROR},
}
RETRY_AFTER_SECONDS = {
    Reason.STS_THROTTLED: 2,
    Reason.STS_UNAVAILABLE: 2,
    Reason.STS_ACCESS_DENIED: 30,
    Reason.IAM_THROTTLED: 2,
    Reason.IAM_UNAVAILABLE: 2,
    Reason.IAM_ACCESS_DENIED: 30,
    Reason.OWN_CREDENTIALS_UNAVAILABLE: 5,
    Reason.ACCOUNTS_UNAVAILABLE: 30,
    Reason.SIGNING_KEY_MISSING: 30,
    Reason.OVERLOADED: 1,
}
EXPECTED = {
    **{reason: (status, None) for status, reasons in STATUSES.items() for reason in reasons},
    **{reason: (503, seconds) for reason, seconds in RETRY_AFTER_SECONDS.items()},
}


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_its_status_and_its_time_of_retry(reason: Reason) -> None:
    explanation = EXPLANATIONS[reason]
    assert (explanation.status, explanation.retry_after) == EXPECTED[reason]
