import pytest

from app.core.base64_text import Base64TextError, decode_base64, decode_base64url, encode_base64url

SAMPLES = [b"", b"a", b"ab", b"abc", b"\xfb\xff\xfe", bytes(range(256))]


@pytest.mark.parametrize("data", SAMPLES)
def test_base64url_decodes_to_what_was_encoded(data: bytes) -> None:
    assert decode_base64url(encode_base64url(data)) == data


def test_encode_base64url_writes_no_padding_and_the_alphabet_of_urls() -> None:
    assert encode_base64url(b"\xfb\xff\xfe!") == "-__-IQ"


@pytest.mark.parametrize(
    ("text", "data"),
    [("", b""), ("YQ==", b"a"), ("YWI=", b"ab"), ("YWJj", b"abc"), ("+//+", b"\xfb\xff\xfe")],
)
def test_decode_base64_reads_padded_standard_base64(text: str, data: bytes) -> None:
    assert decode_base64(text) == data


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("YQ==", id="padding"),
        pytest.param("YR", id="unused-bits-set"),
        pytest.param("Y", id="one-character-over"),
        pytest.param("YWJjZ", id="five-characters"),
        pytest.param("+//+", id="alphabet-of-standard-base64"),
        pytest.param("YWJj\n", id="newline-at-the-end"),
        pytest.param("YW Jj", id="blank-within"),
        pytest.param("YWJj.", id="foreign-character"),
        pytest.param("YWJ\u0458", id="cyrillic-twin"),
        pytest.param("YWJ\udc80", id="lone-surrogate"),
    ],
)
def test_decode_base64url_rejects_a_second_spelling(text: str) -> None:
    with pytest.raises(Base64TextError):
        decode_base64url(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("YQ", id="no-padding"),
        pytest.param("YQ=", id="half-padding"),
        pytest.param("YWJj====", id="padding-too-much"),
        pytest.param("YR==", id="unused-bits-set"),
        pytest.param("YQ==YQ==", id="two-values"),
        pytest.param("-__-", id="alphabet-of-urls"),
        pytest.param("YWJj\n", id="newline-at-the-end"),
        pytest.param("YW\nJj", id="mime-line-break"),
        pytest.param("YWJj!", id="foreign-character"),
        pytest.param("YWJ\u0458", id="cyrillic-twin"),
    ],
)
def test_decode_base64_rejects_a_second_spelling(text: str) -> None:
    with pytest.raises(Base64TextError):
        decode_base64(text)
