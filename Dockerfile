# visionattn in a container, from Debian and PyPI only. PyPI's PyTorch brings CUDA 13 and runs on CPUs too, so that one
# image of 7 GB serves both, half of it CUDA's libraries. An index with PyTorch's wheels for CPUs makes it smaller:
#   docker build -t visionattn .                                                 # or --build-arg PIP_EXTRA_INDEX_URL=...
#   docker run --rm visionattn train trainer.max_epochs=1                        # CPU
#   docker run --rm --gpus all -v "$PWD:/work" visionattn train data.root=/work/photos data=image_folder
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
