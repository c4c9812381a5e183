"""A caller that presents credentials to the calls to STS, with an STS in memory."""

from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import (
    AuthenticationError,
    AuthError,
    UpstreamDownError,
    UpstreamError,
)
from app.core.forwarding import ForwardableRequest
from app.core.known_credential import KnownCredential, NewCredential, RefusedCredential
from app.core.reasons import Reason
from app.core.request_policy import require_fresh
from app.core.signed_request import CredentialForm
from app.decision.record import HIT, DecisionRecord
from app.emulator.identities import new_access_key_id
from app.settings.accounts import FixedAccounts
from app.sts.known_credentials import KnownCredentials
from app.sts.known_keys import KnownKeys
from tests.support.introductions import new_introductions
from tests.support.ports import Time, new_trail, soon
from tests.support.signing import Recipe, endpoint_of, judge

LIFETIME = 900.0
ACCOUNT, OTHER, STRANGER = "111122223333", "444455556666", "999900001111"
LISTED = FixedAccounts(frozenset({ACCOUNT, OTHER}))
RECIPE = Recipe(form=CredentialForm.NATIVE, access_key_id=new_access_key_id("ASIA", ACCOUNT))
DOWN = UpstreamDownError(Reason.STS_UNAVAILABLE, "seen")

DENIALS = [AuthenticationError(Reason.STS_REJECTED, "seen"), AuthenticationError(Reason.SESSION_EXPIRED, "seen")]
ERRORS = [
    UpstreamError(reason, "seen") for reason in (Reason.STS_THROTTLED, Reason.STS_UNAVAILABLE, Reason.STS_ACCESS_DENIED)
]


class Caller:
    """Presents credentials to the calls to one STS, and counts from the moment of signing."""

    def __init__(self, sts: Any, time: Time | None = None, accounts: Any = LISTED, **options: Any) -> None:
        self.time = time or Time()
        self.sts = sts
        self.judged = 0
        self.known = KnownCredentials(self.time.clock, self.time.timer)
        self.keys = KnownKeys(accounts, self.time.timer)
        self.calls = new_introductions(
            sts, self.known, accounts, self.time.clock, timer=self.time.timer, keys=self.keys, **options
        )

    async def ask(
        self,
        recipe: Recipe = RECIPE,
        trail: DecisionRecord | None = None,
        *,
        host: str | None = None,
        text: str | None = None,
        seconds: float = 60.0,
    ) -> KnownCredential:
        """Find out who signed a credential, as `app.decision.authenticator` does."""
        text = text or recipe.credential()
        # The endpoint of the signature decides; a test may name another one for the same text.
        key = self.known.key_of(f"{text}{host}")
        found, trail = self.known.recall(key), trail or new_trail()
        if found is not None:
            trail.sts.cache = HIT
        if isinstance(found, RefusedCredential):
            raise found.error()
        if found is not None:
            return found

        def judged() -> ForwardableRequest:
            self.judged += 1
            request = judge(text)
            return require_fresh(
                request if host is None else replace(request, endpoint=endpoint_of(host)), self.time.clock()
            )

        return await self.calls.introduce(NewCredential(text, key), judged, trail, soon(seconds))

    async def refused(self, recipe: Recipe = RECIPE, trail: DecisionRecord | None = None, **more: Any) -> AuthError:
        with pytest.raises(AuthError) as raised:
            await self.ask(recipe, trail, **more)
        return raised.value


def renewed(number: int, recipe: Recipe = RECIPE) -> Recipe:
    """Return another credential of the same key."""
    return replace(recipe, expires=899 - number)


def new_key(account: str = ACCOUNT) -> Recipe:
    return replace(RECIPE, access_key_id=new_access_key_id("ASIA", account))
