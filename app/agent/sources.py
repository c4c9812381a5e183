"""The content of the token file: a credential that the agent signs, or a token that the service issues for it.

The agent always signs ``GetCallerIdentity`` for AWS's own host, even if the environment names another endpoint.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from app.agent.errors import Failure, RenewalError
from app.agent.held import Held, HeldError, parse_held
from app.agent.schedule import CREDENTIAL_SHARE, TOKEN_SHARE
from app.agent.service_client import Reply, ServiceClient
from app.core.credential import encode_jwt_clothes, encode_native
from app.core.endpoints import StsEndpoint
from app.core.request_policy import MAX_FUTURE_SKEW, MAX_LIFETIME
from app.sts.signer import CredentialsUnavailableError, RoleSession, SessionKeys, SigningError, presign

TOKEN_PATH: Final = "/v1/token"  # noqa: S105 - a path

_REASON: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_URL_PATH: Final = re.compile(r"(https?://[^/\s\"']+)/[^\s\"']*")
# What a log line says about the identity in the service's answer.
_IDENTITY: Final = ("type", "mesh", "service", "workload", "zone")
_PRINCIPAL: Final = ("account", "role", "roleId", "session")
_MAX_TEXT_CHARS: Final = 300  # no bound: how much of a stranger's sentence is logged
_OK: Final = 200
_REQUEST_TIMEOUT: Final = 408
_TOO_MANY_REQUESTS: Final = 429


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """The result of a renewal.

    Attributes:
        text: the file's new content; a secret.
        ends_at: when the content expires.
        share: the part of its lifetime after which it is renewed.
        fields: further fields of the log line.
    """

    text: str = field(repr=False)
    ends_at: datetime
    share: float
    fields: dict[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """The source of new content."""

    def fetch(self, now: datetime) -> Fresh:
        """Return new content.

        Raises:
            RenewalError: there is no new content now.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A presigned URL, when it expires, and the id of the key that signed it. The URL is a secret; the id is not."""

    url: str = field(repr=False)
    ends_at: datetime
    access_key_id: str | None


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with the role of the task."""

    endpoint: StsEndpoint
    audience: str
    role: RoleSession = field(default_factory=RoleSession)

    def sign(self, now: datetime) -> Signed:
        """Return a presigned URL. It expires after 15 minutes, or when the role's session ends if that is earlier.

        Raises:
            RenewalError: there are no AWS credentials with which to sign, or they cannot be fetched now.
        """
        try:
            session: SessionKeys = self.role.current()
        except CredentialsUnavailableError as error:
            # The path is removed from URLs: on ECS, anybody who knows the path of the credentials endpoint can get the
            # role's credentials from it.
            told = _short(_URL_PATH.sub(r"\1/...", str(error)))
            raise RenewalError(Failure.UNDECIDED, "credentials_unavailable", told) from error
        except SigningError as error:
            raise RenewalError(Failure.NO_CREDENTIALS, "no_credentials", str(error)) from error
        ends_at = now + MAX_LIFETIME
        if session.ends_at is not None:
            ends_at = min(ends_at, session.ends_at.astimezone(UTC))
        url = presign(session.keys, self.endpoint, audience=self.audience)
        return Signed(url=url, ends_at=ends_at, access_key_id=session.keys.access_key)


