"""AWS IAM workload identity for Kuma and Kong Mesh.

A proxy presents a signed ``sts:GetCallerIdentity`` request. This service checks the request and asks STS who signed it. Then
the service reads the ``kuma.io/*`` tags of the signer's role, and answers which identity the proxy may have.

docs/explanation/architecture.md lists the packages and their allowed imports. One decision uses these packages::

    server    accepts a connection and reads a request
    api       reads the call, and writes an identity or problem+json
    decision  runs the numbered steps; only this package uses AWS in a decision
    core      decides without I/O, with immutable types: credential, rules, answer of STS, principal, tags, proxy
    sts, iam  call AWS for the decision, and cache the answers
"""

__version__ = "0.1.0"
