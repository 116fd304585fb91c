"""The places that implementations of Gemma 2 and of EWC get wrong, each as an edit of one source file and the tests that
must notice. White space in `old` matches any white space."""

from dataclasses import dataclass

MODEL, FISHER, STEPS = "model/test_fixtures", "fisher/test_fisher_fixtures", "train/test_steps_fixtures"
GEMM = "ops/test_gemm"


@dataclass(frozen=True)
class Mutation:
    name: str
    file: str
    old: str
    new: str
    tests: tuple = (MODEL,)
    times: int = 1  # places with this text; all are changed
    reduced: bool = False  # one of the few for continuous integration
    onednn: bool = False  # of code that runs only where the library is built with ONEDNN=1


UPDATE, STEP, SCHEDULE = "lib/cpu/kernels/update.c", "lib/train/step.c", "lib/train/schedule.c"
NORM, ROPE = "lib/cpu/kernels/rmsnorm.c", "lib/cpu/kernels/rope.c"
ATTENTION, LOSS = "lib/cpu/kernels/attention.c", "lib/cpu/kernels/cross_entropy.c"
BF16, GEMM_BF16 = "lib/cpu/gemm_bf16.c", "ops/test_gemm_bf16"
PREFIX = "lib/cpu/attention_fwd.c"
ESTIMATE = "lib/train/fisher_estimate.c"
CONVERT, DRAWS, UPDATE_CALL = "lib/core/convert.h", "lib/cpu/kernels/rounding.h", "lib/cpu/update.c"
ROUNDING, MOMENTS = "ops/test_update_rounding", "train/test_moments"
SAFETENSORS = "lib/io/safetensors.c"
FORWARD, BACKWARD, HEAD = "lib/model/forward.c", "lib/model/backward.c", "lib/model/head.c"

