"""Several processes on one host (``KMESH_AWSIAM_WORKERS``): the first one looks after those that serve."""
