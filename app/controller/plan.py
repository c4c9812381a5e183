"""Tasks, secrets and the time → what is to be done. Everything here is pure.

::

    tasks and their identities   want_secrets   the secrets of these tasks, in the order of their handling
    what is known of a secret    is_due         whether it is to be read in this pass
    the value of a secret        decide         whether it gets a new token, and why
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from app.controller.held_token import TokenFacts, read_facts, why_replace
from app.controller.reasons import Leave, PutReason
from app.controller.secret import SecretValue
from app.controller.tasks import Task, TaskIdentity

# "We recommend you avoid calling PutSecretValue at a sustained rate of more than once every 10 minutes":
# https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
PUT_PAUSE_SECONDS: Final = 600.0
# A secret with a usable token is read again after this time, in case somebody has changed it.
REREAD_SECONDS: Final = 300.0

# Returns why a token must be replaced, if only its issuer can know it. None means that the issuer sees no such reason.
TokenCheck = Callable[[str, TokenFacts, TaskIdentity], PutReason | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSecret:
    """A secret, and the tasks that read it.

    Attributes:
        name: the name of the secret.
        identity: the identity that its token must have: that of the newest task.
        tasks: the number of tasks that read it.
        pending: the ARNs of the tasks that do not run yet.
        others: the other identities of the tasks. Their proxies are refused with this secret's token.
        is_certain: whether no other task can be the one that decides about the identity.
    """

    name: str
    identity: TaskIdentity
    tasks: int
    pending: frozenset[str]
    others: frozenset[TaskIdentity] = frozenset()
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class Put:
    """Put a new token into the secret."""

    reason: PutReason


@dataclass(frozen=True, slots=True)
class Keep:
    """Leave the secret as it is."""

    why: Leave


@dataclass(slots=True, kw_only=True)
class KnownSecret:
    """What a controller remembers of a secret. It holds no token and no other text of the secret.

    Attributes:
        read_at: when it was read, in seconds of a monotonic clock; None if it never was.
        put_at: when this process has put a token into it.
        retry_at: the secret is not read before this time, because a call failed or its value is malformed.
        failures: the number of failures in a row.
        pending: the pending tasks at the last reading.
        identity: the identity at the last reading.
        facts: the token that it held; None if it held none that can be read.
        renew_at: when that token is to be replaced, by the date and time.
    """

    read_at: float | None = None
    put_at: float | None = None
    retry_at: float = float("-inf")
    failures: int = 0
    pending: frozenset[str] = frozenset()
    identity: TaskIdentity | None = None
    facts: TokenFacts | None = field(default=None, repr=False)
    renew_at: datetime | None = None


def want_secrets(
    identified: Iterable[tuple[Task, TaskIdentity]], prefix: str, *, are_all: bool = True
) -> list[WantedSecret]:
    """Return the secrets that tasks read, in the order in which they are handled.

    Secrets that pending tasks wait for come first, and of these the one whose task waits longest. The newest task decides
    about the identity: during a deployment it is the one that has not read the secret yet.

    If there are other tasks, whose identity is not known now (``are_all`` is False), one of them can be newer. Only a newest
    task that waits for its token is then certain to decide.
    """
    by_name: dict[str, list[tuple[Task, TaskIdentity]]] = {}
    for task, identity in identified:
        by_name.setdefault(f"{prefix}{identity.name}", []).append((task, identity))
    wanted: list[tuple[tuple[bool, datetime, str], WantedSecret]] = []
    for name, readers in by_name.items():
        newest_task, newest = max(readers, key=lambda reader: (reader[0].created_at, reader[0].arn))
        waiting = [task for task, _ in readers if task.is_pending]
        first = min(task.created_at for task in (waiting or [task for task, _ in readers]))
        secret = WantedSecret(
            name=name,
            identity=newest,
            tasks=len(readers),
            pending=frozenset(task.arn for task in waiting),
            others=frozenset(identity for _, identity in readers) - {newest},
            is_certain=are_all or newest_task.is_pending,
        )
        wanted.append(((not waiting, first, name), secret))
    return [secret for _, secret in sorted(wanted, key=lambda each: each[0])]


def is_due(wanted: WantedSecret, known: KnownSecret, timer: float, now: datetime) -> bool:
    """Return whether a secret is to be read in this pass.

    It is not read while its token is usable by what is known of it. So a quiet pass makes no call for it.

    Args:
        wanted: the secret.
        known: what was found at the last reading.
        timer: seconds of a monotonic clock.
        now: the date and time.
    """
    if wanted.pending - known.pending:
        return True  # a new task waits, whatever failed for earlier tasks
    if timer < known.retry_at:
        return False
    if known.read_at is None or known.failures or wanted.identity != known.identity:
        return True
    return timer - known.read_at >= REREAD_SECONDS or known.renew_at is None or known.renew_at <= now


def is_anothers(wanted: WantedSecret, facts: TokenFacts | None, now: datetime) -> bool:
    """Return whether a token may be the right one for a task that is not known now. It is then not replaced.

    For example after a restart, some of the roles are read in later passes. An older task would otherwise take away the
    token of a newer one, and the newer one's proxies could not connect again for ten minutes.
    """
    if wanted.is_certain or facts is None or facts.identity == wanted.identity:
        return False
    return facts.ends_at is None or facts.ends_at > now


def decide(
    value: SecretValue, identity: TaskIdentity, now: datetime, valid_for: timedelta, check: TokenCheck
) -> tuple[Put | Keep, TokenFacts | None]:
    """Return what is to be done with a secret that was read, and what its token says.

    Args:
        value: the secret.
        identity: the identity that its token must have.
        now: the date and time.
        valid_for: the life of a new token.
        check: the issuer's own check of a token.

    Raises:
        MalformedSecretError: the secret holds no JSON object.
    """
    token = value.token()
    if token is None:
        return Put(PutReason.TOKEN_MISSING), None
    try:
        facts = read_facts(token)
    except ValueError:
        return Put(PutReason.TOKEN_UNREADABLE), None
    reason = check(token, facts, identity) or why_replace(facts, identity, now, valid_for)
    if reason is None:
        return Keep(Leave.USABLE), facts
    # Another replica may have put this version a moment ago.
    if now - value.created_at < timedelta(seconds=PUT_PAUSE_SECONDS):
        return Keep(Leave.PUT_RECENTLY), facts
    return Put(reason), facts
