FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements ./requirements
RUN python -m venv /opt/scheduler \
    && /opt/scheduler/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt \
    && pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY . .
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/scheduler/bin/pip install --no-cache-dir --no-deps /dist/*.whl

FROM python:3.11-slim
# bubblewrap is for jobs with isolation: sandbox.
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends bubblewrap \
    && rm -rf /var/lib/apt/lists/*
# A named user: PostgreSQL's initdb and its peer login insist on a name.
RUN useradd --uid 10001 --create-home --home-dir /var/lib/scheduler scheduler
COPY --from=build /opt/scheduler /opt/scheduler
ENV PATH=/opt/scheduler/bin:$PATH \
    PYTHONUNBUFFERED=1
USER scheduler
WORKDIR /var/lib/scheduler
ENTRYPOINT ["scheduler"]
