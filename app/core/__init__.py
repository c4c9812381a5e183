"""Pure decisions. This package imports only the standard library. It does no I/O and reads no clock, log or environment.

Each step returns its own type, so a value of that type proves that the step ran::

    str -> SignedRequest -> ValidatedRequest -> ForwardableRequest -> StsReply -> CallerIdentity
        -> Principal -> AdmittedPrincipal -> RoleRecord -> RoleGrant -> ProxyIdentity
"""
