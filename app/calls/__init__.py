"""The queue in front of an upstream, used for STS (`app.sts.calls`) and for IAM (`app.iam.calls`).

A call belongs to the service, not to a decision: a call goes on when the decision that needs it ends. `app.calls.call_order`
decides which call goes out next. `app.calls.call_queue` makes the calls and gives their answers to the waiting decisions.
"""
