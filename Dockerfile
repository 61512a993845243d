FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /opt/broker
COPY requirements.lock ./
RUN /opt/broker/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY broker broker
# setuptools comes from the lock; tools that only build are not in the image
RUN /opt/broker/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/broker/bin/pip uninstall --yes setuptools pip

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/broker --create-home broker
COPY --from=build /opt/broker /opt/broker
COPY topics /etc/fhir-broker/topics
ENV PATH=/opt/broker/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BROKER_TOPICS_DIR=/etc/fhir-broker/topics \
    BROKER_DATA_DIR=/var/lib/broker
USER broker
WORKDIR /var/lib/broker
VOLUME /var/lib/broker
EXPOSE 8080
STOPSIGNAL SIGTERM
# every role serves /readyz on BROKER_PORT
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('BROKER_PORT', '8080') + '/readyz', timeout=2)"]
ENTRYPOINT ["fhir-broker"]
CMD ["serve"]
