FROM python:3.11.14-slim-bookworm AS build
WORKDIR /build
RUN python -m venv /opt/broker
COPY requirements.lock ./
RUN /opt/broker/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY broker broker
COPY mappings mappings
COPY topics topics
# setuptools comes from the lock; tools that only build are not in the image
RUN /opt/broker/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/broker/bin/pip uninstall --yes setuptools pip

FROM python:3.11.14-slim-bookworm
# a volume that is mounted below /keys gets the owner and the mode that the directory has here
RUN python -m pip uninstall --yes --root-user-action=ignore setuptools wheel pip \
    && useradd --system --uid 10001 --home-dir /var/lib/broker --create-home broker \
    && install --directory --owner=broker --mode=0700 /keys/broker /keys/gateway /keys/subscriber
COPY --from=build /opt/broker /opt/broker
COPY scripts/is-ready /usr/local/bin/is-ready
ENV PATH=/opt/broker/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BROKER_DATA_DIR=/var/lib/broker
USER 10001
WORKDIR /var/lib/broker
VOLUME /var/lib/broker
EXPOSE 8080
STOPSIGNAL SIGTERM
# every role serves /readyz on BROKER_PORT
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 CMD ["is-ready"]
ENTRYPOINT ["fhir-broker"]
CMD ["serve"]
