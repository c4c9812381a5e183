from datetime import UTC, datetime
from typing import Any

import pytest

from app.core.errors import CredentialError
from app.core.reasons import Reason
from app.core.sigv4 import (
    Scope,
    Signature,
    parse_amz_date,
    parse_authorization,
    parse_signature,
    require_security_token,
)

AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLEEXAMPLE01/20261124/us-east-1/sts/aws4_request, "
    f"SignedHeaders=content-type;host;x-amz-date, Signature={'0123456789abcdef' * 4}"
)
SCOPE = Scope(
    access_key_id="ASIAEXAMPLEEXAMPLE01", date="20261124", region="us-east-1", service="sts", terminator="aws4_request"
)
SIGNATURE = Signature(
    algorithm="AWS4-HMAC-SHA256",
    scope=SCOPE,
    signed_headers=("content-type", "host", "x-amz-date"),
    value="0123456789abcdef" * 4,
)
PARTS = {
    "algorithm": "AWS4-HMAC-SHA256",
    "credential": "ASIAEXAMPLEEXAMPLE01/20261124/us-east-1/sts/aws4_request",
    "signed_headers": "content-type;host;x-amz-date",
    "signature": "0123456789abcdef" * 4,
}


def rejects(parse: Any, *args: Any, **kwargs: Any) -> bool:
    with pytest.raises(CredentialError) as raised:
        parse(*args, **kwargs)
    return raised.value.reason is Reason.CREDENTIAL_MALFORMED


def test_parse_authorization_reads_who_signed_what() -> None:
    assert parse_authorization(AUTHORIZATION) == SIGNATURE


def test_parse_authorization_reads_one_without_blanks_behind_the_commas() -> None:
    """Some SDKs write no blanks. The service writes them in the request that it sends."""
    assert parse_authorization(AUTHORIZATION.replace(", ", ",")) == SIGNATURE


def test_authorization_writes_the_one_spelling() -> None:
    assert SIGNATURE.authorization() == AUTHORIZATION


def test_parse_signature_reads_the_four_texts() -> None:
    assert parse_signature(**PARTS) == SIGNATURE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("AWS4-HMAC-SHA256 ", "", id="no-algorithm"),
        pytest.param("AWS4-HMAC-SHA256 ", "aws4-hmac-sha256 ", id="algorithm-in-lower-case"),
        pytest.param("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256  ", id="two-blanks"),
        pytest.param("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256,", id="comma-behind-the-algorithm"),
        pytest.param("AWS4-HMAC-SHA256 ", " AWS4-HMAC-SHA256 ", id="leading-blank"),
        pytest.param("Credential=", "credential=", id="field-in-lower-case"),
        pytest.param(", SignedHeaders=", ",  SignedHeaders=", id="two-blanks-behind-a-comma"),
        pytest.param(", SignedHeaders=", " SignedHeaders=", id="no-comma"),
        pytest.param(", SignedHeaders=", ", Extra=x, SignedHeaders=", id="unknown-field"),
        pytest.param("SignedHeaders=content-type", "SignedHeaders=host, SignedHeaders=content-type", id="field-twice"),
        pytest.param("x-amz-date, ", "x-amz-date;x y, ", id="blank-in-the-names"),
        pytest.param(", Signature=", ", Signature=x, Signature=", id="two-signatures"),
        pytest.param("cdef0123456789abcdef0123", "cdef,0123", id="comma-in-the-signature"),
    ],
)
def test_parse_authorization_rejects_another_grammar(old: str, new: str) -> None:
    assert AUTHORIZATION.count(old) == 1 or "cdef" in old
    assert rejects(parse_authorization, AUTHORIZATION.replace(old, new, 1))


@pytest.mark.parametrize("tail", [" ", "\n", ",", ", Extra=x"])
def test_parse_authorization_rejects_anything_behind_the_signature(tail: str) -> None:
    assert rejects(parse_authorization, AUTHORIZATION + tail)


def test_parse_authorization_rejects_fields_in_another_order() -> None:
    head, names, signature = AUTHORIZATION.split(", ")
    assert rejects(parse_authorization, f"{head}, {signature}, {names}")


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param("", id="empty"),
        pytest.param("0" * 63, id="63-digits"),
        pytest.param("0" * 65, id="65-digits"),
        pytest.param("A" * 64, id="upper-case"),
        pytest.param("g" * 64, id="no-hexadecimal"),
        pytest.param("0" * 64 + "\n", id="newline-at-the-end"),
        pytest.param("\u0660" * 64, id="arabic-digits"),
    ],
)
def test_parse_signature_rejects_what_is_no_signature(signature: str) -> None:
    assert rejects(parse_signature, **(PARTS | {"signature": signature}))


@pytest.mark.parametrize(
    "names",
    [
        pytest.param("", id="empty"),
        pytest.param("host;", id="empty-name"),
        pytest.param(";host", id="leading-semicolon"),
        pytest.param("host,x-amz-date", id="comma"),
        pytest.param("host; x-amz-date", id="blank"),
        pytest.param("host\n", id="newline-at-the-end"),
        pytest.param("x_amz_date", id="underscore"),
        pytest.param("a" * 65, id="too-long"),
    ],
)
def test_parse_signature_rejects_what_is_no_list_of_header_names(names: str) -> None:
    assert rejects(parse_signature, **(PARTS | {"signed_headers": names}))


@pytest.mark.parametrize("names", ["Host", "x-amz-date;host", "host;host"])
def test_parse_signature_leaves_the_order_and_the_case_of_the_names_to_a_rule(names: str) -> None:
    assert parse_signature(**(PARTS | {"signed_headers": names})).signed_headers == tuple(names.split(";"))


