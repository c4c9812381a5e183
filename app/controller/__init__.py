"""The ECS token controller: tasks without an agent get their token from an AWS secret.

::

    tasks, held_token, secret, plan   pure: whose token is to be put into which secret, and why
    reasons                           the closed sets of reasons, calls and failures
    aws_calls, ecs, secrets           the calls to ECS and Secrets Manager, through boto3 in threads
    role_identities                   the identity that a task's role grants, by the service's own rules
    issuer, control_plane, own_keys   where tokens come from: the control plane's API, or signing keys
    passes                            one pass over all tasks: the only module that puts a token
    controller                        passes in a loop, and the end of the process
    metrics, diagnostics              what the controller counts, and its probes
"""
