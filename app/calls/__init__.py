"""Calls to STS and IAM: the queue in front of an upstream, and the two upstreams that use it.

A call belongs to the service and not to the decision that asked for it. `app.calls.call_order` decides which call goes out
next, and `app.calls.call_queue` runs the calls and hands their answers to the decisions that wait.
"""
