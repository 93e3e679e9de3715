# The image of every node: Ray's own, with drp-ray and vLLM for CUDA 13. See rayjob.yaml and docs/operations.md.
#
#   docker build -t YOUR-REGISTRY/drp-ray:0.1.0 .
#
# Models are not in it: they come from the hub, a bucket or a volume, once a node. PyTorch brings CUDA's libraries; the
# node brings the driver (the NVIDIA container toolkit), which must support CUDA 13.
FROM rayproject/ray:2.60.0-py312

# Triton compiles its kernels when vLLM starts.
RUN sudo apt-get update -qq \
    && sudo apt-get install -y -qq --no-install-recommends gcc g++ \
    && sudo rm -rf /var/lib/apt/lists/*

WORKDIR /home/ray/drp-ray
COPY --chown=ray requirements/gpu.txt requirements/gpu.txt
RUN pip install --no-cache-dir -r requirements/gpu.txt

COPY --chown=ray pyproject.toml README.md LICENSE ./
COPY --chown=ray drp_ray drp_ray
RUN pip install --no-cache-dir --no-deps . \
    && drp-ray --help > /dev/null
COPY --chown=ray jobs jobs
