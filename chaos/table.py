"""All rows, by the stage on which they are played. Rows of one stage share its service, one after the other."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from chaos import (
    accounts_faults,
    caller_faults,
    change,
    endpoint_faults,
    hanging_accounts,
    iam_faults,
    lifecycle,
    sts_faults,
)
from chaos.aws import HOME, OTHERS, SIXTEEN
from chaos.liar import open_liar
from chaos.row import Row
from chaos.stage import Stage, open_stage


@dataclass(frozen=True, slots=True)
class Lane:
    """Rows that follow each other on one stage.

    Attributes:
        open: builds the stage.
        rows: they are played in this order.
        seconds: about how long they take.
    """

    open: Callable[[], AbstractContextManager[Stage]]
    rows: tuple[Row, ...]
    seconds: int


def lanes() -> list[Lane]:
    """Return the lanes in the order of the printed table."""
    second = {"KMESH_AWSIAM_ROLE_TTL": f"{iam_faults.ROLE_TTL:g}"}
    brief = {**second, "KMESH_AWSIAM_ROLE_MAX_STALE": f"{iam_faults.MAX_STALE:g}"}
    quick = {**second, "KMESH_AWSIAM_DECISION_TIMEOUT": f"{lifecycle.DECISION_TIMEOUT}"}
    sixteen = {
        "KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": ",".join(SIXTEEN),
        "KMESH_AWSIAM_DECISION_TIMEOUT": f"{hanging_accounts.DECISION_TIMEOUT:g}",
    }
    return [
        Lane(open_stage, tuple(sts_faults.rows()), 80),
        Lane(lambda: open_stage(start=False), tuple(endpoint_faults.rows()), 35),
        Lane(lambda: open_stage(second), tuple(iam_faults.rows()), 90),
        Lane(lambda: _stage_with_liar(second), tuple(iam_faults.rows_of_lies()), 20),
        Lane(lambda: open_stage(brief), (*iam_faults.rows_of_known_roles(), *change.rows()), 30),
        Lane(lambda: open_stage(quick), tuple(iam_faults.rows_of_accounts()), 35),
        Lane(lambda: open_stage(sixteen), tuple(hanging_accounts.rows()), 35),
        Lane(lambda: open_stage(second), tuple(iam_faults.rows_of_assume_role()), 60),
        Lane(lambda: open_stage(second, start=False), tuple(caller_faults.rows()), 30),
        Lane(_stage_with_accounts_file, tuple(accounts_faults.rows()), 60),
        Lane(lambda: open_stage(quick, start=False), tuple(lifecycle.rows()), 100),
    ]


@contextlib.contextmanager
def _stage_with_accounts_file() -> Iterator[Stage]:
    with open_stage({"KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS": ""}, start=False) as stage:
        accounts_faults.write(stage, HOME, *OTHERS)
        stage.environment["KMESH_AWSIAM_AUTHORIZEDACCOUNTIDS_FILE"] = str(stage.folder / accounts_faults.FILE)
        stage.is_shared = True
        stage.start().until_ready()
        stage.service.until_own_account()
        yield stage


@contextlib.contextmanager
def _stage_with_liar(variables: Mapping[str, str]) -> Iterator[Stage]:
    with open_stage(variables, start=False) as stage, open_liar(stage.emulator.url) as liar:
        stage.environment["AWS_ENDPOINT_URL_IAM"] = liar.url
        stage.is_shared, stage.liar = True, liar
        stage.start().until_ready()
        stage.service.until_own_account()
        yield stage
