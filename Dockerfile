# Untested: no Docker was at hand when this was written.
#
#   docker build --tag rsidiff .                                     # torch for CUDA; the driver is the host's
#   docker build --tag rsidiff --build-arg TORCH_INDEX_URL=… .       # an index with CPU builds of torch: a small image
#   docker run --rm --gpus all --volume rsidiff:/project rsidiff kedro run --pipeline=rsi --params rounds=6
#   docker run --rm --volume rsidiff:/project rsidiff rsidiff runs   # without --gpus on a machine without a GPU
#
# The volume holds the project: configuration, data and the records of MLflow.

ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist /source

FROM python:${PYTHON}-slim
ARG TORCH_INDEX_URL=
# For example [hub,ray], or [quantization] on CUDA.
ARG EXTRAS=
COPY constraints.txt /tmp/constraints.txt
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch
COPY --from=build /dist /tmp/dist
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt "$(echo /tmp/dist/*.whl)${EXTRAS}"
# Kedro's GitPython complains without git; nothing here needs it.
ENV GIT_PYTHON_REFRESH=quiet
RUN useradd --create-home rsidiff && mkdir /project && chown rsidiff /project
USER rsidiff
RUN rsidiff init /project
WORKDIR /project
CMD ["kedro", "run", "--pipeline=rsi"]
