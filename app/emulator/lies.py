"""False answers with status 200, which a client must not accept as an answer to GetCallerIdentity.

Each is made from the true answer, so that it has exactly one fault.
"""

import functools
import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from app.emulator.fault_kinds import FaultKind
from app.emulator.identities import Principal
from app.emulator.query_protocol import Document, render_result
from app.emulator.sts import SERVICE
from app.emulator.wire import Answer

PADDING_BYTES: Final = 1024 * 1024
BOMB_BYTES: Final = 64 * 1024 * 1024
OTHER_ACCOUNT: Final = "999999999999"
ADMINISTRATOR: Final = "administrator"
"""The role that forged answers name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The correct GetCallerIdentity answer, and the caller that it describes."""

    answer: Answer
    caller: Principal
    request_id: str
    as_json: bool

    def about(self, **changes: str) -> Answer:
        """Write a GetCallerIdentity answer about the caller, with some members changed."""
        caller = self.caller
        identity: Document = {"Arn": caller.arn, "UserId": caller.user_id, "Account": caller.account} | changes
        return render_result(SERVICE, "GetCallerIdentity", identity, self.request_id, as_json=self.as_json)


def lie(kind: FaultKind, truth: Truth) -> Answer:
    """Make the given lie from the true answer. The kind must be one of `fault_kinds.LIES`."""
    return _LIES[kind](truth)


def _wrong_content_type(truth: Truth) -> Answer:
    return replace(truth.answer, content_type="text/html")


def _oversize_body(truth: Truth) -> Answer:
    return replace(truth.answer, body=truth.answer.body + b" " * PADDING_BYTES)


def _truncated(truth: Truth) -> Answer:
    return replace(truth.answer, body=truth.answer.body[: len(truth.answer.body) // 2])


def _dtd(truth: Truth) -> Answer:
    # JSON has no entities. A client that asks for JSON gets the XML too, and must reject it.
    xml = replace(truth, as_json=False).about()
    account = truth.caller.account.encode()
    prolog = b'<!DOCTYPE GetCallerIdentityResponse [<!ENTITY account "%b">]>' % account
    element = b"<Account>%b</Account>"
    return replace(xml, body=prolog + xml.body.replace(element % account, element % b"&account;"))


def _two_documents(truth: Truth) -> Answer:
    second = truth.about(**_administrator(truth))
    return replace(truth.answer, body=truth.answer.body + second.body)


def _forged_action(truth: Truth) -> Answer:
    metadata = {"RequestId": truth.request_id}
    forged: Document = {"GetCallerIdentityResult": _administrator(truth), "ResponseMetadata": metadata}
    result: Document = {"Account": truth.caller.account, "GetCallerIdentityResponse": forged}
    return render_result(SERVICE, "GetAccessKeyInfo", result, truth.request_id, as_json=truth.as_json)


def _account_mismatch(truth: Truth) -> Answer:
    return truth.about(Account=OTHER_ACCOUNT)


def _session_mismatch(truth: Truth) -> Answer:
    return truth.about(UserId=truth.caller.user_id.partition(":")[0] + ":another-session")


def _other_partition(truth: Truth) -> Answer:
    other = "aws" if truth.caller.partition != "aws" else "aws-cn"
    return truth.about(Arn=truth.caller.arn.replace(f"arn:{truth.caller.partition}:", f"arn:{other}:", 1))


def _duplicate_account(truth: Truth) -> Answer:
    account = truth.caller.account.encode()
    before, after = (b'"Account":"%b"', b'"Account":"%b","Account":"%b"')
    if not truth.as_json:
        before, after = (b"<Account>%b</Account>", b"<Account>%b</Account><Account>%b</Account>")
    body = truth.answer.body.replace(before % account, after % (OTHER_ACCOUNT.encode(), account))
    return replace(truth.answer, body=body)


def _gzip_bomb(truth: Truth) -> Answer:
    headers = (*truth.answer.headers, ("content-encoding", "gzip"))
    return replace(truth.answer, body=_bomb(), headers=headers)


def _administrator(truth: Truth) -> dict[str, str]:
    caller = truth.caller
    arn = f"arn:{caller.partition}:sts::{caller.account}:assumed-role/{ADMINISTRATOR}/forged"
    return {"Arn": arn, "UserId": f"AROA{'A' * 17}:forged", "Account": caller.account}


@functools.cache
def _bomb() -> bytes:
    return gzip.compress(b" " * BOMB_BYTES, mtime=0)


_LIES: Final[Mapping[FaultKind, Callable[[Truth], Answer]]] = {
    FaultKind.WRONG_CONTENT_TYPE: _wrong_content_type,
    FaultKind.OVERSIZE_BODY: _oversize_body,
    FaultKind.TRUNCATED: _truncated,
    FaultKind.DTD: _dtd,
    FaultKind.TWO_DOCUMENTS: _two_documents,
    FaultKind.FORGED_ACTION: _forged_action,
    FaultKind.ACCOUNT_MISMATCH: _account_mismatch,
    FaultKind.SESSION_MISMATCH: _session_mismatch,
    FaultKind.OTHER_PARTITION: _other_partition,
    FaultKind.DUPLICATE_ACCOUNT: _duplicate_account,
    FaultKind.GZIP_BOMB: _gzip_bomb,
}
