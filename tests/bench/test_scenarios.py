"""A very small storm, played to its end against the real service."""

import os
import time

import pytest

from app.emulator import Emulator
from bench.processes import cores
from bench.service import effective_settings, service_environment
from bench.storm.catalogue import chosen
from bench.storm.promises import promises
from bench.storm.scenarios import play_all
from tests.support.patience import PATIENCE

SMALL = {"sidecars": 20, "roles": 4, "connections": 8}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a benchmark keeps each process to one core")
def test_a_small_storm_over_tls_asks_once_for_each_credential_and_role() -> None:
    storms = chosen(["five-4k-tls"], everything=False, changes={**SMALL, "accounts": 2})
    before = os.sched_getaffinity(0)
    (outcome,) = play_all(storms, cores(), time.monotonic() + PATIENCE)
    assert os.sched_getaffinity(0) == before
    assert outcome.seen is not None
    assert len(outcome.seen.clients["admitted"]) == 20
    assert (outcome.sts_calls, outcome.get_role_calls, outcome.throttled) == (20, 4, 0)
    assert outcome.seen.clients["denied"] == {}
    assert "allowed" not in outcome.seen.clients["impostors"]
    assert outcome.connections > 0
    assert outcome.handshake is not None
    settings = effective_settings(service_environment(Emulator(), 5690))
    kept = [words for holds, words in promises([outcome], settings) if holds]
    assert any("one STS call a credential" in words for words in kept)


def test_a_storm_without_time_is_not_played() -> None:
    storms = chosen(["one-4k"], everything=False, changes=SMALL)
    (outcome,) = play_all(storms, cores(), time.monotonic())
    assert outcome.is_late
    assert outcome.seen is None
