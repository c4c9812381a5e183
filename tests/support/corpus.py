"""The hostile corpus: cases as data (`tests/corpus`), and the code that makes a credential, a call and answers from one.

A case is a valid baseline with one change. `load_cases` reads the rows, `build` makes a `Scene` of a case: the credential,
the API call, and what STS and IAM will answer. README.md beside the data explains the words that a change is written in.
"""

import functools
import gzip
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar
from xml.sax.saxutils import escape

from app.core.reasons import EXPLANATIONS, Reason
from app.core.role_tags import RoleRecord
from app.core.signed_request import CredentialForm
from tests.support import mutations
from tests.support.signing import (
    FORMS,
    NOW,
    POSTED_FORMS,
    PRESIGNED_FORMS,
    Recipe,
    SignedCall,
    base64,
    base64url,
)
from tests.support.world import ACCOUNT, DATAPLANE, PROXY

CORPUS: Final = Path(__file__).parents[1] / "corpus"
ALLOWED: Final = "allowed"
AUDIENCE: Final = "canary-audience-of-this-control-plane"
ROLE: Final = "demo-app"
ROLE_ID: Final = "AROAEXAMPLEEXAMPLE001"
SESSION: Final = "4f1c"

_FORMS: Final = {"all": FORMS, "presigned": PRESIGNED_FORMS, "posted": POSTED_FORMS}
_ROW: Final = frozenset({"id", "forms", "each", "change", "given", "reason", "sts", "iam", "origin"})
_SIMPLE: Final = re.compile(r"[A-Za-z0-9._-]{1,40}", re.ASCII)
# Which facts were known, and so which upstreams were called, when a decision ended for a reason.
_ENDS_AT_STS: Final = frozenset(
    {
        Reason.SESSION_EXPIRED,
        Reason.STS_REJECTED,
        Reason.STS_THROTTLED,
        Reason.STS_UNAVAILABLE,
        Reason.STS_ACCESS_DENIED,
        Reason.PRINCIPAL_NOT_A_ROLE,
        Reason.ACCOUNT_NOT_AUTHORIZED,
    }
)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the corpus, for one form.

    Attributes:
        id: the unique name of the case; its first part is the area.
        row: the name of the row.
        form: the form of the baseline's credential.
        op: the word for the one change.
        args: the arguments of the change.
        given: the settings and the assertion that the case needs.
        reason: the expected reason; None if the case is a control that must be allowed.
        calls: the numbers of calls to STS and IAM that the case costs.
        origin: the invariants and advisories that the case covers.
    """

    id: str
    row: str
    form: CredentialForm
    op: str
    args: tuple[Any, ...]
    given: Mapping[str, Any]
    reason: Reason | None
    calls: tuple[int, int]
    origin: tuple[str, ...]

    @property
    def area(self) -> str:
        """The name of the file that contains the row."""
        return self.id.partition("/")[0]

    @property
    def is_local(self) -> bool:
        """Whether the presented text alone decides, without a call to AWS."""
        return self.calls == (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WireAnswer:
    """What an upstream answers, or ``ends`` where the connection does so instead."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    ends: bool = False

    @property
    def content_type(self) -> str:
        """The header's text, or empty."""
        return self.headers.get("Content-Type", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    """The HTTP request to the service."""

    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A case that is ready to run.

    Attributes:
        recipe: the recipe of the baseline, with the keys that STS knows.
        url: the signed URL, with the change.
        credential: the text that the proxy presents.
        call: the HTTP request to the service.
        now: the time of the service's clock.
        sts: the answer of STS to a valid signature.
        role: the role in IAM.
        iam: the answer to GetRole.
    """

    recipe: Recipe
    url: str
    credential: str
    call: ApiCall
    now: datetime
    sts: WireAnswer
    role: RoleRecord
    iam: WireAnswer


# Reading.


@functools.cache
def load_cases() -> tuple[Case, ...]:
    """Read every case of every area."""
    return tuple(case for path in sorted(CORPUS.glob("*.toml")) for case in _cases_of(path))


def _cases_of(path: Path) -> Iterator[Case]:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    for written in document["case"]:
        row = {"forms": document.get("forms", ["native"]), **written}
        if unknown := row.keys() - _ROW:
            raise ValueError(f"{path.name}, {row['id']}: {', '.join(sorted(unknown))} is no member of a case")
        forms = _FORMS[row["forms"]] if isinstance(row["forms"], str) else tuple(map(CredentialForm, row["forms"]))
        for form in forms:
            for number, value in enumerate(row.get("each", [None])):
                suffix = "" if len(forms) == 1 else f"-{form}"
                if value is not None:
                    suffix += f"-{value}" if _SIMPLE.fullmatch(value) else f"#{number}"
                yield _case(row, f"{path.stem}/{row['id']}{suffix}", form, value)


def _case(row: Mapping[str, Any], case_id: str, form: CredentialForm, value: str | None) -> Case:
    op, *args = _expand(row["change"], value)
    reason = None if row["reason"] == ALLOWED else Reason(row["reason"])
    sts, iam = _usual_calls(reason)
    return Case(
        id=case_id,
        row=f"{case_id.partition('/')[0]}/{row['id']}",
        form=form,
        op=op,
        args=tuple(args),
        given=_expand(row.get("given", {}), value),
        reason=reason,
        calls=(row.get("sts", sts), row.get("iam", iam)),
        origin=tuple(row["origin"]),
    )


def _expand(value: Any, each: str | None) -> Any:
    """Expand ``{ repeat = "x", times = 3 }``, and replace ``{}`` by each value of ``each``."""
    match value:
        case str() if each is not None:
            return value.replace("{}", each)
        case {"repeat": str() as text, "times": int() as times}:
            return text * times
        case dict():
            return {_expand(name, each): _expand(member, each) for name, member in value.items()}
        case list():
            return [_expand(member, each) for member in value]
    return value


def _usual_calls(reason: Reason | None) -> tuple[int, int]:
    if reason is None:
        return 1, 1
    if reason in _ENDS_AT_STS:
        return 1, 0
    is_local = EXPLANATIONS[reason].status not in (403, 503)
    return (0, 0) if is_local else (1, 1)


# The words of a change, by the part that they change. All other parts are the baseline's.


def _sign(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Sign another request, validly."""
    fields: dict[str, Any] = {}
    for name, value in changes.items():
        match name:
            case "headers" | "parameters":
                fields[name] = tuple((key, text) for key, text in value)
            case "unsigned":
                fields[name] = frozenset(value)
            case _:
                fields[name] = value or None if name in ("audience", "token", "content_type") else value
    return replace(recipe, **fields)


def _set_signature(call: SignedCall, value: str) -> SignedCall:
    if call.form.is_presigned:
        return mutations.set_parameter(call, "X-Amz-Signature", value)
    authorization = dict(call.headers)["Authorization"]
    return mutations.set_header(call, "Authorization", f"{authorization.rpartition('=')[0]}={value}")


def _flip_signature(call: SignedCall) -> SignedCall:
    old = re.findall(r"Signature=([0-9a-f]{64})", f"{call.url} {dict(call.headers).get('Authorization', '')}")[0]
    return _set_signature(call, f"{int(old, 16) ^ 1:064x}")


def _rename_header(call: SignedCall, old: str, new: str) -> SignedCall:
    assert old in dict(call.headers), "the mutation does nothing"
    return replace(call, headers=tuple((new if name == old else name, value) for name, value in call.headers))


def _lower_escapes(call: SignedCall) -> SignedCall:
    return replace(call, url=re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), call.url))


