# One image for webserver, daemon, code servers, runs and steps.
#   docker build --build-arg BASE=python:3.13-slim@sha256:… --build-arg REVISION="$(git rev-parse HEAD)" --tag … .
# With a digest every build has the same base; without one, the newest.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
ARG UV=0.13.9
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv==${UV}
WORKDIR /app
COPY pyproject.toml ./
# matplotlib and coastlines are for the demo, on a laptop. Nobody here reads tests of libraries, maps of scripts, C headers (but ecCodes'
# Python, its own), or messages other than GRIB. The check that decodes a second time takes the ecCodes that pygrib brings: a second copy
# would be 73 MB.
RUN uv sync --no-dev --no-install-project \
        --no-install-package eccodeslib --no-install-package eckitlib \
        --no-install-package basemap-data --no-install-package matplotlib --no-install-package contourpy \
        --no-install-package cycler --no-install-package fonttools --no-install-package kiwisolver \
        --no-install-package pillow --no-install-package pyparsing \
    && find .venv -type d -name tests -prune -exec rm -r {} + \
    && find .venv -type f '(' -name '*.js.map' -o -name '*.css.map' -o -name '*.h' -o -name '*.pyx' -o -name '*.pxd' ')' \
        -not -path '*/gribapi/*' -delete \
    && rm -r .venv/lib/python3.13/site-packages/pygrib/share/eccodes/definitions/bufr \
        .venv/lib/python3.13/site-packages/pygrib/share/eccodes/definitions/taf \
        .venv/lib/python3.13/site-packages/pygrib/share/eccodes/definitions/metar \
    && mkdir .venv/eccodes && ln -s ../lib/python3.13/site-packages/pygrib.libs .venv/eccodes/lib \
    && ln -s "$(basename .venv/eccodes/lib/libeccodes-*.so)" .venv/eccodes/lib/libeccodes.so \
    && ECCODES_DIR=/app/.venv/eccodes .venv/bin/python -c "import eccodes"
COPY README.md LICENSE ./
COPY templates templates
COPY dataset_defs dataset_defs
COPY reformatters_dagster reformatters_dagster
# Compiled code is known by the times of its sources, of which layers keep whole seconds.
RUN uv pip install --no-deps --python .venv --editable . \
    && find reformatters_dagster dataset_defs -exec touch --date=2000-01-01T00:00:00Z {} + \
    && .venv/bin/python -m compileall -q reformatters_dagster dataset_defs \
    && NUMBA_CACHE_DIR=/opt/numba .venv/bin/python -m reformatters_dagster.compile_kernels

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title=reformatters-dagster \
    org.opencontainers.image.description="Weather models' GRIB2 into Zarr, by Dagster" \
    org.opencontainers.image.licenses=MIT \
    org.opencontainers.image.version=${VERSION} \
    org.opencontainers.image.revision=${REVISION}
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3.13/site-packages/* /usr/local/lib/python3.13/ensurepip \
        /usr/local/lib/python3.13/idlelib /usr/local/lib/python3.13/test \
    && python -m compileall -q /usr/local/lib/python3.13 \
    && useradd --uid 1000 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin reformatters \
    && install -d -o 1000 -g 1000 /opt/dagster/dagster_home
COPY --from=build /opt/numba /opt/numba
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH HOME=/tmp DAGSTER_HOME=/opt/dagster/dagster_home \
    ECCODES_DIR=/app/.venv/eccodes \
    ECCODES_DEFINITION_PATH=/app/.venv/lib/python3.13/site-packages/pygrib/share/eccodes/definitions \
    NUMBA_CACHE_DIR=/opt/numba OPENBLAS_NUM_THREADS=1
USER 1000:1000
