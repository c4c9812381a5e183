"""The sidecar agent: keep a proxy's token file valid as long as the proxy runs.

::

    dataplane_file what a proxy asserts, from the resource that kuma-dp reads
    sources        what to write: a credential that the agent signs, or a token that the service issues for it
    service_client one call to the service; bounded_socket limits the time of the whole call
    schedule       when to renew, how long to wait after a failure, when to give up; pure functions
    renewal        makes one renewal; renewal_thread repeats it, and waits between two renewals
    runner         signals, the proxy's process, and the agent's own exit
    held           reads a token file and its expiry, for the agent and its health check
    service_address the address of the service
    errors, lines  why a renewal failed, with the exit status; the log

An agent runs beside every proxy, so it must be small: it imports the rules and the signer, but neither the HTTP server nor
boto3.
"""
