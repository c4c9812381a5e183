"""Properties of libraries on which a security rule relies. If one fails after an upgrade, review the rule."""

import base64
import binascii
import json
import re
import sys
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit
from xml.etree import ElementTree as ET

import pytest
from botocore.auth import SIGNED_HEADERS_BLACKLIST, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.utils import percent_encode

from app.core.presigned import PARAMETERS
from app.core.signed_request import CredentialForm
from tests.support.signing import BODY, FORM_TYPE, HOST, REGION, Recipe

URL = f"https://{HOST}/"


# Under strict_json: json.


def test_json_hands_every_pair_to_the_hook_inner_objects_first() -> None:
    seen: list[list[tuple[str, Any]]] = []

    def hook(pairs: list[tuple[str, Any]]) -> str:
        seen.append(pairs)
        return "object"

    assert json.loads('{"a": {"b": 1, "b": 2}, "a": [{}]}', object_pairs_hook=hook) == "object"
    assert seen == [[("b", 1), ("b", 2)], [], [("a", "object"), ("a", ["object"])]]


def test_json_alone_would_take_the_last_of_two() -> None:
    assert json.loads('{"a": 1, "a": 2}') == {"a": 2}


def test_json_lets_an_error_of_the_hook_through() -> None:
    def hook(_pairs: list[tuple[str, Any]]) -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        json.loads("{}", object_pairs_hook=hook)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_json_asks_about_constants_that_json_does_not_have(constant: str) -> None:
    seen: list[str] = []
    json.loads(f"[{constant}]", parse_constant=seen.append)
    assert seen == [constant]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_json_ends_deep_nesting_in_a_recursion_error(text: str) -> None:
    with pytest.raises(RecursionError):
        json.loads(text)


def test_json_refuses_a_number_too_long_to_convert() -> None:
    """CVE-2020-10735: the conversion takes quadratic time; it is a ValueError from 4300 digits on."""
    assert 0 < sys.get_int_max_str_digits() <= 4300
    with pytest.raises(ValueError, match="digits"):
        json.loads("1" * 5000)


def test_json_refuses_a_byte_order_mark_in_text() -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads("\ufeff{}")


def test_json_would_guess_the_encoding_of_bytes() -> None:
    """So bytes are decoded as UTF-8 before json parses them."""
    assert json.loads('{"a": 1}'.encode("utf-16")) == {"a": 1}


# Under sts_documents: expat.


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<a/><a/>", id="two-roots"),
        pytest.param("<a/>x", id="text-behind-the-root"),
        pytest.param("x<a/>", id="text-before-the-root"),
        pytest.param("<a>&e;</a>", id="undefined-entity"),
        pytest.param("<a>&#0;</a>", id="character-that-xml-does-not-have"),
        pytest.param("<a>", id="cut-short"),
        pytest.param("<a b='1' b='2'/>", id="attribute-twice"),
        pytest.param("<x:a/>", id="unknown-prefix"),
        pytest.param("", id="empty"),
    ],
)
def test_expat_refuses_what_is_not_one_whole_document(text: str) -> None:
    with pytest.raises(ET.ParseError):
        ET.fromstring(text)  # noqa: S314 - the test checks this parser


def test_expat_names_elements_with_their_namespace() -> None:
    root = ET.fromstring('<a xmlns="urn:x"><b xmlns="urn:y"/></a>')  # noqa: S314 - our own text
    assert (root.tag, root[0].tag) == ("{urn:x}a", "{urn:y}b")


def test_expat_would_drop_a_comment_and_split_the_text_around_it() -> None:
    """It is undefined which half a reader sees (the SAML bypasses of 2018), so comments are refused before parsing."""
    assert ET.fromstring("<a>1<!-- x -->2</a>").text == "12"  # noqa: S314 - our own text


def test_a_parse_error_is_no_value_error() -> None:
    assert not issubclass(ET.ParseError, ValueError)


# Under base64_text: base64.


@pytest.mark.parametrize("text", [b"YW\nJj", b"YWJj!", b" YWJj", b"YW=Jj"])
def test_base64_with_validation_refuses_foreign_characters(text: bytes) -> None:
    with pytest.raises(binascii.Error):
        base64.b64decode(text, validate=True)


