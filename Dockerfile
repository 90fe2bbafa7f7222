# visionattn in a container, from Debian and PyPI only. PyPI's PyTorch brings CUDA 13 and runs on CPUs too, so that one
# image of 7 GB serves both, half of it CUDA's libraries. An index with PyTorch's wheels for CPUs makes it smaller:
#   docker build -t visionattn .                                                 # or --build-arg PIP_EXTRA_INDEX_URL=...
#   alias va='docker run --rm --ipc=host -v "$PWD:/work" -v visionattn:/root/.cache'
#   va visionattn train trainer.max_epochs=1                                     # CPU
#   va --gpus all visionattn train data=/work/photos
# Runs are written below the current folder; the volume visionattn keeps the kernels, which are compiled on first use, and
# weights. Workers hand images over in shared memory, of which Docker gives 64 MB without --ipc=host.
FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-dev python3-venv g++ \
 && rm -rf /var/lib/apt/lists/*
ARG PIP_EXTRA_INDEX_URL
COPY pyproject.toml constraints.txt README.md LICENSE /opt/visionattn/
COPY visionattn /opt/visionattn/visionattn
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir -c /opt/visionattn/constraints.txt '/opt/visionattn[onnx]'
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /work
ENTRYPOINT ["visionattn"]
CMD ["--help"]