_ON_RECIPE: Final[Mapping[str, Callable[..., Recipe]]] = {
    "sign": _sign,
    "signed_length": lambda recipe, *_written: _sign(recipe, {"headers": [["Content-Length", "43"]]}),
}
_ON_SIGNED: Final[Mapping[str, Callable[..., SignedCall]]] = {
    "replace_in_url": mutations.replace_in_url,
    "set_parameter": mutations.set_parameter,
    "append_parameter": mutations.append_parameter,
    "prepend_parameter": mutations.prepend_parameter,
    "drop_parameter": mutations.drop_parameter,
    "rename_parameter": mutations.rename_parameter,
    "reverse_parameters": lambda call: mutations.change_query(call, lambda pairs: pairs[::-1]),
    "lower_escapes": _lower_escapes,
    "set_header": mutations.set_header,
    "drop_header": mutations.drop_header,
    "rename_header": _rename_header,
    "replace_in_authorization": mutations.replace_in_authorization,
    "set_signature": _set_signature,
    "flip_signature": _flip_signature,
    "set_url": lambda call, url: replace(call, url=url),
    "around_url": lambda call, before, after: replace(call, url=before + call.url + after),
    "everywhere_in_url": lambda call, old, new: replace(call, url=call.url.replace(old, new)),
    "set_body": lambda call, body: replace(call, body=body),
    "set_method": lambda call, method: replace(call, method=method),
}


def _member(call: SignedCall, name: str, value: Any) -> str:
    return json.dumps(call.members() | {name: value})


