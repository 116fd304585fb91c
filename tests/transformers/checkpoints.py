"""Random Gemma 2 and Gemma 3 checkpoints as Hugging Face directories, in the spellings of config.json that are in circulation."""

import json
import pathlib

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()


def random_model(config, generator, scale, kind=None):
    """Weights large enough that every nonlinearity matters: matrices normal with deviation `scale`, norm weights spread
    around zero (they stand for 1 + w), the embedding such that its product with sqrt(hidden) is of order one."""
    model = AutoModelForCausalLM.from_config(config) if kind is None else kind(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            values = torch.randn(p.shape, generator=generator)
            p.copy_(values * (0.35 if p.dim() == 1 else scale))
    return model


def older_spelling(config, dtype):
    """config.json as transformers 4.42 and 4.50 wrote it for the published Gemma 2 and Gemma 3 checkpoints."""
    older = {k: v for k, v in config.items() if k not in ("rope_parameters", "dtype", "layer_types",
                                                          "use_bidirectional_attention", "tie_word_embeddings")}
    rope = config["rope_parameters"]
    older.update(hidden_activation="gelu_pytorch_tanh", torch_dtype=dtype, cache_implementation="hybrid")
    if config["model_type"] == "gemma2":
        older.update(rope_theta=rope["rope_theta"], hidden_act="gelu_pytorch_tanh", transformers_version="4.42.0.dev0")
    else:
        full, sliding = rope["full_attention"], rope["sliding_attention"]
        scaling = {k: v for k, v in full.items() if k != "rope_theta"} if full["rope_type"] != "default" else None
        older.update(rope_theta=full["rope_theta"], rope_local_base_freq=sliding["rope_theta"], rope_scaling=scaling,
                     transformers_version="4.50.0.dev0")
        older["sliding_window_pattern"] = older.pop("_sliding_window_pattern", 6)
    return dict(sorted(older.items()))


def write_checkpoint(model, directory, dtype, spelling, shard="5GB"):
    """Saves with transformers, then rewrites config.json in the wanted spelling with a field that no reader knows."""
    directory = pathlib.Path(directory)
    model.to(getattr(torch, dtype)).save_pretrained(directory, max_shard_size=shard)
    (directory / "generation_config.json").unlink(missing_ok=True)
    path = directory / "config.json"
    config = json.loads(path.read_text())
    if spelling == "older":
        config = older_spelling(config, dtype)
    config["remarks"] = {"purpose": "test", "numbers": [1, 2.5, None, "ė"]}
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    reread, saved = AutoConfig.from_pretrained(directory).get_text_config(), model.config.get_text_config()
    for field in ("rope_parameters", "layer_types", "head_dim", "query_pre_attn_scalar", "sliding_window",
                  "attn_logit_softcapping", "final_logit_softcapping", "rms_norm_eps"):
        assert getattr(reread, field) == getattr(saved, field), field
    return directory
