"""A Gemma 3 text model's names, shapes and configuration: from GGUF's conventions to Hugging Face's."""

TENSORS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
LAYER_TENSORS = {
    "attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}

# Of the Gemma 3 definition (technical report, section 2; transformers' Gemma3TextConfig): a GGUF does not carry them.
FULL_ATTENTION_EVERY = 6
SLIDING_ROPE_THETA = 10000.0
QUERY_PRE_ATTN_SCALAR = 256


def hugging_face_name(name):
    """blk.3.attn_q.weight -> model.layers.3.self_attn.q_proj.weight; ValueError for what Gemma 3 does not have."""
    words = name.split(".")
    if len(words) == 2 and words[0] in TENSORS and words[1] == "weight":
        return f"{TENSORS[words[0]]}.weight"
    if len(words) == 4 and words[0] == "blk" and words[1].isdigit() and words[2] in LAYER_TENSORS and words[3] == "weight":
        return f"model.layers.{words[1]}.{LAYER_TENSORS[words[2]]}.weight"
    raise ValueError(f"tensor {name}: not one of a Gemma 3 text model with a tied head")


def expected_shapes(config):
    """{name: shape} of every tensor of a model of this configuration."""
    hidden, inner, dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    of_layer = {
        "input_layernorm": (hidden,), "post_attention_layernorm": (hidden,), "pre_feedforward_layernorm": (hidden,),
        "post_feedforward_layernorm": (hidden,), "self_attn.q_proj": (queries, hidden), "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden), "self_attn.o_proj": (hidden, queries), "self_attn.q_norm": (dim,),
        "self_attn.k_norm": (dim,), "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    for layer in range(config["num_hidden_layers"]):
        shapes.update({f"model.layers.{layer}.{name}.weight": shape for name, shape in of_layer.items()})
    return shapes


def gguf_offset(name):
    """What GGUF adds to the values: it stores the factor 1 + w of every norm (of q and k too), Hugging Face w."""
    return 1.0 if name.endswith("norm.weight") else 0.0


def configuration(value, vocabulary):
    """config.json as both generations of transformers read it. value(key) gives a field of the GGUF.

    transformers 4 reads torch_dtype, rope_theta and rope_local_base_freq; 5 reads rope_parameters (and layer_types, as
    4.53 and later do; earlier ones have the same pattern built in)."""
    layers = value("gemma3.block_count")
    full_theta = value("gemma3.rope.freq_base")
    kinds = ["full_attention" if (i + 1) % FULL_ATTENTION_EVERY == 0 else "sliding_attention" for i in range(layers)]
    return {
        "architectures": ["Gemma3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_logit_softcapping": None,
        "bos_token_id": value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": value("tokenizer.ggml.eos_token_id"),
        "final_logit_softcapping": None,
        "head_dim": value("gemma3.attention.key_length"),
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": value("gemma3.embedding_length"),
        "initializer_range": 0.02,
        "intermediate_size": value("gemma3.feed_forward_length"),
        "layer_types": kinds,
        "max_position_embeddings": value("gemma3.context_length"),
        "model_type": "gemma3_text",
        "num_attention_heads": value("gemma3.attention.head_count"),
        "num_hidden_layers": layers,
        "num_key_value_heads": value("gemma3.attention.head_count_kv"),
        "pad_token_id": value("tokenizer.ggml.padding_token_id"),
        "query_pre_attn_scalar": QUERY_PRE_ATTN_SCALAR,
        # An f32 in the GGUF: 1e-6 is the decimal number that was meant.
        "rms_norm_eps": float(f"{value('gemma3.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_local_base_freq": SLIDING_ROPE_THETA,
        "rope_parameters": {
            "full_attention": {"rope_theta": full_theta, "rope_type": "default"},
            "sliding_attention": {"rope_theta": SLIDING_ROPE_THETA, "rope_type": "default"},
        },
        "rope_theta": full_theta,
        "sliding_window": value("gemma3.attention.sliding_window"),
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_bidirectional_attention": False,
        "use_cache": True,
        "vocab_size": vocabulary,
    }
