"""Changes to a call after it was signed. Each one fails if it changes nothing, so that no test passes by accident."""

from collections.abc import Callable
from dataclasses import replace

from tests.support.signing import SignedCall

Pairs = list[tuple[str, str]]


def replace_in_url(call: SignedCall, old: str, new: str) -> SignedCall:
    """Replace the one occurrence of ``old`` in the URL's text."""
    return replace(call, url=replace_once(call.url, old, new))


def change_query(call: SignedCall, change: Callable[[Pairs], Pairs]) -> SignedCall:
    """Change the list of query pairs as they are in the text: encoded names and values, in order."""
    base, _, query = call.url.partition("?")
    pairs = [(name, value) for name, _, value in (pair.partition("=") for pair in query.split("&"))]
    url = f"{base}?{'&'.join(f'{name}={value}' for name, value in change(pairs))}"
    assert url != call.url, "the mutation does nothing"
    return replace(call, url=url)


def set_parameter(call: SignedCall, name: str, value: str) -> SignedCall:
    """Give a parameter another value, encoded by the caller."""
    return change_query(call, lambda pairs: [(key, value if key == name else old) for key, old in pairs])


def append_parameter(call: SignedCall, name: str, value: str) -> SignedCall:
    """Add a parameter behind the others."""
    return change_query(call, lambda pairs: [*pairs, (name, value)])


def prepend_parameter(call: SignedCall, name: str, value: str) -> SignedCall:
    """Add a parameter before the others, where STS takes the first of two."""
    return change_query(call, lambda pairs: [(name, value), *pairs])


def drop_parameter(call: SignedCall, name: str) -> SignedCall:
    """Leave a parameter out."""
    return change_query(call, lambda pairs: [(key, value) for key, value in pairs if key != name])


def rename_parameter(call: SignedCall, old: str, new: str) -> SignedCall:
    """Spell a parameter's name in another way."""
    return change_query(call, lambda pairs: [(new if key == old else key, value) for key, value in pairs])


def parameter(call: SignedCall, name: str) -> str:
    """The encoded value of a parameter."""
    return next(pair.partition("=")[2] for pair in call.url.split("?")[1].split("&") if pair.startswith(f"{name}="))


def set_header(call: SignedCall, name: str, value: str) -> SignedCall:
    """Give a header another value, or add it, in exactly this spelling of its name."""
    headers = dict(call.headers) | {name: value}
    assert headers != dict(call.headers), "the mutation does nothing"
    return replace(call, headers=tuple(headers.items()))


def drop_header(call: SignedCall, name: str) -> SignedCall:
    """Leave a header out."""
    assert name in dict(call.headers), "the mutation does nothing"
    return replace(call, headers=tuple((key, value) for key, value in call.headers if key != name))


def replace_in_header(call: SignedCall, name: str, old: str, new: str) -> SignedCall:
    """Replace the one occurrence of ``old`` in a header's value."""
    return set_header(call, name, replace_once(dict(call.headers)[name], old, new))


def replace_in_authorization(call: SignedCall, old: str, new: str) -> SignedCall:
    """Replace the one occurrence of ``old`` in the Authorization value."""
    return replace_in_header(call, "Authorization", old, new)


def replace_once(text: str, old: str, new: str) -> str:
    """Replace the one occurrence of ``old``."""
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the text"
    assert old != new, "the mutation does nothing"
    return text.replace(old, new)
