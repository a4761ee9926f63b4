# One program in one image. `docker build .` (or --target api) makes it; --target worker is the same image under the name
# the sources use for it: timers live in the actors of every node, so a "worker" is one more node (docs/decisions/0065).
# Another base image: --build-arg PYTHON_IMAGE=registry.example.org/python:3.11-slim (any Debian or Ubuntu with Python
# 3.11 or newer at the same path in both stages).
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS installed
# A mirror of the package index, if there is one: --build-arg PIP_INDEX_URL=https://mirror.example.org/simple
ARG PIP_INDEX_URL
WORKDIR /opt/kith
COPY constraints.txt docker/pins.py ./
# As `make run` does: every file's hash is checked, nothing is resolved, nothing is compiled.
RUN python -m venv .venv \
 && python pins.py constraints.txt > pins.txt \
 && .venv/bin/python -I -m pip install --no-cache-dir --disable-pip-version-check --no-input --no-deps \
        --require-hashes --only-binary :all: -r pins.txt \
 && .venv/bin/python -I -m pip uninstall --yes --quiet setuptools pip \
 && rm pins.py pins.txt
COPY LICENSE ./
COPY actors actors
COPY http http
COPY migrations migrations
COPY realtime realtime
COPY storage storage
# The .pth and the launcher are the installer's own; the byte code is made here because the file system will be read-only.
# A checkout made under a strict umask must not become an image that its user cannot read.
RUN python -I -c 'import sys; sys.path.insert(0, "realtime"); import installer; installer.write_links()' \
 && .venv/bin/python -I -m compileall -q -f -j 0 --invalidation-mode unchecked-hash actors http realtime storage .venv/lib \
 && chmod -R a+rX .

FROM ${PYTHON_IMAGE} AS program
ARG VERSION=unreleased
LABEL org.opencontainers.image.title="Kith" \
      org.opencontainers.image.description="A realtime server for messages and stories" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"
# A fixed uid, so that a volume or a bind mount can be given to it; no shell, no home, nothing but KITH_VAR is his.
RUN groupadd --gid 10001 kith \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin kith \
 && install --directory --owner kith --group kith --mode 0700 /var/lib/kith
COPY --from=installed /opt/kith /opt/kith
ENV PATH=/opt/kith/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    KITH_VAR=/var/lib/kith
WORKDIR /opt/kith
USER 10001:10001
VOLUME /var/lib/kith
EXPOSE 8000
# The node drains within 10 s of it; give it more than that before the kill (docker stop --time 20, stop_grace_period).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["kith", "healthcheck"]
ENTRYPOINT ["kith"]
CMD ["serve"]

FROM program AS worker

FROM program AS api
