# The service with the packages of requirements.lock. The trained models are mounted and not copied, because ratings lie
# beside them, and nobody may hand those on:
#
#   dvc pull && dvc repro split
#   docker build --tag hybridvae .
#   docker run --rm --publish 8000:8000 --volume "$PWD/data:/app/data:ro" hybridvae
#
# What follows the image's name is a command of `python -m hybridvae`: hybridvae serve --host 0.0.0.0 --model ease

FROM python:3.12 AS build
# pip reads it. An index with torch's builds for CPUs makes the image several gigabytes smaller.
ARG PIP_EXTRA_INDEX_URL
WORKDIR /build
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY src src
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --constraint requirements.lock .

FROM python:3.12-slim
RUN useradd --create-home hybridvae
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH HYBRIDVAE_CACHE=/home/hybridvae/cache
WORKDIR /app
COPY params.yaml sources.yaml ./
USER hybridvae
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["python", "-m", "hybridvae"]
CMD ["serve", "--host", "0.0.0.0"]
