# visionattn in a container, from Debian and PyPI only. PyPI's PyTorch brings CUDA and runs on CPUs too:
#   docker build -t visionattn .
#   docker run --rm visionattn train trainer.max_epochs=1                        # CPU
#   docker run --rm --gpus all -v "$PWD:/work" visionattn train data.root=/work/photos data=image_folder
FROM debian:trixie-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-dev python3-venv g++ \
 && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml constraints.txt README.md LICENSE /opt/visionattn/
COPY visionattn /opt/visionattn/visionattn
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir -c /opt/visionattn/constraints.txt '/opt/visionattn[onnx]'
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /work
ENTRYPOINT ["visionattn"]
CMD ["--help"]
