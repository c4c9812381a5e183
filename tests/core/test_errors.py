from app.core.errors import AuthError, CredentialError, RequestError, UpstreamError
from app.core.reasons import Reason


def test_an_error_reads_as_its_reason_and_what_was_seen() -> None:
    error = CredentialError(Reason.HOST_NOT_ALLOWED, "the host is example.com")
    assert str(error) == "host_not_allowed: the host is example.com"


def test_a_malformed_call_names_the_member_at_fault() -> None:
    error = RequestError(Reason.MALFORMED_REQUEST, "it is no string", field="proxy.mesh")
    assert (error.reason, error.field) == (Reason.MALFORMED_REQUEST, "proxy.mesh")


def test_what_could_not_be_decided_is_no_denial() -> None:
    error = UpstreamError(Reason.STS_UNAVAILABLE, "no answer", retry_after=5)
    assert isinstance(error, AuthError)
    assert not isinstance(error, CredentialError)
    assert error.retry_after == 5
