"""What `tests.support.warm` imports and computes once in its fork server, and never in a test's own process.

``serve`` makes the imports of rich and pydantic.v1 fail; see `app.cli.serve`. No other command uses them here.
"""

import functools
import gc
import sys
from typing import Any, cast

for _name in ("rich", "pydantic.v1"):
    cast("dict[str, Any]", sys.modules).setdefault(_name, None)

import app.agent.renewal  # noqa: E402 - after what the imports must not find
import app.agent.runner  # noqa: E402
import app.agent.sources  # noqa: E402
import app.cli.agent  # noqa: E402
import app.cli.authenticate  # noqa: E402
import app.cli.keys  # noqa: E402
import app.cli.serve  # noqa: E402
import app.server.process  # noqa: E402, F401
from app.http import network  # noqa: E402
from app.local.trust import client_context  # noqa: E402
from app.settings.environment import Settings  # noqa: E402
from app.sts.endpoints import load_sts_endpoints  # noqa: E402

# What each process would compute from files that are the same for all.
load_sts_endpoints()
Settings.model_rebuild()
vars(network)["client_context"] = cached = functools.cache(client_context)
cached(None)
# The garbage collector of a child need not look at any of this again, and so copies no page of it.
gc.collect()
gc.freeze()