def test_base64_without_validation_would_drop_them() -> None:
    assert base64.b64decode(b"YW\nJj!") == b"abc"


def test_base64_takes_unused_bits_that_are_set() -> None:
    """So a value has several spellings. Only encoding it again shows which one is canonical."""
    assert base64.b64decode(b"YQ==", validate=True) == base64.b64decode(b"YR==", validate=True) == b"a"


def test_a_base64_error_is_a_value_error() -> None:
    assert issubclass(binascii.Error, ValueError)
    assert issubclass(UnicodeEncodeError, ValueError)


# Under every grammar of the core: re and str.


def test_word_characters_are_ascii_only_with_the_flag() -> None:
    assert re.fullmatch(r"\w", "\u0435")
    assert not re.fullmatch(r"\w", "\u0435", re.ASCII)


def test_ignoring_case_folds_beyond_ascii_only_without_the_flag() -> None:
    assert re.fullmatch("k", "\u212a", re.IGNORECASE)
    assert not re.fullmatch("k", "\u212a", re.IGNORECASE | re.ASCII)


def test_fullmatch_refuses_the_newline_that_a_dollar_lets_pass() -> None:
    assert re.match("^a$", "a\n")
    assert not re.fullmatch("a", "a\n")


def test_lower_folds_letters_beyond_ascii_to_ours() -> None:
    """So keys and names are compared exactly. A text that equals one only after folding is refused."""
    assert "\u212auma.io/mesh".lower() == "kuma.io/mesh"


# Under sigv4 and request_policy: datetime.


@pytest.mark.parametrize("text", ["20261124T051560Z", "20261124T051561Z", "20261124T240000Z", "00000101T000000Z"])
def test_strptime_refuses_moments_that_do_not_exist_with_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