@pytest.mark.parametrize(
    "credential",
    [
        pytest.param("", id="empty"),
        pytest.param("ASIAEXAMPLEEXAMPLE01/20261124/us-east-1/sts", id="four-parts"),
        pytest.param("ASIAEXAMPLEEXAMPLE01/20261124/us-east-1/sts/aws4_request/x", id="six-parts"),
        pytest.param("/20261124/us-east-1/sts/aws4_request", id="no-access-key-id"),
        pytest.param("ASIAEXAMPLE0001/20261124/us-east-1/sts/aws4_request", id="short-access-key-id"),
        pytest.param("A" * 129 + "/20261124/us-east-1/sts/aws4_request", id="long-access-key-id"),
        pytest.param("asiaexampleexample01/20261124/us-east-1/sts/aws4_request", id="access-key-id-in-lower-case"),
        pytest.param("ASIAEXAMPLEEXAMPLE0\u0661/20261124/us-east-1/sts/aws4_request", id="arabic-digit"),
        pytest.param("ASIAEXAMPLEEXAMPLE01\n/20261124/us-east-1/sts/aws4_request", id="newline-in-the-access-key-id"),
        pytest.param("ASIAEXAMPLEEXAMPLE01//us-east-1/sts/aws4_request", id="no-date"),
        pytest.param("ASIAEXAMPLEEXAMPLE01/20261124//sts/aws4_request", id="no-region"),
        pytest.param("ASIAEXAMPLEEXAMPLE01/20261124/us-east-1.evil.com/sts/aws4_request", id="dot-in-the-region"),
        pytest.param("ASIAEXAMPLEEXAMPLE01/20261124/us-east-1@evil/sts/aws4_request", id="at-sign-in-the-region"),
        pytest.param("ASIAEXAMPLEEXAMPLE01/20261124/us-east-1\n/sts/aws4_request", id="newline-in-the-region"),
        pytest.param("ASIAEXAMPLEEXAMPLE01/20261124/us-east-1/sts/aws4_request\n", id="newline-at-the-end"),
        pytest.param("ASIAEXAMPLEEXAMPLE01/20261124/" + "a" * 65 + "/sts/aws4_request", id="long-region"),
    ],
)
def test_parse_signature_rejects_what_is_no_scope(credential: str) -> None:
    """CVE-2025-49827 and crabbox issue 477: the region is text of the client, from which a host name was built."""
    assert rejects(parse_signature, **(PARTS | {"credential": credential}))


@pytest.mark.parametrize("access_key_id", ["ASIA0123456789AB", "AKIA" + "A" * 124])
def test_parse_signature_reads_access_key_ids_of_16_to_128_characters(access_key_id: str) -> None:
    """AccessKeyId of https://docs.aws.amazon.com/IAM/latest/APIReference/API_AccessKey.html, and its limits."""
    credential = PARTS["credential"].replace("ASIAEXAMPLEEXAMPLE01", access_key_id)
    assert parse_signature(**(PARTS | {"credential": credential})).scope.access_key_id == access_key_id


def test_a_signature_shows_neither_the_key_nor_itself_in_its_repr() -> None:
    assert "ASIA" not in repr(SIGNATURE)
    assert SIGNATURE.value not in repr(SIGNATURE)


def test_parse_amz_date_reads_a_moment_in_utc() -> None:
    assert parse_amz_date("20261124T051500Z") == datetime(2026, 11, 24, 5, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("2026-11-24T05:15:00Z", id="extended-format"),
        pytest.param("20261124T051500", id="no-zone"),
        pytest.param("20261124T051500z", id="zone-in-lower-case"),
        pytest.param("20261124T051500+0000", id="zone-as-an-offset"),
        pytest.param("20261124t051500Z", id="separator-in-lower-case"),
        pytest.param("20261124 051500Z", id="blank-as-separator"),
        pytest.param("2026112T0515000Z", id="digits-in-other-places"),
        pytest.param("20261124T051500Z ", id="trailing-blank"),
        pytest.param("20261124T051500Z\n", id="trailing-newline"),
        pytest.param("20261124T051500Z0", id="one-digit-more"),
        pytest.param("2026112\u0664T051500Z", id="arabic-digit"),
    ],
)
def test_parse_amz_date_rejects_another_spelling(text: str) -> None:
    assert rejects(parse_amz_date, text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("20261324T051500Z", id="13th-month"),
        pytest.param("20260229T051500Z", id="29th-of-february-in-a-common-year"),
        pytest.param("20261124T240000Z", id="hour-24"),
        pytest.param("20261124T051560Z", id="leap-second"),
        pytest.param("20261124T051561Z", id="second-61-that-strptime-knows"),
        pytest.param("00000101T000000Z", id="year-0"),
    ],
)
def test_parse_amz_date_rejects_a_moment_that_does_not_exist(text: str) -> None:
    assert rejects(parse_amz_date, text)


@pytest.mark.parametrize("token", ["x", "Aa0+/=_.~-", "x" * 8192])
def test_require_security_token_returns_what_can_be_a_token(token: str) -> None:
    assert require_security_token(token) == token


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="empty"),
        pytest.param("x" * 8193, id="too-long"),
        pytest.param("a b", id="blank"),
        pytest.param("a\n", id="newline-at-the-end"),
        pytest.param("a\r\nHost: evil", id="line-break"),
        pytest.param("a,b", id="comma"),
        pytest.param("a%2F", id="escape"),
        pytest.param("é", id="beyond-ascii"),
    ],
)
def test_require_security_token_rejects_what_is_none(token: str) -> None:
    assert rejects(require_security_token, token)
