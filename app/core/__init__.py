"""Pure decisions. This package imports only the standard library, does no I/O and no logging, and reads no clock.

Each step returns its own type, so a value of that type proves that the step ran::

    str -> SignedRequest -> ValidatedRequest -> ForwardableRequest -> StsReply -> CallerIdentity
        -> Principal -> AdmittedPrincipal -> RoleRecord -> RoleGrant -> ProxyIdentity
"""