def _drop_member(call: SignedCall, name: str) -> str:
    return json.dumps({key: value for key, value in call.members().items() if key != name})


def _write_headers(call: SignedCall, text: str) -> str:
    """Replace the JSON object of headers by a text."""
    if call.form is CredentialForm.ENVELOPE:
        return json.dumps(call.members() | {"iam_request_headers": base64(text)})
    return json.dumps(call.members() | {"headers": 0}).replace('"headers": 0', f'"headers": {text}')


def _headers_text(call: SignedCall, before: str, after: str) -> str:
    """Write a text around the headers' JSON object; with ``after`` alone, at its end and inside it."""
    text = json.dumps(dict(call.headers))
    return _write_headers(call, f"{before}{text}{after}" if before else f"{text[:-1]}{after}}}")


def _header_value(call: SignedCall, name: str, value: Any) -> str:
    return _write_headers(call, json.dumps(dict(call.headers) | {name: value}))


def _signed_length(call: SignedCall, written: str | None = None) -> str:
    """Write the signed Content-Length as a JSON value, or leave it out."""
    if written is None:
        return mutations.drop_header(call, "Content-Length").credential()
    return _write_headers(call, mutations.replace_once(json.dumps(dict(call.headers)), '"43"', written))


def _headers_as_lists(call: SignedCall) -> str:
    return _write_headers(call, json.dumps({name: [value] for name, value in call.headers}))


def _rewrite_base64(call: SignedCall, name: str, old: str, new: str) -> str:
    text = call.members()[name]
    assert old in text, "the mutation does nothing"
    return json.dumps(call.members() | {name: text.replace(old, new)})


def _jwt(call: SignedCall, header: str, payload: str, signature: str) -> str:
    """Write a JWT; ``URL`` in the payload's text stands for the signed URL."""
    return ".".join((base64url(header), base64url(payload.replace("URL", call.url)), signature))


_TO_TEXT: Final[Mapping[str, Callable[..., str]]] = {
    "text": lambda _call, text: text,
    "around_text": lambda call, before, after: f"{before}{call.credential()}{after}",
    "replace_in_text": lambda call, old, new: mutations.replace_once(call.credential(), old, new),
    "pad_text": lambda call, size: call.credential().ljust(size),
    "as_base64url": lambda call: base64url(call.credential()),
    "as_padded_base64url": lambda call: f"{base64url(call.credential() + ' ' * (-(len(call.credential()) + 1) % 3))}=",
    "url_as_text": lambda call: call.url,
    "in_dress": lambda call, prefix: f"{prefix}{base64url(call.url)}",
    "member": _member,
    "drop_member": _drop_member,
    "headers_text": _headers_text,
    "header_value": _header_value,
    "headers_as_lists": _headers_as_lists,
    "signed_length": _signed_length,
    "rewrite_base64": _rewrite_base64,
    "jwt": _jwt,
}


def _call_text(call: ApiCall, text: str) -> ApiCall:
    """Send a text; ``CREDENTIAL`` in it stands for the valid one, in JSON's own escapes."""
    return replace(call, body=text.replace("CREDENTIAL", json.loads(call.body)["credential"]).encode())


def _call_member(call: ApiCall, name: str, value: Any) -> ApiCall:
    return replace(call, body=json.dumps(json.loads(call.body) | {name: value}).encode())


def _call_drop(call: ApiCall, name: str) -> ApiCall:
    return replace(
        call, body=json.dumps({key: value for key, value in json.loads(call.body).items() if key != name}).encode()
    )


_ON_CALL: Final[Mapping[str, Callable[..., ApiCall]]] = {
    "call_text": _call_text,
    "call_latin_1": lambda call, text: replace(call, body=text.encode("latin-1")),
    "call_encoded": lambda call, encoding: replace(call, body=call.body.decode().encode(encoding)),
    "call_member": _call_member,
    "call_drop": _call_drop,
    "call_pad": lambda call, size: replace(call, body=call.body.ljust(size)),
    "call_method": lambda call, method: replace(call, method=method),
    "call_type": lambda call, value: replace(call, headers=(("content-type", value),)),
    "call_without_type": lambda call: replace(call, headers=()),
    "call_header": lambda call, name, value: replace(call, headers=(*call.headers, (name, value))),
}


def _json_type(body: str, content_type: str = "application/json", status: int = 200) -> WireAnswer:
    return WireAnswer(
        status=status,
        headers={"Content-Type": content_type, "x-amzn-RequestId": "request-of-sts"},
        body=body.encode(),
    )


