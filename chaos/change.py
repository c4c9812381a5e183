"""Roles, tags and clocks change."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

from chaos.aws import HOME, TAGS
from chaos.iam_faults import ROLE_TTL
from chaos.row import Promise, Row, Seen
from chaos.stage import Stage

_MARGIN: Final = 0.5
_WITHIN_TTL: Final = ROLE_TTL + _MARGIN
_MISMATCH: Final = "403 proxy_mesh_mismatch"
_MISMATCH_OF_ID: Final = "403 role_id_mismatch"
_NOT_FOUND: Final = "403 role_not_found"
_REJECTED: Final = "401 sts_rejected"


def rows() -> Iterator[Row]:
    """Yield the rows; they share a service that believes a role for a second."""
    yield Row(
        fault=f"a role's kuma.io/mesh changes (KMESH_AWSIAM_ROLE_TTL {ROLE_TTL:g} s)",
        promise=Promise(outcomes=(_MISMATCH,), within=1.0, recovery=_WITHIN_TTL, words=f"within {_WITHIN_TTL:g} s"),
        play=_tags_change,
    )
    yield Row(
        fault="a role is deleted, and made anew under its name",
        promise=Promise(
            outcomes=(_NOT_FOUND, _REJECTED),
            within=1.0,
            recovery=_WITHIN_TTL,
            words=f"known credentials within {_WITHIN_TTL:g} s, new ones at once",
        ),
        play=_role_goes,
    )
    for words, ahead, outcome in (
        ("a clock runs 6 min ahead (credential dated so)", timedelta(minutes=6), "401 credential_not_yet_valid"),
        ("a clock runs 16 min behind (credential dated so)", -timedelta(minutes=16), "401 credential_expired"),
    ):
        yield Row(
            fault=words,
            promise=Promise(outcomes=(outcome,), within=1.0, recovery=1.0, words="STS is not asked"),
            play=_dated(ahead),
        )
    yield Row(
        fault="clocks are 4 min ahead and 14 min behind",
        promise=Promise(outcomes=("200",), within=1.0, recovery=None, words="allowed: within AWS's own tolerance"),
        play=_tolerated,
    )


def _tags_change(stage: Stage, promise: Promise) -> Seen:
    role = stage.tasks.new_role()
    known = stage.tasks.credential(HOME, role)
    seen = Seen()
    seen.expect(stage.caller.ask(known).allowed, "a good credential was refused before the change")
    stage.tasks.world.set_role_tags(HOME, role, {**TAGS, "kuma.io/mesh": "payments"})
    took = stage.recovery(lambda: known, 3 * _WITHIN_TTL, outcome=_MISMATCH)
    seen.expect(took is not None and took < _WITHIN_TTL, f"the change took {took} s")
    seen.answers += [stage.caller.ask(known), stage.caller.ask(stage.tasks.credential(HOME, role))]
    stage.tasks.world.set_role_tags(HOME, role, TAGS)
    seen.recovered = stage.recovery(lambda: known, 3 * (promise.recovery or 0))
    return seen


def _role_goes(stage: Stage, promise: Promise) -> Seen:
    role = stage.tasks.new_role()
    known, unused = stage.tasks.credential(HOME, role), stage.tasks.credential(HOME, role)
    seen = Seen()
    seen.expect(stage.caller.ask(known).allowed, "a good credential was refused before")
    stage.tasks.world.delete_role(HOME, role)
    seen.answers.append(stage.caller.ask(unused))
    took = stage.recovery(lambda: known, 3 * _WITHIN_TTL, outcome=_NOT_FOUND)
    seen.expect(took is not None and took < _WITHIN_TTL, f"the deletion took {took} s")
    seen.answers.append(stage.caller.ask(known))
    stage.tasks.world.add_role(HOME, role, tags=TAGS)
    anew = stage.caller.ask(known)
    # That the dead role was not found is remembered for 10 s, for its id alone.
    seen.expect(
        anew.outcome in {_NOT_FOUND, _MISMATCH_OF_ID}, f"the dead role's credential was answered {anew.outcome}"
    )
    seen.recovered = stage.recovery(lambda: stage.tasks.credential(HOME, role), 3 * (promise.recovery or 0))
    return seen


def _dated(ahead: timedelta) -> Callable[[Stage, Promise], Seen]:
    def play(stage: Stage, promise: Promise) -> Seen:
        stage.known()
        before = stage.emulator.calls.count("sts")
        seen = Seen(stage.caller.ask_all(stage.tasks.credential(ahead=ahead) for _ in range(3)))
        seen.expect(stage.emulator.calls.count("sts") == before, "STS was asked")
        seen.recovered = stage.recovery(stage.tasks.credential, 3 * (promise.recovery or 0))
        return seen

    return play


def _tolerated(stage: Stage, _promise: Promise) -> Seen:
    shifts = (timedelta(minutes=4), -timedelta(minutes=14))
    return Seen(stage.caller.ask_all(stage.tasks.credential(ahead=ahead) for ahead in shifts))
