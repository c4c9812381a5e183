"""What another policy would have decided: on the facts of a decision as it happens, or of its audit line later.

Nothing in this package can approve a proxy: `app.decision` and `app.tokens` make the decisions, and do not use this package.
"""