def _xml_type(body: str, content_type: str = "text/xml", status: int = 200) -> WireAnswer:
    return _json_type(body, content_type, status)


Identity = Mapping[str, Any]


def identity_json(identity: Identity) -> str:
    """Write a GetCallerIdentity answer in JSON."""
    result = {"Arn": identity["Arn"], "UserId": identity["UserId"], "Account": identity["Account"]}
    metadata = {"RequestId": "request-of-sts"}
    return json.dumps(
        {"GetCallerIdentityResponse": {"GetCallerIdentityResult": result, "ResponseMetadata": metadata}},
        separators=(",", ":"),
    )


def identity_xml(identity: Identity) -> str:
    """Write a GetCallerIdentity answer in XML."""
    result = "".join(f"<{name}>{identity[name]}</{name}>" for name in ("Arn", "UserId", "Account"))
    return (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        f"{result}</GetCallerIdentityResult><ResponseMetadata><RequestId>request-of-sts</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    )


def _error_json(status: int, code: str) -> WireAnswer:
    return _json_type(json.dumps({"Error": {"Type": "Sender", "Code": code, "Message": "-"}}), status=status)


def _error_xml(status: int, code: str) -> WireAnswer:
    return _xml_type(
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>-</Message></Error><RequestId>request-of-sts</RequestId></ErrorResponse>",
        status=status,
    )


def _in_json(identity: Identity, old: str, new: str) -> WireAnswer:
    return _json_type(mutations.replace_once(identity_json(identity), old, new))


def _in_xml(identity: Identity, old: str, new: str) -> WireAnswer:
    return _xml_type(mutations.replace_once(identity_xml(identity), old, new))


def _with_header(identity: Identity, name: str, value: str) -> WireAnswer:
    answer = _json_type(identity_json(identity))
    return replace(answer, headers={**answer.headers, name: value})


def _gzipped(identity: Identity, padding: int) -> WireAnswer:
    answer = _with_header(identity, "Content-Encoding", "gzip")
    return replace(answer, body=gzip.compress(answer.body + b" " * padding, mtime=0))


# Of the true identity.
_STS_ANSWERS: Final[Mapping[str, Callable[..., WireAnswer]]] = {
    "identity": lambda identity, changes: _json_type(identity_json({**identity, **changes})),
    "xml": lambda identity: _xml_type(identity_xml(identity)),
    "in_json": _in_json,
    "in_xml": _in_xml,
    "around_json": lambda identity, before, after: _json_type(before + identity_json(identity) + after),
    "around_xml": lambda identity, before, after: _xml_type(before + identity_xml(identity) + after),
    "json_as": lambda identity, content_type: _json_type(identity_json(identity), content_type),
    "xml_as": lambda identity, content_type: _xml_type(identity_xml(identity), content_type),
    "json_with_status": lambda identity, status: _json_type(identity_json(identity), status=status),
    "json_with_header": _with_header,
    "cut_json": lambda identity, size: _json_type(identity_json(identity)[:size]),
    "cut_xml": lambda identity, size: _xml_type(identity_xml(identity)[:size]),
    "xml_encoded": lambda identity, encoding: replace(
        _xml_type(""), body=f'<?xml version="1.0" encoding="{encoding}"?>{identity_xml(identity)}'.encode(encoding)
    ),
    "gzipped": _gzipped,
    "error_json": lambda _identity, status, code: _error_json(status, code),
    "error_xml": lambda _identity, status, code: _error_xml(status, code),
    "answer": lambda _identity, status, content_type, body: _json_type(body, content_type, status),
    "sts_hangs_up": lambda _identity: WireAnswer(ends=True),
}


def _tag(role: RoleRecord, key: str, value: str) -> RoleRecord:
    return replace(role, tags=tuple((dict(role.tags) | {key: value}).items()))


_ON_ROLE: Final[Mapping[str, Callable[..., RoleRecord]]] = {
    "role": lambda role, changes: replace(role, **changes),
    "tags": lambda role, tags: replace(role, tags=tuple((key, value) for key, value in tags)),
    "tag": _tag,
    "add_tag": lambda role, key, value: replace(role, tags=(*role.tags, (key, value))),
    "drop_tag": lambda role, key: replace(role, tags=tuple(tag for tag in role.tags if tag[0] != key)),
}


def role_xml(role: RoleRecord) -> str:
    """Write a GetRole answer."""
    tags = "".join(
        f"<member><Key>{escape(key)}</Key><Value>{escape(value)}</Value></member>" for key, value in role.tags
    )
    return (
        '<GetRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetRoleResult><Role><Path>/</Path>'
        f"<Arn>{role.arn}</Arn><RoleName>{role.name}</RoleName><RoleId>{role.role_id}</RoleId>"
        f"<CreateDate>2026-11-01T00:00:00Z</CreateDate><Tags>{tags}</Tags></Role></GetRoleResult>"
        "<ResponseMetadata><RequestId>request-of-iam</RequestId></ResponseMetadata></GetRoleResponse>"
    )


def _iam_error(_role: RoleRecord, status: int, code: str) -> WireAnswer:
    return _xml_type(
        f'<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Code>{code}</Code>'
        "<Message>-</Message></Error><RequestId>request-of-iam</RequestId></ErrorResponse>",
        status=status,
    )


_IAM_ANSWERS: Final[Mapping[str, Callable[..., WireAnswer]]] = {
    "iam_error": _iam_error,
    "iam_answer": lambda _role, status, content_type, body: _xml_type(body, content_type, status),
    "iam_lacks": lambda role, name: _xml_type(re.sub(f"<{name}>.*?</{name}>", "", role_xml(role))),
    "cut_iam": lambda role, size: _xml_type(role_xml(role)[:size]),
    "iam_hangs_up": lambda _role: WireAnswer(ends=True),
}
_ON_CLAIM: Final[Mapping[str, Callable[..., Any]]] = {
    "claim": lambda claim, changes: {**claim, **changes},
    "claim_only": lambda _claim, value: value,
    "no_claim": lambda _claim: None,
}
_ON_CLOCK: Final[Mapping[str, Callable[..., datetime]]] = {
    "later": lambda now, seconds: now + timedelta(seconds=seconds),
}
_NOTHING: Final[Mapping[str, Callable[..., Any]]] = {"as_it_is": lambda value: value}
OPS: Final = frozenset().union(
    _ON_RECIPE, _ON_SIGNED, _TO_TEXT, _ON_CALL, _STS_ANSWERS, _ON_ROLE, _IAM_ANSWERS, _ON_CLAIM, _ON_CLOCK, _NOTHING
)


def _apply(words: Mapping[str, Callable[..., _T]], case: Case, value: Any, otherwise: Callable[[], _T]) -> _T:
    return words[case.op](value, *case.args) if case.op in words else otherwise()


def baseline(form: CredentialForm) -> Recipe:
    """Return the recipe without a change."""
    return Recipe(form=form, audience=AUDIENCE)


def identity_of(partition: str) -> dict[str, str]:
    """Return the identity that STS names without a change."""
    return {
        "Arn": f"arn:{partition}:sts::{ACCOUNT}:assumed-role/{ROLE}/{SESSION}",
        "UserId": f"{ROLE_ID}:{SESSION}",
        "Account": ACCOUNT,
    }


@functools.cache
def every_scene() -> tuple[tuple[Case, Scene], ...]:
    """Build every case, once."""
    return tuple((case, build(case)) for case in load_cases())


def build(case: Case) -> Scene:
    """Make everything that playing a case needs."""
    assert case.op in OPS, f"{case.id}: {case.op} is no word of a change"
    own = baseline(case.form)
    recipe = _apply(_ON_RECIPE, case, own, lambda: own)
    signed = recipe.sign()
    call = _apply(_ON_SIGNED, case, signed, lambda: signed)
    credential = _apply(_TO_TEXT, case, call, call.credential)
    partition = case.given.get("partition", "aws")
    true = identity_of(partition)
    plain = RoleRecord(
        arn=f"arn:{partition}:iam::{ACCOUNT}:role/workloads/{ROLE}",
        role_id=ROLE_ID,
        name=ROLE,
        tags=tuple(case.given.get("tags", DATAPLANE).items()),
        request_id="request-of-iam",
    )
    role = _apply(_ON_ROLE, case, plain, lambda: plain)
    usual_claim = case.given.get("claim", PROXY)
    members = {"credential": credential, "proxy": _apply(_ON_CLAIM, case, usual_claim, lambda: usual_claim)}
    api_call = ApiCall(body=json.dumps(members).encode())
    return Scene(
        recipe=own,
        url=call.url,
        credential=credential,
        call=_apply(_ON_CALL, case, api_call, lambda: api_call),
        now=_apply(_ON_CLOCK, case, NOW, lambda: NOW),
        sts=_apply(_STS_ANSWERS, case, true, lambda: _json_type(identity_json(true))),
        role=role,
        iam=_apply(_IAM_ANSWERS, case, role, lambda: _xml_type(role_xml(role))),
    )
