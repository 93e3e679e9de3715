"""Write a checkpoint as a folder that vLLM and transformers load: `python -m training.export CHECKPOINTS FOLDER`."""

import argparse
import hashlib
from pathlib import Path

import torch
from safetensors.torch import save
from transformers import GenerationConfig, Qwen2Config

from drp_ray.data.tiny_model import END_OF_TEXT, SPECIAL_TOKENS, TURN_END
from training.decoder import Shape
from training.tokenizer import CONTEXT_LENGTH, load_tokenizer
from training.train import CHECKPOINT, TOKENIZER

WEIGHTS, CHECKSUM = "model.safetensors", "model.safetensors.sha256"


def main() -> None:
    """Read the arguments and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    print(export(arguments.checkpoints, arguments.folder))


def export(checkpoints: Path, folder: Path) -> str:
    """Write tokenizer, configuration and bfloat16 weights with their checksum, which is returned."""
    state = torch.load(checkpoints / CHECKPOINT, map_location="cpu")
    load_tokenizer(checkpoints / TOKENIZER).save_pretrained(str(folder))
    _configuration(Shape(**state["shape"])).save_pretrained(str(folder))
    ends = {"eos_token_id": SPECIAL_TOKENS.index(TURN_END), "pad_token_id": SPECIAL_TOKENS.index(END_OF_TEXT)}
    GenerationConfig(do_sample=True, temperature=0.7, top_p=0.95, **ends).save_pretrained(str(folder))
    weights = {name: tensor.bfloat16().contiguous() for name, tensor in state["decoder"].items()}
    (folder / WEIGHTS).write_bytes(save(weights, metadata={"format": "pt"}))
    checksum = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    (folder / CHECKSUM).write_text(f"{checksum}  {WEIGHTS}\n")
    return checksum


def _configuration(shape: Shape) -> Qwen2Config:
    return Qwen2Config(
        architectures=["Qwen2ForCausalLM"],
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=CONTEXT_LENGTH,
        rms_norm_eps=shape.epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        dtype="bfloat16",
        eos_token_id=SPECIAL_TOKENS.index(TURN_END),
        pad_token_id=SPECIAL_TOKENS.index(END_OF_TEXT),
    )


if __name__ == "__main__":
    main()
