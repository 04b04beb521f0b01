# Installs and builds with exactly the packages that `make lock` wrote down, by hash.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /venv \
 && /venv/bin/pip install --require-hashes --only-binary :all: -r requirements.lock \
 && pip install --require-hashes --only-binary :all: -r requirements-build.lock
COPY clients/python clients/python
COPY pyproject.toml README.md LICENSE ./
COPY optim_engine optim_engine
COPY app app
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels ./clients/python . \
 && /venv/bin/pip install --no-deps /wheels/*.whl \
 && /venv/bin/pip check
# Compiles the kernel for large steps and keeps it beside its source. Another kind of processor compiles its own.
RUN cd / && /venv/bin/python -c "from optim_engine import fused_forms, machine; [machine.load(loop) for loop in fused_forms.LOOPS]"

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Optim Service" \
      org.opencontainers.image.description="An optimizer you call over HTTP, every step durable and applied exactly once" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 optim \
 && useradd --uid 10001 --gid optim --home-dir /data --no-create-home --shell /usr/sbin/nologin optim \
 && install --directory --owner optim --group optim /data
COPY --from=build /venv /venv
# The service listens on the container's whole network, so it needs API keys or OPTIM_INSECURE=true to start.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OPENBLAS_NUM_THREADS=1 \
    OPTIM_STORE=lmdb:/data/store \
    OPTIM_HOST=0.0.0.0 \
    OPTIM_PORT=8000 \
    OPTIM_LOG_FORMAT=json
USER 10001:10001
WORKDIR /data
EXPOSE 8000
# Checks that it is alive, not ready: a new container would not bring an absent Redis back. /readyz is for routing traffic.
# It asks itself, so the certificate is not verified. Kubernetes may put an address into OPTIM_PORT.
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s CMD ["python", "-c", "import http.client as h, os, ssl, sys; p = os.environ['OPTIM_PORT']; at = ('127.0.0.1', int(p) if p.isdigit() else 8000); c = h.HTTPSConnection(*at, timeout=4, context=ssl._create_unverified_context()) if os.environ.get('OPTIM_SSL_CERTFILE') else h.HTTPConnection(*at, timeout=4); c.request('GET', '/livez'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["optim"]
CMD ["serve"]