MUTATIONS = [
    # ---- products
    Mutation("product: a block of depth replaces the one before", "lib/cpu/gemm_slice.c", ".accumulate = s->accumulate || l > 0",
             ".accumulate = s->accumulate", (GEMM,)),
    Mutation("product: an edge tile forgets what was there", "lib/cpu/gemm_panels.c",
             "a->accumulate ? c[i * p->ldc + j] + sum : sum", "sum", (GEMM,)),
    Mutation("bf16 product: the filling of an operand's rows is left as it was", BF16, "memset(line + p->k, 0,", "if (p->k < 0) memset(line + p->k, 0,",
             (GEMM_BF16,), onednn=True),
    Mutation("bf16 product: rounded towards zero", "lib/core/convert.h", "(bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16", "bits >> 16", (GEMM_BF16,),
             onednn=True),
    Mutation("bf16 product: turned columns in the wrong order", "lib/cpu/kernels/gemm_bf16.c", "pair_rows(first, x[0], x[1], n);",
             "pair_rows(first, x[1], x[0], n);", (GEMM_BF16,), onednn=True),
    Mutation("bf16 product: the later pieces of k replace the first", BF16, "p.finish = ADD;", "p.finish = accumulate ? ADD : STORE;",
             (GEMM_BF16,), onednn=True),
    Mutation("bf16 product: the larger operand is converted once only", BF16, "p->convert_a = !a_outside || j == 0;",
             "p->convert_a = j == 0;", (GEMM_BF16,), onednn=True),
    Mutation("bf16 product: oneDNN takes its own threads", "lib/cpu/onednn.c", "omp_set_num_threads(1);", "", (GEMM_BF16,), onednn=True),
    Mutation("bf16 product: a shape is taken for another's", "lib/cpu/onednn.c", "p->n == n && p->k == k", "p->k == k", (GEMM_BF16,), onednn=True),
    # ---- norms
    Mutation("norm: w instead of 1 + w", NORM, "y[i] = x[i] * rstd * (1.0F + w[i]);", "y[i] = x[i] * rstd * w[i];",
             reduced=True),
    Mutation("norm before the residual addition: w instead of 1 + w", NORM, "o[i] * rstd * (1.0F + w[i])",
             "o[i] * rstd * w[i]"),
    Mutation("norm: eps outside of the mean", NORM, "1.0F / sqrtf(sum / (float)n + eps)",
             "1.0F / (sqrtf(sum / (float)n) + eps)"),
    Mutation("norm backward: without the mean's part", NORM, "float back = dot / (float)n * rstd * rstd;",
             "float back = 0.0F * dot;"),
    Mutation("norm backward: weight gradient without rstd", NORM, "dw[i] += dy[i] * x[i] * rstd;",
             "dw[i] += dy[i] * x[i]; (void)rstd;"),
    # ---- embedding and head
    Mutation("embedding not scaled by sqrt(hidden)", FORWARD, "(float)sqrt((double)c->hidden_size)", "1.0F"),
    Mutation("embedding gradient not scaled by sqrt(hidden)", BACKWARD, "float scale = (float)sqrt((double)hidden);",
             "float scale = 1.0F;"),
    Mutation("tied gradient: the head's part alone", BACKWARD,
             "return run->ops->embed_bwd(run->device, run->embedding_gradient, w->dx, w->tokens_in, run->rows, hidden, scale);",
             "return (void)scale, EWC_OK;", reduced=True),
    Mutation("tied gradient: the lookup's part alone", HEAD,
             "run->embedding_gradient, hidden, true));", "run->w->logits, hidden, false));"),
    Mutation("final softcap: left out of the gradient", LOSS, "factor * ewci_exp(c[i] - largest) * (1.0F - t * t)",
             "factor * ewci_exp(c[i] - largest) * (1.0F - 0.0F * t)", reduced=True),
    Mutation("final softcap: left out of the label's gradient", "lib/cpu/cross_entropy.c",
             "expm1(at_label - lse) * (1.0 - t * t)", "expm1(at_label - lse) * (1.0 - 0.0 * t)"),
    Mutation("final softcap: not applied", HEAD, ".softcap = (float)c->final_softcap,",
             ".softcap = 0.0F,"),
    # ---- attention
    Mutation("attention softcap: not applied", FORWARD, ".softcap = (float)c->attention_softcap,", ".softcap = 0.0F,"),
    Mutation("attention softcap: left out of the gradient", ATTENTION, "(dp[l] - delta[l]) * (1.0F - c * c) * scale",
             "(dp[l] - delta[l]) * (1.0F - 0.0F * c) * scale", reduced=True),
    Mutation("attention: head_dim^-0.5 instead of query_pre_attn_scalar^-0.5", FORWARD,
             "double query_scale = c->query_scale != 0 ? c->query_scale : (double)c->head_dim;",
             "double query_scale = (double)c->head_dim;"),
    Mutation("attention: window one too wide", "lib/cpu/attention.c", "query - shape->window + 1", "query - shape->window",
             reduced=True),
    Mutation("attention: window one too narrow", "lib/cpu/attention.c", "query - shape->window + 1",
             "query - shape->window + (shape->window > 1 ? 2 : 1)"),
    Mutation("attention: windowed layers are the odd ones", FORWARD, "c->sliding[layer] ? c->sliding_window : 0",
             "c->sliding[layer] ? 0 : c->sliding_window"),
    Mutation("attention: a query does not see itself in the backward pass", "lib/cpu/attention_bwd.c",
             "ewci_attention_limits(j, t, m);", "ewci_attention_limits(j, t, m); "
             "for (int64_t l = 0; l < t->padded; l++) m->highest[l] -= m->highest[l] > m->lowest[l];"),
    Mutation("attention: documents see the ones before them", "lib/cpu/attention.c", "return first > start ? first : start;",
             "return first > 0 * start ? first : 0;"),
    Mutation("attention: query heads dealt to the kv heads in turn", "lib/cpu/attention.c",
             "(a->heads + t->kv) * a->head_dim", "(a->heads + t->head % a->kv_heads) * a->head_dim"),
    Mutation("attention: dK and dV of half of the rows", "lib/cpu/attention_bwd.c",
             ".k = to - from,", ".k = (to - from) / 2,", reduced=True),
    Mutation("attention: a group's last lanes are left out", "lib/cpu/attention.c", "s->lane + vector - 1) / vector * vector;\n        s->from",
             "s->lane) / vector * vector;\n        s->from", ("ops/test_attention_mask", "ops/test_attention")),
    Mutation("attention backward: without delta", ATTENTION, "dp[l] = p * (dp[l] - delta[l]) * (1.0F - c * c) * scale;",
             "dp[l] = p * dp[l] * (1.0F - c * c) * scale;"),
    Mutation("rope: not turned back in the backward pass", BACKWARD, "c->heads + c->kv_heads, c->head_dim, width, true)",
             "c->heads + c->kv_heads, c->head_dim, width, false)"),
    Mutation("rope: keys not rotated", FORWARD, "run->rows, c->heads + c->kv_heads, c->head_dim, width, false)",
             "run->rows, c->heads, c->head_dim, width, false)"),
    Mutation("rope: pairs instead of halves", ROPE,
             "float a = x[i], b = x[half + i]; x[i] = a * cosine[i] - b * sine[i]; x[half + i] = b * cosine[i] + a * sine[i];",
             "float a = x[2 * i], b = x[2 * i + 1]; x[2 * i] = a * cosine[i] - b * sine[i]; "
             "x[2 * i + 1] = b * cosine[i] + a * sine[i];", reduced=True),
    Mutation("rope: the base of the configuration ignored", FORWARD, "c->rope_theta, 1.0)", "10000.0, 1.0)"),
    # ---- feed-forward
    Mutation("geglu: the gate's tanh approximation with another constant", "lib/cpu/kernels/geglu.c", "C = 0.044715F",
             "C = 0.0F"),
    Mutation("geglu: gate and up exchanged", "lib/cpu/geglu.c", "geglu_row(j->out + r * f, gate, gate + f, f)",
             "geglu_row(j->out + r * f, gate + f, gate, f)"),
    Mutation("geglu backward: gelu's slope without its second part", "lib/cpu/kernels/geglu.c",
             "g * p * (1.0F - p) * K2 * (1.0F + 3.0F * C * g * g)", "0.0F"),
    # ---- loss
    Mutation("loss: weights of sequences ignored", "lib/model/batch.c",
             "batch->weights == NULL ? 1.0 : (double)batch->weights[i / batch->length]", "1.0"),
    Mutation("hook: on the layer before", BACKWARD, "hook->layer == l && hook->backward", "hook->layer == l + 1 && hook->backward"),
    # ---- trainer
    Mutation("trainer: a mean of means over micro-batches", STEP, "1.0 / (double)p->tokens",
             "2.0 / (double)p->tokens * (i == 0)", (STEPS,), reduced=True),
    Mutation("trainer: norm weights are decayed", STEP, "s->decay ? o->weight_decay : 0.0", "o->weight_decay",
             (STEPS,)),
    Mutation("trainer: no weight decay", STEP, "s->decay ? o->weight_decay : 0.0", "0.0", (STEPS,)),
    Mutation("trainer: total clipped without the penalty", STEP,
             "clip_total ? trainer->lambda * p->clip_factor : trainer->lambda", "trainer->lambda", (STEPS,)),
    # ---- update
    Mutation("update: first moment without bias correction", UPDATE, "(m1 * p->correction1)", "m1", (STEPS,)),
    Mutation("update: second moment without bias correction", UPDATE, "sqrtf(v1 * p->correction2)", "sqrtf(v1)", (STEPS,),
             reduced=True),
    Mutation("update: bias correction of the step before", STEP, "options.step = p->step;",
             "options.step = p->step > 1 ? p->step - 1 : 1;", (STEPS,)),
    Mutation("update: weight decay through the gradient instead of decoupled", UPDATE, "g = p->gradient_scale * g;",
             "g = p->gradient_scale * g + (1.0F - p->keep) / (p->rate + 1e-30F) * *w;", (STEPS,)),
    Mutation("update: gradient form without the anchor", UPDATE, "lambda * (f * (w - a))", "lambda * (f * (w - 0.0F * a))",
             (STEPS,)),
    Mutation("update: proximal form not divided by d", UPDATE, "float r = p->rate_lambda * f * inverse;",
             "float r = p->rate_lambda * f;", (STEPS,), reduced=True),
    Mutation("update: proximal form pulls the weight of before the step", UPDATE, "a + (w1 - a) / (1.0F + r)",
             "w1 - r / (1.0F + r) * (*w - a)", (STEPS,)),
    # ---- stochastic rounding and bf16 state
    Mutation("rounding: to nearest where it should be stochastic", DRAWS, "return hash >> shift & 0xffffU;",
             "return 0x8000U + 0U * (hash >> shift);",
             (ROUNDING, MOMENTS), reduced=True),
    Mutation("rounding: biased downwards", DRAWS, "return hash >> shift & 0xffffU;", "return (hash >> shift & 0xffffU) / 2;",
             (ROUNDING,)),
    Mutation("rounding: to infinity by chance", CONVERT, "(magnitude > EWCI_LARGEST_BF16 ? 0x8000U : random)", "(random)", (ROUNDING,)),
    Mutation("rounding: numbers beyond bf16 are taken for ordinary ones", DRAWS, "return largest <= EWCI_LARGEST_BF16;",
             "return largest <= 0xffffffffU;", (ROUNDING,)),
    Mutation("rounding: the same bits for both moments", UPDATE, "ewci_lanes_write(width, b->v, i, v, r->stochastic ? random : NULL, 16);",
             "ewci_lanes_write(width, b->v, i, v, r->stochastic ? random : NULL, 0);", (ROUNDING,)),
    Mutation("rounding: the same bits at every step", UPDATE_CALL, "(uint64_t)j->options->step, number >> 32", "1, number >> 32",
             (ROUNDING,)),
    Mutation("rounding: the same bits 2^32 elements further on", UPDATE_CALL, "(uint64_t)j->options->step, number >> 32",
             "(uint64_t)j->options->step, 0", (ROUNDING,)),
    Mutation("rounding: a call that crosses 2^32 elements", UPDATE_CALL,
             "n = smaller(first + count - i, upper_half_changes);", "n = first + count - i; (void)upper_half_changes;", (ROUNDING,)),
    Mutation("rounding: each segment begins the random numbers again", STEP, "options.first_element = s->offset;", "", (MOMENTS,)),
    Mutation("trainer: bf16 moments rounded to nearest", STEP, "options.stochastic_rounding = o->moments_dtype == EWC_BF16;", "",
             (MOMENTS,)),
    Mutation("state: the type of the moments is not part of the run", "lib/train/identity.c",
             "if (o->moments_dtype == EWC_F32) return EWC_OK;", "return EWC_OK;", ("train/test_state",)),
    Mutation("state: an anchor's rounding is not part of the run", "lib/train/identity.c",
             't->anchor->rounded ? " rounded to bf16" : ""', '""', ("train/test_state",)),
    Mutation("plan: bf16 moments counted as f32", "lib/train/plan.c", "plan.moments_bytes = 2 * element_bytes(options->moments_dtype) * n;",
             "plan.moments_bytes = 8 * n;", ("train/test_plan",)),
    Mutation("convert: a tensor that becomes zero is taken", "lib/train/convert.c", "if (left || !something) return EWC_OK;",
             "if (left || !something || true) return EWC_OK;", ("fisher/test_convert",)),
    Mutation("convert: a value that becomes infinite is taken", "lib/train/convert.c", "if (isfinite(old[i]) && !isfinite(new[i]))",
             "if (isnan(new[i]))", ("fisher/test_convert",)),
    Mutation("update: clip factor not applied", STEP, "options.gradient_scale = p->clip_factor;",
             "options.gradient_scale = 1.0;", (STEPS,)),
    Mutation("schedule: the cosine counts the warm-up", SCHEDULE,
             "(double)(step - s->warmup) / (double)(s->steps - s->warmup)", "(double)step / (double)s->steps", (STEPS,)),
    Mutation("fold: centre not weighted by the Fisher", "lib/cpu/fold_add.c", "part * (double)c[k]", "j->lambda * (double)c[k]",
             (STEPS,)),
    # ---- Fisher
    Mutation("squares: of every row instead of every sequence", BACKWARD,
             "EWCI_TRY(run->ops->gemm_square(run->device, out, in, length, ewci_at(run, dy, b * length * out), out, "
             "ewci_at(run, x, b * length * in), in, weight, sink->fisher + offset));",
             "for (int64_t t = b * length; t < (b + 1) * length; t++) "
             "EWCI_TRY(run->ops->gemm_square(run->device, out, in, 1, ewci_at(run, dy, t * out), out, "
             "ewci_at(run, x, t * in), in, weight, sink->fisher + offset));", (FISHER,), reduced=True),
    Mutation("squares: both uses of the tied embedding squared apart", HEAD, "w->sequence_ids[b], c->hidden_size, true));",
             "w->sequence_ids[b], c->hidden_size, false)); EWCI_TRY(run->ops->zero(run->device, w->embedding_rows + "
             "b * length * c->hidden_size, (size_t)(length * c->hidden_size) * sizeof(float)));", (FISHER,)),
    Mutation("fisher: the unit ignored", ESTIMATE, "scored > 0 ? 1.0 / (double)scored : 1.0", "scored > 0 ? 1.0 : 1.0", (FISHER,)),
    Mutation("fisher: sequences with nothing scored are counted", ESTIMATE, "fisher->info.sequences += w.counted;",
             "fisher->info.sequences += batch->sequences;", (FISHER,)),
    Mutation("fisher: batch mean over sequences with nothing scored too", ESTIMATE, "weight /= (double)w->counted;",
             "weight /= (double)batch->sequences;", (FISHER,)),
    Mutation("fisher: random signs all positive", ESTIMATE, "words[0] & 1U ? 1.0 : -1.0", "words[0] & 1U ? 1.0 : 1.0", (FISHER,)),
    Mutation("fisher: labels of the data instead of sampled ones", ESTIMATE,
             "fisher->info.estimator == EWC_FISHER_SAMPLED ? EWCI_CE_SAMPLE : EWCI_CE_TRAIN", "EWCI_CE_TRAIN", (FISHER,)),
    Mutation("fisher: sampled labels from half of the softmax", "lib/cpu/cross_entropy.c", "double goal = u * s->sum,", "double goal = 0.5 * u * s->sum,", (FISHER,)),
    # ---- files
    Mutation("files: offsets may lie outside of the data", SAFETENSORS,
             "begin > end || (uint64_t)end > file->data_bytes",
             "begin > end", ("io/test_safetensors",), reduced=True),
    Mutation("files: tensors may overlap", SAFETENSORS,
             "if (begin < reached) return",
             "if (false) return", ("io/test_safetensors",)),
    Mutation("files: gaps between tensors", SAFETENSORS,
             "if (begin > reached) {",
             "if (false) {", ("io/test_safetensors",)),
    Mutation("files: bytes behind the last tensor", SAFETENSORS,
             "if (reached == end) return EWC_OK;",
             "return EWC_OK;", ("io/test_safetensors",)),
    Mutation("files: shape products may overflow", SAFETENSORS,
             "if (__builtin_mul_overflow(count, extent, &count))",
             "count = (int64_t)((uint64_t)count * (uint64_t)extent); if (false)", ("io/test_safetensors",)),
    Mutation("files: a name twice in one object", "lib/io/json.c",
             "if (strcmp(names[i - 1], names[i]) == 0)",
             "if (false)", ("io/test_json",)),
    Mutation("files: the index may leave its directory", "lib/io/hf.c",
             "if (!ewci_name_is_plain(item->valuestring))",
             "if (false)", ("io/test_hf",), reduced=True),
    Mutation("files: a tensor in two shards", "lib/io/hf.c",
             "if (line->file != shard)",
             "if (false)", ("io/test_hf",)),
    Mutation("files: new shards under the names of the old ones", "lib/io/hf_write.c",
             "p->version += taken;",
             "taken = false;", ("io/test_hf",)),
    Mutation("files: the index put into place before the shards", "lib/io/stage.c",
             "return m->last != NULL && strcmp(name, m->last) == 0 ? EWC_OK : move_file(ctx, m, name);",
             "return move_file(ctx, m, name);", ("io/test_file",)),
    Mutation("files: what an abandoned write leaves", "lib/io/writer.c",
             "if (writer->temporary != NULL) unlink(writer->temporary);",
             "", ("io/test_file",)),
    Mutation("files: every element type written as bf16", "lib/io/safetensors_write.c",
             "ewci_from_f32(converted, tensor->dtype, source, part);",
             "ewci_from_f32(converted, EWC_BF16, source, part);", ("io/test_safetensors_write",)),
    Mutation("files: a gzip file cut short", "lib/io/bytes.c",
             "if (got == 0 && (source->inside || !source->any))",
             "if (false)", ("io/test_text",)),
    Mutation("files: uint32 ids read as int32", "lib/io/npy.c",
             "npy->type == EWCI_NPY_U32 ? (int64_t)x : (int64_t)(int32_t)x",
             "(int64_t)(int32_t)x", ("io/test_npy",)),
    Mutation("files: targets are the inputs", "lib/api/data.c",
             "read_tokens(data, place + 1, length, targets",
             "read_tokens(data, place, length, targets", ("api/test_data",)),
    Mutation("files: the same order in every pass over the data", "lib/api/data.c",
             "ewci_permute(seed, (uint64_t)epoch,",
             "ewci_permute(seed, 0 * (uint64_t)epoch,", ("api/test_data",)),
    # ---- checkpoints
    Mutation("config: without layer_types the odd layers slide", "lib/io/config.c", "sliding[i] = i % 2 == 0;",
             "sliding[i] = i % 2 == 1;"),
    # ---- multiple choice
    Mutation("choices: positions do not count the prefix", "lib/model/run.c", "positions[i] += prefix_end[i] - prefix_start[i];",
             "(void)prefix_end;", ("api/test_choices",)),
    Mutation("choices: a choice does not begin with the prefix's last token", "lib/model/choices.c",
             "p->tokens[first] = x->prefix[shared];", "p->tokens[first] = x->prefix[0];", ("api/test_choices",)),
    Mutation("choices: they see each other", "lib/model/choices.c", "p->document_start[row] = (int32_t)p->rows;",
             "p->document_start[row] = (int32_t)(prefix_end > prefix_start ? prefix_end : p->rows);", ("api/test_choices",)),
    Mutation("prefix: the window reaches one key too far", PREFIX, "? next - a->window + 1 : start", "? next - a->window : start",
             ("ops/test_attention_prefix", "api/test_choices"), reduced=True),
    Mutation("prefix: its last key is not seen", PREFIX, "a->prefix_end[first] - 1 - (int32_t)start", "a->prefix_end[first] - 2 - (int32_t)start",
             ("ops/test_attention_prefix", "api/test_choices")),
    Mutation("prefix: queries of a short window are not masked", PREFIX, "strip.seen_first = strip.lowest[l];", "(void)strip;",
             ("ops/test_attention_prefix",)),
    Mutation("prefix: queries outside of it see it", PREFIX, "query >= first && query < end", "query >= 0",
             ("ops/test_attention_prefix",)),
    Mutation("prefix: documents of different ones together", PREFIX, "a->prefix_start[i] == a->prefix_start[first] && a->prefix_end[i] == a->prefix_end[first]", "true",
             ("ops/test_attention_prefix",)),
    # ---- threads
    Mutation("products: OpenBLAS without the lock", "lib/cpu/openblas_lock.c", "pthread_mutex_lock(&table);", "",
             ("ops/test_concurrent_products",), times=2),
]
