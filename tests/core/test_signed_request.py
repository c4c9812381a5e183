import math
import time

import pytest

from app.core.errors import CredentialError
from app.core.reasons import Reason
from app.core.signed_request import CredentialForm, UnverifiedUrl, parse_url


@pytest.mark.parametrize(
    ("form", "is_presigned", "audience_header"),
    [
        (CredentialForm.NATIVE, True, "x-kuma-audience"),
        (CredentialForm.JWT, True, "x-kuma-audience"),
        (CredentialForm.EKS, True, "x-k8s-aws-id"),
        (CredentialForm.ENVELOPE, False, "x-vault-aws-iam-server-id"),
        (CredentialForm.PLAIN_ENVELOPE, False, "x-kuma-audience"),
    ],
)
def test_each_form_has_its_method_and_its_audience_header(
    form: CredentialForm, *, is_presigned: bool, audience_header: str
) -> None:
    """Contract, section 3."""
    assert (form.is_presigned, form.audience_header) == (is_presigned, audience_header)


@pytest.mark.parametrize(
    ("text", "scheme", "authority", "path", "query"),
    [
        ("https://sts.amazonaws.com/", "https", "sts.amazonaws.com", "/", None),
        ("https://sts.amazonaws.com", "https", "sts.amazonaws.com", "/", None),
        ("https://sts.amazonaws.com/?", "https", "sts.amazonaws.com", "/", ""),
        ("https://sts.amazonaws.com?a=b", "https", "sts.amazonaws.com", "/", "a=b"),
        ("https://sts.amazonaws.com/a/b?c=d?e=/f", "https", "sts.amazonaws.com", "/a/b", "c=d?e=/f"),
        ("HTTP://user:pw@STS.amazonaws.com.:443/", "HTTP", "user:pw@STS.amazonaws.com.:443", "/", None),
        ("https:///", "https", "", "/", None),
        ("https://[::1%25lo]/", "https", "[::1%25lo]", "/", None),
        ("https://a//b", "https", "a", "//b", None),
        ("https://a@b@c/", "https", "a@b@c", "/", None),
        ("git+ssh.v-1://x/", "git+ssh.v-1", "x", "/", None),
    ],
)
def test_parse_url_splits_a_url_and_judges_none_of_its_parts(
    text: str, scheme: str, authority: str, path: str, query: str | None
) -> None:
    """The authority stays one unchanged text, because it is compared as a whole."""
    assert parse_url(text) == UnverifiedUrl(scheme=scheme, authority=authority, path=path, query=query)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("/", id="path-alone"),
        pytest.param("sts.amazonaws.com/", id="no-scheme"),
        pytest.param("//sts.amazonaws.com/", id="scheme-relative"),
        pytest.param("https:/sts.amazonaws.com/", id="one-slash"),
        pytest.param("https:sts.amazonaws.com/", id="no-slash"),
        pytest.param("1https://sts.amazonaws.com/", id="scheme-that-begins-with-a-digit"),
        pytest.param("a" * 17 + "://sts.amazonaws.com/", id="long-scheme"),
        pytest.param("://sts.amazonaws.com/", id="empty-scheme"),
        pytest.param(" https://sts.amazonaws.com/", id="leading-blank"),
        pytest.param("\x00https://sts.amazonaws.com/", id="leading-nul"),
        pytest.param("https://sts.amazonaws.com/ ", id="trailing-blank"),
        pytest.param("https://sts.amazonaws.com/\n", id="trailing-newline"),
        pytest.param("https://sts.\tamazonaws.com/", id="tab-that-urllib-drops"),
        pytest.param("https://sts.amazonaws.com/\r\nHost: evil", id="line-break"),
        pytest.param("https://sts.amazonaws.com/#fragment", id="fragment"),
        pytest.param("https://sts.amazonaws.com#@evil/", id="fragment-before-the-path"),
        pytest.param("https://evil\\@sts.amazonaws.com/", id="backslash-that-browsers-take-for-a-slash"),
        pytest.param("https://sts.amazonaws.com\uff0fevil/", id="slash-by-nfkc"),
        pytest.param("https://st\u017f.amazonaws.com/", id="long-s"),
        pytest.param("https://sts.amazonaws.com/\x7f", id="delete"),
    ],
)
def test_parse_url_rejects_what_is_no_absolute_url_of_visible_ascii(text: str) -> None:
    with pytest.raises(CredentialError) as raised:
        parse_url(text)
    assert raised.value.reason is Reason.CREDENTIAL_MALFORMED


@pytest.mark.parametrize("path", ["", "/"], ids=["no-path", "path"])
def test_parse_url_takes_time_in_proportion_to_the_length(path: str) -> None:
    """I20: with a wrong character at the end, a pattern that tries every split of 12 KiB takes half a second."""

    def seconds_of(length: int) -> float:
        text = f"https://{path}{'a' * length}#"
        best = math.inf
        for _ in range(5):
            began = time.thread_time()
            for _ in range(8):
                with pytest.raises(CredentialError):
                    parse_url(text)
            best = min(best, time.thread_time() - began)
        return best

    # In proportion it takes at most 12 times as long; a quadratic parser takes 144 times as long.
    assert seconds_of(12_000) < 50 * seconds_of(1_000)
