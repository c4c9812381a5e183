"""The sidecar agent: keep a proxy's token file valid as long as the proxy runs.

::

    sources        what to write: a credential that the agent signs, or a token that the service issues for it
    service_client one call to the service; bounded_socket limits the time of the whole call
    schedule       when to renew, how long to wait after a failure, when to give up; pure
    renewal        one renewal after the other; renewal_thread waits between them
    runner         signals, the proxy's process, and the agent's own exit
    held           the content of a token file and its expiry, for the agent and its health check
    service_address the address of the service
    errors, lines  why a renewal failed, with the exit status; the log

It runs beside every proxy, so it imports only what it needs: the rules and the signer, but neither the HTTP server nor
boto3.
"""
