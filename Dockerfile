# The image of kuma-aws-iam: a virtual environment from hash-pinned wheels on a slim Python, nothing to build with inside.
#
#   docker build --build-arg VERSION=1.2.3 --build-arg REVISION="$(git rev-parse HEAD)" --tag kuma-aws-iam .
#
# Pin the base by digest in a release pipeline: --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:...
# Both stages use it, since a virtual environment works only with the interpreter that it was made by.
ARG PYTHON_IMAGE=python:3.13-slim

# ---------------------------------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS build

# Where packages come from, if not from pip's default (a mirror without a password: build arguments are recorded).
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# Dependencies first: this layer changes when a lock file does, not when the code does. Every file is checked against
# its hash, none is resolved beyond the lock file, and only wheels are taken, so no foreign setup script runs here.
# The environments have no pip of their own; the base image's pip fills them from outside.
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN python -m venv --without-pip /opt/kuma-aws-iam \
    && python -m pip --python /opt/kuma-aws-iam/bin/python install \
        --no-compile --no-deps --only-binary=:all: --require-hashes --requirement requirements/runtime.txt
RUN python -m venv --without-pip /opt/build \
    && python -m pip --python /opt/build/bin/python install \
        --no-deps --only-binary=:all: --require-hashes --requirement requirements/build.txt

# The project itself: the build backend is the pinned one, and from here on nothing comes from the network.
COPY pyproject.toml README.md LICENSE ./
COPY app/ app/
RUN /opt/build/bin/python -m hatchling build --target wheel --directory /wheels \
    && python -m pip --python /opt/kuma-aws-iam/bin/python install --no-compile --no-deps --no-index /wheels/*.whl \
    && python -m pip --python /opt/kuma-aws-iam/bin/python check

# A quarter of the environment is botocore's description of services that are never called. Kept: the two that are, and
# those that credential providers use (`kuma-aws-iam credential` under an SSO or console login).
RUN find /opt/kuma-aws-iam/lib/python3.*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name iam ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -r {} +

# Bytecode is made here, once, because the service cannot write any on a read-only root file system and would compile
# everything again at each start and each health check. Unchecked, because the sources in an image never change.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/kuma-aws-iam/lib \
    && /opt/kuma-aws-iam/bin/kuma-aws-iam --help > /dev/null

# ---------------------------------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE}

# What the service does not need: pip (and the copy of it in ensurepip), and programs that change the user. The slim
# image ships the standard library without bytecode, so it is compiled here for the same reason as above.
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
    && rm -rf /usr/local/lib/python3.*/ensurepip /usr/local/lib/python3.*/idlelib /usr/local/lib/python3.*/turtledemo \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /usr/local/lib/python3.* \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +

# Owned by root and not writable by the service's user.
COPY --from=build /opt/kuma-aws-iam /opt/kuma-aws-iam

# No shell, no other interpreter than Python, nothing that installs: whatever gets in finds less to go on with, and
# nothing of the service needs one. In JSON form, as everything below, since a step in shell form could not follow. The
# second step is the proof: it starts the command in the image as it will be. The package database stays, for scanners.
RUN ["find", "/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "-regextype", "posix-extended", "-regex", \
     ".*/(sh|bash|dash|rbash|perl[0-9.]*|apt(-[a-z]+)?|dpkg(-[a-z]+)*)", "-delete"]
# hadolint ignore=DL3059
RUN ["/opt/kuma-aws-iam/bin/kuma-aws-iam", "--version"]

# Unbuffered, so that an audit line is out before the answer that it tells of; no bytecode, since there is nowhere to
# write it to.
ENV PATH=/opt/kuma-aws-iam/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="kuma-aws-iam" \
      org.opencontainers.image.description="AWS IAM workload identity for Kuma and Kong Mesh" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# A number, so that an orchestrator that insists on "not root" can see it without reading /etc/passwd.
USER 65532:65532
WORKDIR /

# No EXPOSE: the service listens on loopback, for the control plane in the same task. No VOLUME: it writes no file.
STOPSIGNAL SIGTERM
# For Docker and Compose; ECS and Kubernetes ignore it and have their own (config/ecs/control-plane-task.json).
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["kuma-aws-iam", "health"]
ENTRYPOINT ["kuma-aws-iam"]
CMD ["serve"]
