"""Name the cause of STS's rejection, if the caller says that the credential was signed for another audience."""

from collections.abc import Iterable

from app.api.answer import Header
from app.core.audience_hint import read_audience_hint
from app.core.credential import seems_presigned
from app.core.errors import AuthenticationError, AuthError
from app.core.known_credential import NewCredential, PresentedCredential, RefusedCredential
from app.core.reasons import Reason
from app.decision.record import AudienceNote, DecisionRecord


def name_audience(
    error: AuthError,
    credential: PresentedCredential,
    headers: Iterable[Header],
    audience: str,
    trail: DecisionRecord,
) -> AuthError:
    """Return the error of a decision, or one with the reason ``audience_mismatch`` in its place.

    Only ``sts_rejected`` is replaced. So the hint never turns a denial into an approval, nor anything else into a denial.
    The service caches the rejection without the hint, so only the hint of the call itself affects its answer.

    Args:
        error: how the decision ended.
        credential: what the proxy presented.
        headers: the headers of the call, with the hint.
        audience: the service's own audience.
        trail: the record of the decision, which gets both values.
    """
    if error.reason is not Reason.STS_REJECTED:
        return error
    hint = read_audience_hint(headers)
    if hint is None:
        return error
    trail.audience = AudienceNote(expected=audience, hint=hint)
    if hint == audience or not _is_presigned(credential):
        return error
    return AuthenticationError(
        Reason.AUDIENCE_MISMATCH, f"the audience hint is not KMESH_AWSIAM_AUDIENCE; {error.detail}"
    )


def _is_presigned(credential: PresentedCredential) -> bool:
    """Whether only STS can see the credential's audience. An envelope contains it, and a local rule has compared it."""
    if isinstance(credential, NewCredential):
        return seems_presigned(credential.text)
    return isinstance(credential, RefusedCredential) and credential.form.is_presigned
