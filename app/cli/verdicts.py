"""Judge a credential or a token by the rules of the service, offline: a part of ``authenticate --explain``.

The rules are the functions of the service itself, in its order. A rule that fails does not end the list. A rule that needs
what an earlier one requires is not reached. No verdict contains a value of the credential: only names, numbers and the fixed
sentence of the reason.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from app.core.errors import CredentialError
from app.core.header_rules import HEADER_RULES
from app.core.reasons import EXPLANATIONS
from app.core.request_policy import RULES, RequestPolicy, lifetime_of, require_age, require_valid_headers, validate
from app.core.signed_request import SignedRequest
from app.core.sigv4 import parse_amz_date

# A verdict, and the name of the rule with what is wrong.
Line = tuple[str, str]

OK: Final = "ok"
FAILED: Final = "failed"
NOT_REACHED: Final = "not reached"
NOT_CHECKED: Final = "not checked"
GRAMMAR: Final = "grammar"
_PREFIXES: Final = ("_require_", "require_")


def judge_request(request: SignedRequest, policy: RequestPolicy, now: datetime) -> Iterator[Line]:
    """Yield the verdict of each rule about a decoded credential, in the order of the service."""
    yield OK, GRAMMAR
    for rule in RULES:
        if rule is require_valid_headers:
            for header_rule in HEADER_RULES:
                yield _verdict(_name(header_rule), lambda header_rule=header_rule: header_rule(request))  # type: ignore[misc]
        else:
            yield _verdict(_name(rule), lambda rule=rule: rule(request, policy))  # type: ignore[misc]
    yield _length_verdict(request, policy)
    yield _verdict("age", lambda: require_age(parse_amz_date(request.amz_date), lifetime_of(request), now))
    unseen = "the signature, and the value of the audience" if request.form.is_presigned else "the signature"
    yield NOT_CHECKED, f"{unseen}: only STS can"


def failure(name: str, error: CredentialError) -> Line:
    """Return the verdict of a rule that fails: its reason, what was seen, and the fixed sentence with the remedy."""
    return FAILED, f"{name}: {error.reason}: {error.detail}. {EXPLANATIONS[error.reason].detail}"


def _verdict(name: str, check: Callable[[], object]) -> Line:
    try:
        check()
    except CredentialError as error:
        return failure(name, error)
    except (LookupError, ValueError, OverflowError):
        # An earlier rule has failed, and this rule relies on it: for example, the scope is compared with a known host.
        return NOT_REACHED, name
    return OK, name


def _length_verdict(request: SignedRequest, policy: RequestPolicy) -> Line:
    """Judge the length of the rebuilt request. `validate` checks it after all other rules, so it is the only one left."""
    name = "length for STS"
    try:
        for rule in RULES:
            rule(request, policy)
    except (CredentialError, LookupError):
        return NOT_REACHED, name
    return _verdict(name, lambda: validate(request, policy))


def _name(rule: Callable[..., object]) -> str:
    """Return the name of a rule: that of its function, in words."""
    name = rule.__name__
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name.replace("_", " ")
