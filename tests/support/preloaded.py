"""What `tests.support.warm` imports once in its fork server, and never in a test's own process.

``serve`` makes the imports of rich and pydantic.v1 fail; see `app.cli.serve`.
"""

import sys
from typing import Any, cast

for _name in ("rich", "pydantic.v1"):
    cast("dict[str, Any]", sys.modules).setdefault(_name, None)

import app.cli.serve  # noqa: E402 - after what the imports must not find
import app.server.process  # noqa: E402, F401
