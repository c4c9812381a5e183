"""AWS IAM workload identity for Kuma and Kong Mesh.

A proxy presents a signed ``sts:GetCallerIdentity`` request; this service checks it, asks STS who signed it, reads the
role's ``kuma.io/*`` tags and answers which proxy the caller is authorized to be.

The way of one decision, and where its parts are::

    api          HTTP in, problem+json or an identity out
    authenticator  the numbered steps; the only place where decisions meet AWS
    core         pure decisions over frozen types: credential, rules, STS answer, principal, tags, proxy
    adapters     STS, IAM, the caches and the store that replicas share, behind the ports of the authenticator
    settings     the environment, read once
    cli          the commands; emulator: a local AWS that verifies SigV4, for the demo, the tests and trying things out
"""

__version__ = "0.1.0"
