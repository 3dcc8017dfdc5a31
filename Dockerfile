# kerasnn with the CUDA libraries as wheels: the base needs none of them, the host a driver and NVIDIA's container toolkit.
#
#     docker build -t kerasnn .
#     mkdir -p runs
#     docker run --gpus all --user "$(id -u):$(id -g)" -v "$PWD/runs:/home/kerasnn/runs" kerasnn model=vgg16 data=cifar10
#     docker build -t kerasnn --build-arg EXTRAS=server .        # without CUDA: three gigabytes instead of eight

ARG BASE=python:3.12-slim
FROM ${BASE}

# The optional dependencies of pyproject.toml to install: gpu brings CUDA, server PostgreSQL's driver for MLflow.
ARG EXTRAS=gpu,server

ENV PATH=/opt/kerasnn/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

RUN python3 -m venv /opt/kerasnn \
 && useradd --create-home --uid 1000 kerasnn \
 && mkdir -p /artifacts /home/kerasnn/runs /home/kerasnn/.keras \
 && chown -R kerasnn:kerasnn /artifacts /home/kerasnn

# The dependencies are a layer of their own, so that a change of the code does not install them anew.
WORKDIR /src
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = [need for extra in '${EXTRAS}'.split(',') if extra for need in project['optional-dependencies'][extra]]; \
print(*project['dependencies'], *extras, 'hatchling', sep='\n')" > requirements.txt \
 && pip install --constraint constraints.txt --requirement requirements.txt

COPY . .
RUN pip install --no-deps --no-build-isolation . && rm -rf /src

USER kerasnn
ENV HOME=/home/kerasnn
WORKDIR /home/kerasnn

# An image that cannot train is not made: two steps on the digits, on the CPU, since a build sees no GPU.
# Whomever --user names can write at home, as one must to whom a mounted folder of the host belongs.
RUN python -m kerasnn trainer=smoke tracking=none hydra.run.dir=/tmp/smoke \
 && rm -rf /tmp/smoke \
 && chmod -R a+rwX /home/kerasnn

# The same while it runs, off the GPU: what trains there needs its memory.
HEALTHCHECK --interval=30m --timeout=5m --start-period=5m --retries=2 \
    CMD rm -rf /tmp/health && CUDA_VISIBLE_DEVICES=-1 python -m kerasnn trainer=smoke tracking=none hydra.run.dir=/tmp/health

ENTRYPOINT ["python", "-m", "kerasnn"]
