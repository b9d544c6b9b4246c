# The server on ONNX Runtime for CPU.
#   BASE_IMAGE: any image with `python3` >= 3.11 and its venv module.
#   REQUIREMENTS: requirements/gpu.txt for CUDA, with all it needs but the driver; UNITSCOPE_DEVICE=cuda then uses it.
#   PIP_INDEX_URL, PIP_CERT: only for a mirror of the package index; hashes are checked all the same.
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS build
ARG REQUIREMENTS=requirements/runtime.txt
ARG PIP_INDEX_URL
ARG PIP_CERT
WORKDIR /source
RUN python3 -m venv /opt/build && python3 -m venv /opt/unitscope
COPY requirements/build.txt ${REQUIREMENTS} requirements/
RUN /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt \
    && /opt/unitscope/bin/pip install --no-cache-dir --require-hashes -r ${REQUIREMENTS}
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY service service
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/unitscope/bin/pip install --no-cache-dir --no-deps /wheels/*.whl

FROM ${BASE_IMAGE}
COPY --from=build /opt/unitscope /opt/unitscope
ENV PATH="/opt/unitscope/bin:${PATH}" PYTHONUNBUFFERED=1
# A number, so that Kubernetes can tell that it is not root.
USER 10001:10001
EXPOSE 8001 8000
# It asks grpc.health.v1 and fails unless the answer is SERVING. Kubernetes uses its own gRPC probes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["unitscope", "health"]
ENTRYPOINT ["unitscope"]
CMD ["serve", "--host", "0.0.0.0"]