@pytest.mark.parametrize("rest", [" ", "\n", "0"])
def test_strptime_refuses_any_rest(rest: str) -> None:
    with pytest.raises(ValueError, match="unconverted data"):
        datetime.strptime(f"20261124T051500Z{rest}", "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def test_times_with_and_without_a_zone_are_never_compared() -> None:
    with pytest.raises(TypeError):
        _ = datetime(2026, 1, 1, tzinfo=UTC) - datetime(2026, 1, 1)  # noqa: DTZ001 - the mistake under test


# Under presigned and forwarding: urllib.


def test_unquote_leaves_broken_escapes_as_they_are() -> None:
    """So broken escapes are refused before."""
    assert unquote_to_bytes("%zz%4") == b"%zz%4"


def test_unquote_leaves_a_plus_as_it_is() -> None:
    assert unquote_to_bytes("a+b") == b"a+b"


def test_quote_escapes_as_sigv4_wants_it() -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, UriEncode."""
    every = "".join(map(chr, range(0x21, 0x7F)))
    unreserved = {character for character in every if character.isalnum()} | set("-_.~")
    assert quote(every, safe="-_.~") == "".join(
        character if character in unreserved else f"%{ord(character):02X}" for character in every
    )
    assert quote(every, safe="-_.~") == percent_encode(every)


def test_urlsplit_would_drop_line_breaks_and_fold_the_host() -> None:
    """So the service splits a URL by its own grammar, and compares the host unchanged."""
    parts = urlsplit("https://STS.amazon\naws.com/")
    assert (parts.netloc, parts.hostname) == ("STS.amazonaws.com", "sts.amazonaws.com")


# The library with which callers sign, and with which the tests verify: botocore.


def canonical_headers(value: str) -> str:
    headers = HTTPHeaders()
    headers["x-kuma-audience"] = value
    return SigV4Auth(Recipe(form=CredentialForm.NATIVE).key, "sts", REGION).canonical_headers(headers)


def test_botocore_collapses_blanks_in_header_values() -> None:
    """Two values that differ in blanks share a signature. The audience of an envelope is compared unchanged."""
    assert canonical_headers("  a   b ") == canonical_headers("a b") == "x-kuma-audience:a b"


def test_botocore_keeps_the_case_of_header_values() -> None:
    assert canonical_headers("A") != canonical_headers("a")


def test_botocore_signs_every_header_but_a_few() -> None:
    """A list that is too strict causes an outage: it must contain every header that botocore signs by itself."""
    assert {"user-agent", "connection", "transfer-encoding"} <= set(SIGNED_HEADERS_BLACKLIST)
    assert not {"host", "content-type", "x-amz-date", "x-amz-security-token"} & set(SIGNED_HEADERS_BLACKLIST)


def test_botocore_writes_the_nine_parameters_of_a_presigned_url() -> None:
    request = AWSRequest("GET", f"{URL}?{BODY}", headers={"x-kuma-audience": "a"})
    SigV4QueryAuth(Recipe(form=CredentialForm.NATIVE).key, "sts", REGION, expires=900).add_auth(request)
    names = [pair.partition("=")[0] for pair in urlsplit(str(request.url)).query.split("&")]
    assert sorted(names) == sorted(PARAMETERS)


def signature(request: AWSRequest) -> str:
    recipe = Recipe(form=CredentialForm.NATIVE)
    signer = SigV4Auth(recipe.key, recipe.service, recipe.region)
    request.context["timestamp"] = "20261124T051500Z"
    return signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(AWSRequest("GET", URL, headers={"x-a": "1"}, data=b"x"), id="method"),
        pytest.param(AWSRequest("POST", f"{URL}x", headers={"x-a": "1"}, data=b"x"), id="path"),
        pytest.param(AWSRequest("POST", f"{URL}?x=", headers={"x-a": "1"}, data=b"x"), id="query"),
        pytest.param(AWSRequest("POST", URL, headers={"x-a": "2"}, data=b"x"), id="header"),
        pytest.param(AWSRequest("POST", URL, headers={"x-b": "1"}, data=b"x"), id="header-name"),
        pytest.param(AWSRequest("POST", URL, headers={"x-a": "1"}, data=b"y"), id="body"),
        pytest.param(AWSRequest("POST", URL.replace("sts", "st5"), headers={"x-a": "1"}, data=b"x"), id="host"),
    ],
)
def test_a_signature_covers_method_path_query_headers_body_and_host(other: AWSRequest) -> None:
    assert signature(other) != signature(AWSRequest("POST", URL, headers={"x-a": "1"}, data=b"x"))


def test_a_signature_does_not_tell_an_empty_path_from_a_slash() -> None:
    assert signature(AWSRequest("GET", URL)) == signature(AWSRequest("GET", URL.removesuffix("/")))


def test_a_signature_does_not_cover_a_body_whose_digest_is_said_to_be_unsigned() -> None:
    """So a signed X-Amz-Content-Sha256 must be the digest of the one body."""
    headers = {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    one, other = (AWSRequest("POST", URL, headers=headers, data=data) for data in (b"x", b"y"))
    assert signature(one) == signature(other)


@pytest.mark.parametrize("form", [CredentialForm.NATIVE, CredentialForm.PLAIN_ENVELOPE])
def test_our_signing_helper_signs_as_botocore_does(form: CredentialForm) -> None:
    """The tests rely on this: their credentials must be real."""
    recipe = Recipe(form=form)
    if form.is_presigned:
        request = AWSRequest("GET", f"{URL}?{BODY}", headers=dict(recipe.binding))
        SigV4QueryAuth(recipe.key, "sts", REGION, expires=900).add_auth(request)
    else:
        headers = {"Content-Type": FORM_TYPE, **dict(recipe.binding)}
        request = AWSRequest("POST", URL, headers=headers, data=BODY.encode())
        SigV4Auth(recipe.key, "sts", REGION).add_auth(request)
    signed_at = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    call = Recipe(form=form, now=signed_at).sign()
    assert call.url == str(request.url)
    assert dict(call.headers) == (dict(request.headers) if not form.is_presigned else {})


# Under every type of the core: Python itself.


def test_frozen_values_cannot_be_changed_or_extended() -> None:
    call = Recipe(form=CredentialForm.NATIVE).sign()
    with pytest.raises(FrozenInstanceError):
        call.url = "https://evil.example/"  # type: ignore[misc]
    assert not hasattr(call, "__dict__")


def test_a_mapping_proxy_cannot_be_written_to() -> None:
    with pytest.raises(TypeError):
        MappingProxyType({})["a"] = 1  # type: ignore[index]


def test_a_timedelta_is_exact() -> None:
    """The limits of an age are compared exactly, without rounding."""
    assert timedelta(minutes=15) < timedelta(seconds=900, microseconds=1)
