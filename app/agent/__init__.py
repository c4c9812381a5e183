"""The sidecar agent: keeps a proxy's token file good for as long as the proxy runs.

::

    sources        what to write: a credential signed here, or a token that the service gives for one
    service_client one call of the service; bounded_socket gives the whole of it one time
    schedule       when to renew, how long to wait after a failure, when to give up; pure
    renewal        one renewal after the other; renewal_thread waits between them
    runner         signals, the proxy's process, and the end
    held           what a token file holds and until when: for the agent and for its health check
    service_address where the service is asked
    errors, lines  why a renewal failed, with the exit status; the log

It runs beside every proxy, so it imports only what it needs: the rules and the signer, but neither the HTTP server nor
boto3.
"""
