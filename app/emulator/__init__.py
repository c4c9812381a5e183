"""A local AWS that really checks signatures: STS and IAM for the demo, tests and benchmarks.

The emulator implements AWS's behaviour independently: it shares no code with the service.

    identities             roles, principals, keys: plain values
    world                  the accounts and everything in them;  world_file, example, tags: their TOML form
    problems               what is wrong with a TOML file, or with the body of a request
    hosts                  AWS's host names
    wire, query_protocol   HTTP requests and answers; AWS's Query protocol
    signature_claim        what a request says about its signature;  sigv4: recomputes it
    sts, iam               the actions
    fault_kinds, faults    faults on demand;  spoiling, lies: what each fault does to an answer
    gateway                checks a request in AWS's order, and makes its answer
    container_credentials  the endpoint of the ECS agent;  control: the endpoints for the operator
    asgi, delivery         the application, and how answers are sent;  calls: the log of calls
    server                 `Emulator` and `serve`;  listening: the changes to uvicorn
"""

from app.emulator.calls import Call, CallLog
from app.emulator.example import EXAMPLE
from app.emulator.fault_kinds import FaultKind
from app.emulator.faults import Faults
from app.emulator.identities import Role, SessionCredentials, UserCredentials
from app.emulator.server import Emulator, create_emulator_app, serve
from app.emulator.world import World
from app.emulator.world_file import WorldFileError

__all__ = [
    "EXAMPLE",
    "Call",
    "CallLog",
    "Emulator",
    "FaultKind",
    "Faults",
    "Role",
    "SessionCredentials",
    "UserCredentials",
    "World",
    "WorldFileError",
    "create_emulator_app",
    "serve",
]
