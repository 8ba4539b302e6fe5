FROM python:3.13-slim
RUN pip install --no-cache-dir uv \
    && useradd --create-home --uid 1000 reformatters \
    && install -d -o reformatters /opt/dagster/dagster_home
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY templates templates
COPY dataset_defs dataset_defs
COPY reformatters_dagster reformatters_dagster
RUN uv sync --no-dev --no-cache
ENV PATH=/app/.venv/bin:$PATH NUMBA_CACHE_DIR=/opt/numba OPENBLAS_NUM_THREADS=1
RUN install -d -o reformatters /opt/numba
USER 1000
RUN python -m reformatters_dagster.compile_kernels
