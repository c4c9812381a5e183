"""The queue in front of an upstream, used for STS (`app.sts.calls`) and for IAM (`app.iam.calls`).

A call belongs to the service and not to the decision that asked for it. `app.calls.call_order` decides which call goes out
next, and `app.calls.call_queue` runs the calls and hands their answers to the decisions that wait.
"""
