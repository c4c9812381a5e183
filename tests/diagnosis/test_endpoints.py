"""Every accepted host of STS and IAM gets a request. An imitation of the pool replaces the network."""

import asyncio
import socket
from datetime import UTC, datetime
from typing import Any, Final, cast

from app.diagnosis.endpoints import check_endpoints
from app.diagnosis.finding import Finding
from app.http.http1 import HttpReply
from app.http.network import NetworkOptions
from app.http.pool import HttpPool, Origin, Progress
from app.local.causes import Stage
from tests.conftest import LoadSettings
from tests.support.world import NEW_GENERATION

REFUSED: Final = b"<ErrorResponse><Error><Code>MissingAuthenticationToken</Code></Error></ErrorResponse>"


class InventedPool:
    """Answers as AWS for every host except the unknown ones, and counts the requests by host."""

    def __init__(self, *unknown: str, status: int = 403, body: bytes = REFUSED) -> None:
        self.unknown = unknown
        self.answer = status, body
        self.requests: dict[str, bytes] = {}
        self.under_way = self.most = 0

    async def exchange(self, origin: Origin, request: bytes, _due: float, *, progress: Progress, **_: Any) -> HttpReply:
        self.requests[origin.host] = request
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if origin.host in self.unknown:
            progress.stage = Stage.NAME
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").encode()
        return HttpReply(self.answer[0], {b"date": date}, self.answer[1])


async def look(settings_of: LoadSettings, pool: InventedPool, **variables: str) -> dict[str, Finding]:
    settings = settings_of(**NEW_GENERATION, AWS_REGION="eu-west-1", **variables)
    return {row.check: row for row in await check_endpoints(settings, cast("HttpPool", pool), NetworkOptions())}


async def test_every_accepted_host_is_asked_without_a_signature_and_not_all_at_once(settings_of: LoadSettings) -> None:
    pool = InventedPool("sts-fips.eu-west-1.amazonaws.com")
    rows = await look(settings_of, pool)
    assert [row.state.value for row in rows.values()] == ["ok", "ok", "ok"]
    [regions] = [check for check in rows if check.startswith("STS, ")]
    assert f"{len(pool.requests) - 2} hosts" in rows[regions].found, "all but IAM, and but the one that does not exist"
    assert len(pool.requests) > 140
    assert pool.most <= 32
    assert "iam.amazonaws.com" in pool.requests
    assert not any(b"uthorization" in request or b"X-Amz-" in request for request in pool.requests.values())


async def test_only_the_regions_of_the_settings_and_the_own_one_are_asked(settings_of: LoadSettings) -> None:
    pool = InventedPool("sts.eu-west-1.amazonaws.com")
    rows = await look(settings_of, pool, KMESH_AWSIAM_REGIONS="eu-central-1")
    assert {host.split(".")[1] for host in pool.requests} == {"eu-central-1", "eu-west-1", "amazonaws"}
    assert (rows["STS eu-central-1"].state, rows["STS, own calls"].state) == ("ok", "failed")


async def test_what_answers_in_place_of_aws_is_told(settings_of: LoadSettings) -> None:
    rows = await look(settings_of, InventedPool(status=200, body=b"<html>"), KMESH_AWSIAM_REGIONS="eu-west-1")
    assert "is not AWS: HTTP 200" in rows["STS eu-west-1"].found
    rows = await look(settings_of, InventedPool(status=503), KMESH_AWSIAM_REGIONS="eu-west-1")
    assert "answers HTTP 503" in rows["STS eu-west-1"].found
