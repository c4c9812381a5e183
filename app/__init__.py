"""AWS IAM workload identity for Kuma and Kong Mesh.

A proxy presents a signed ``sts:GetCallerIdentity`` request; this service checks it, asks STS who signed it, reads the role's
``kuma.io/*`` tags and answers which proxy the caller is authorized to be.

The packages, and which of them may import which, are listed in docs/explanation/architecture.md. The path of one decision::

    server    accepts a connection and reads a request
    api       reads the call, and writes an identity or problem+json
    decision  the numbered steps; the only place where decisions use AWS
    core      pure decisions over frozen types: credential, rules, answer of STS, principal, tags, proxy
    sts, iam  the calls to AWS behind the ports of the decision, and the caches of their answers
"""

__version__ = "0.1.0"
