"""A small example world; `config/emulator.toml` contains the same text."""

from typing import Final

EXAMPLE: Final = """\
# An AWS for `kuma-aws-iam emulator`: accounts, their IAM roles and the roles' tags. Keys are made up at each start.
# partition = "aws"        # aws-cn, aws-us-gov, ...: of every account that names no other

# The sidecar of one workload in one mesh.
[accounts."111122223333".roles.demo-app.tags]
"kuma.io/type" = "dataplane"
"kuma.io/mesh" = "default"
"kuma.io/workload" = "demo-app"

# A sidecar of a mesh that names no workload, under a path.
[accounts."111122223333".roles.batch]
path = "/workloads/"
[accounts."111122223333".roles.batch.tags]
"kuma.io/type" = "dataplane"
"kuma.io/mesh" = "default"

[accounts."111122223333".roles.zone-ingress.tags]
"kuma.io/type" = "ingress"

[accounts."111122223333".roles.zone-egress.tags]
"kuma.io/type" = "egress"

# A role that was never meant for the mesh.
[accounts."111122223333".roles.untagged]

# The role of the service itself.
[accounts."111122223333".roles.kuma-aws-iam]
may_get_roles = ["*"]      # shell-style patterns of role ARNs; this is the default

# A second account, with the role through which the service reads its roles.
[accounts."444455556666".roles.kuma-aws-iam-reader]
external_id = "kuma-control-plane"
trusted = ["arn:aws:iam::111122223333:role/kuma-aws-iam"]   # who may assume it; everyone by default

[accounts."444455556666".roles.backend]
# role_id = "AROA..."             # made up by default
# max_session_duration = 3600
[accounts."444455556666".roles.backend.tags]
"kuma.io/type" = "dataplane"
"kuma.io/mesh" = "payments"
"kuma.io/service" = "backend"   # before Kuma 3.0 a service is a tag

# A user, with a key pair made up or given: access_key_id, secret_access_key.
[accounts."444455556666".users.operator]
"""
