"""Check the store that replicas share: log in, and run each command that the service uses, on a key of its own."""

import asyncio
import secrets
from collections.abc import Iterator
from typing import Final

from app.diagnosis.finding import Finding, failed, ok
from app.settings.environment import Settings
from app.settings.options import store_options

_CHECK: Final = "store"
_SECONDS: Final = 4.0


async def check_store(settings: Settings) -> list[Finding]:
    """Return the finding about the store. If the settings name none, the finding says so."""
    options = store_options(settings)
    if options is None:
        return [ok(_CHECK, "none: replicas share nothing")]
    from redis.exceptions import ResponseError  # noqa: PLC0415 - a service without a store does not need the package

    from app.store.budget import SCRIPT, script_arguments  # noqa: PLC0415 - likewise
    from app.store.redis_connection import (  # noqa: PLC0415 - likewise
        connection_factory,
        exchange,
        explain,
        log_in,
        peer_of,
    )

    shown = str(options.address)
    name = f"kuma-aws-iam:doctor:{secrets.token_hex(8)}"
    commands: dict[str, tuple[str | bytes | int, ...]] = {
        "SET": ("SET", name, b"", "NX", "PX", 1000),
        "GETRANGE": ("GETRANGE", name, 0, 1),
        "DEL": ("DEL", name),
        "EVAL": ("EVAL", SCRIPT, 1, name, *script_arguments(1.0, 1.0)),
    }
    connection = connection_factory(options.address, options.ca_file)()
    try:
        async with asyncio.timeout(_SECONDS):
            await log_in(connection)
            replies = await exchange(connection, [*commands.values()])
            await exchange(connection, [commands["DEL"]])
    except Exception as error:  # noqa: BLE001 - the server may send anything
        cause = explain(error, peer_of(options.address))
        return [failed(_CHECK, cause.problem, f"{cause.remedy}; until it answers, each replica works alone")]
    finally:
        await connection.disconnect(nowait=True)
    refused = [word for word, reply in zip(commands, replies, strict=True) if isinstance(reply, ResponseError)]
    return [*_judge(shown, refused)]


def _judge(shown: str, refused: list[str]) -> Iterator[Finding]:
    if refused:
        remedy = "allow the store's user SET, GETRANGE, DEL, EVAL and EVALSHA on kuma-aws-iam:*"
        yield failed(_CHECK, f"{shown} refuses {', '.join(refused)}", remedy)
    else:
        yield ok(_CHECK, f"{shown}: answers, and permits every command that the service uses")
