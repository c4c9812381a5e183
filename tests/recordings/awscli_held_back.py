"""Print what `aws sts get-caller-identity` signs for the real host, as JSON, and send nothing (by_awscli.py runs this).

A process of its own, since importing awscli puts its own older copy of botocore in the place of the real one.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout
from dataclasses import asdict

from awscli.clidriver import create_clidriver  # the first import, so that all modules use awscli's botocore
from capture import BeforeSend

if __name__ == "__main__":
    hook = BeforeSend()
    with redirect_stdout(io.StringIO()):
        driver = create_clidriver()
        driver.session.register("before-send.sts.GetCallerIdentity", hook)
        driver.main(sys.argv[1:])
    sys.stdout.write(json.dumps(asdict(hook.request)))