@dataclass(frozen=True, slots=True)
class CredentialSource:
    """Writes the credential itself, in the form that ``kuma-dp`` accepts as a token."""

    signer: Signer

    def fetch(self, now: datetime) -> Fresh:
        """Sign a credential, without a call to the service."""
        signed = self.signer.sign(now)
        return Fresh(
            text=encode_jwt_clothes(signed.url),
            ends_at=signed.ends_at,
            share=CREDENTIAL_SHARE,
            fields={"access_key_id": signed.access_key_id},
        )


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Exchanges a credential for a token that a stock control plane accepts.

    Attributes:
        asserted: what the proxy asserts; None asks for the identity of the role.
    """

    signer: Signer
    client: ServiceClient
    asserted: dict[str, Any] | None

    def fetch(self, now: datetime) -> Fresh:
        """Sign a credential, and exchange it at the service."""
        signed = self.signer.sign(now)
        call: dict[str, Any] = {"credential": encode_native(signed.url)}
        if self.asserted is not None:
            call["proxy"] = self.asserted
        reply = self.client.post(TOKEN_PATH, call, self.signer.audience)
        if reply.status != _OK:
            raise _refusal(reply, now)
        return _fresh_token(reply, now, signed.access_key_id)


def _fresh_token(reply: Reply, now: datetime, access_key_id: str | None) -> Fresh:
    token = reply.members.get("token")
    held = _held(token) if isinstance(token, str) else None
    if held is None or not isinstance(token, str) or held.kind != "token":
        raise RenewalError(
            Failure.UNDECIDED, "unexpected_answer", "what answered holds no signed token; is --service-url right?"
        )
    if held.ends_at - now < timedelta(seconds=1):
        raise RenewalError(
            Failure.UNDECIDED,
            "token_ended",
            f"the token has ended by this host's clock; set the clock (NTP){_clock_note(reply, now)}",
        )
    known = {"kid": reply.members.get("kid"), "request_id": reply.request_id}
    return Fresh(
        text=token,
        ends_at=held.ends_at,
        share=TOKEN_SHARE,
        fields={
            "access_key_id": access_key_id,
            "jti": None if held.token_id is None else _short(held.token_id),
            **_texts(known, known),
            "identity": _identity(reply.members.get("identity")),
            "principal": _texts(reply.members.get("principal"), _PRINCIPAL),
        },
    )


def _identity(members: object) -> dict[str, Any]:
    found = members if isinstance(members, dict) else {}
    labels = found.get("labels")
    pinned = {"labels": _texts(labels, labels)} if isinstance(labels, dict) and labels else {}
    return {**_texts(found, _IDENTITY), **pinned}


def _texts(members: object, names: Iterable[str]) -> dict[str, str]:
    """Return the members with these names that are texts, shortened."""
    found = members if isinstance(members, dict) else {}
    return {name: _short(found[name]) for name in names if isinstance(found.get(name), str)}


def _held(token: str) -> Held | None:
    try:
        return parse_held(token)
    except HeldError:
        return None


def _clock_note(reply: Reply, now: datetime) -> str:
    """Return a note about the difference between the clocks of this host and the service; empty if it is small enough.

    ``now`` is the time before the call. A call takes at most 65 s, so a slow answer alone causes no note.
    """
    ahead = timedelta(0) if reply.date is None else now - reply.date
    if abs(ahead) <= MAX_FUTURE_SKEW:
        return ""
    seconds, side = abs(ahead).total_seconds(), "ahead of" if ahead > timedelta(0) else "behind"
    return f" (this host's clock is {seconds:.0f} s {side} the service's; set the wrong one by NTP)"


def _refusal(reply: Reply, now: datetime) -> RenewalError:
    """Return the error for an answer without a token: a denial, which an operator must correct, or no decision."""
    reason = _reason(reply)
    told = reply.members.get("detail")
    detail = _short(told) if isinstance(told, str) else "what answered is not this service; is --service-url right?"
    if reason == "not_found":
        detail = (
            "the service gives no tokens: set KMESH_AWSIAM_DATAPLANE_KEYS_FILE or KMESH_AWSIAM_ZONE_KEYS_FILE there"
        )
    if reply.request_id:
        detail += f" (request id {reply.request_id})"
    detail += _clock_note(reply, now)
    # Every decision of the service has a reason. A 403 without a reason comes from a load balancer on the path, and is no
    # decision.
    is_decision = 400 <= reply.status < 500 and reply.status not in (_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS)  # noqa: PLR2004
    return RenewalError(
        Failure.DENIED if is_decision and reason is not None else Failure.UNDECIDED,
        reason or f"status_{reply.status}",
        detail,
        retry_after=reply.retry_after,
    )


def _reason(reply: Reply) -> str | None:
    reason = reply.members.get("reason")
    return reason if isinstance(reason, str) and _REASON.fullmatch(reason) else None


def _short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT_CHARS else f"{text[:_MAX_TEXT_CHARS]}..."
