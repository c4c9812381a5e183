"""Pure decisions: standard library only, no I/O, no clock, no logging, no environment.

One type per hop; holding a value is the proof that its step ran::

    str -> SignedRequest -> ValidatedRequest -> ForwardableRequest -> StsReply -> CallerIdentity
        -> Principal -> AdmittedPrincipal -> RoleRecord -> RoleGrant -> ProxyIdentity
"""
