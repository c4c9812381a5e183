"""STS or IAM cannot be reached at all: nobody listens, there is no such name, its certificate is not trusted."""

from collections.abc import Callable, Iterator
from typing import Final

from app.emulator import Emulator
from chaos.aws import HOME, free_port
from chaos.certificate import make_certificate
from chaos.row import Promise, Row, Seen
from chaos.stage import Stage

_VARIABLES: Final = {"STS": "AWS_ENDPOINT_URL_STS", "IAM": "AWS_ENDPOINT_URL_IAM"}
_NO_NAME: Final = "https://does-not-exist.invalid"
_AT_ONCE: Final = 3
_SECONDS: Final = 4.0


def rows() -> Iterator[Row]:
    """Yield the rows; each starts services of its own."""
    for upstream, variable in _VARIABLES.items():
        unavailable = (f"503 {upstream.lower()}_unavailable",)
        yield Row(
            fault=f"{upstream} is gone: connection refused",
            promise=Promise(outcomes=unavailable, within=_SECONDS, words="known credentials stay allowed"),
            play=_gone(variable),
        )
        yield Row(
            fault=f"{upstream} has no address: DNS failure",
            promise=Promise(
                outcomes=unavailable, within=_SECONDS, recovery=None, words="allowed after a start with the right name"
            ),
            play=_dns(variable),
        )
        yield Row(
            fault=f"{upstream} shows a certificate that nobody trusts",
            promise=Promise(
                outcomes=unavailable, within=_SECONDS, recovery=None, words="allowed after a start that trusts it"
            ),
            play=_tls(variable),
        )


def _unknown(stage: Stage) -> str:
    return stage.tasks.credential(HOME, stage.tasks.new_role())


def _gone(variable: str) -> Callable[[Stage, Promise], Seen]:
    def play(stage: Stage, promise: Promise) -> Seen:
        port = free_port()
        aws = Emulator(stage.tasks.world, port=port).start()
        try:
            service = stage.start(**{variable: aws.url})
            service.until_ready()
            service.until_own_account()
            known = stage.known()
        finally:
            aws.stop()
        seen = Seen(stage.caller.ask_all(_unknown(stage) for _ in range(_AT_ONCE)))
        answer = stage.caller.ask(known)
        seen.expect(answer.allowed, f"a known credential was answered {answer.outcome}")
        with Emulator(stage.tasks.world, port=port):
            seen.recovered = stage.recovery(lambda: _unknown(stage), 3 * (promise.recovery or 0))
        service.end()
        return seen

    return play


def _dns(variable: str) -> Callable[[Stage, Promise], Seen]:
    def play(stage: Stage, _promise: Promise) -> Seen:
        return _wrong_then_right(stage, {variable: _NO_NAME}, {})

    return play


def _tls(variable: str) -> Callable[[Stage, Promise], Seen]:
    def play(stage: Stage, _promise: Promise) -> Seen:
        certificate, key = make_certificate(stage.folder)
        with Emulator(stage.tasks.world, ssl_certfile=str(certificate), ssl_keyfile=str(key)) as aws:
            endpoint = {variable: aws.url}
            return _wrong_then_right(stage, endpoint, {**endpoint, "AWS_CA_BUNDLE": str(certificate)})

    return play


def _wrong_then_right(stage: Stage, wrong: dict[str, str], right: dict[str, str]) -> Seen:
    stage.start(**wrong).until_ready()
    seen = Seen(stage.caller.ask_all(_unknown(stage) for _ in range(_AT_ONCE)))
    stage.restart(**right)
    seen.expect(stage.caller.ask(_unknown(stage)).allowed, "not allowed by the right one either")
    stage.service.end()
    return seen
