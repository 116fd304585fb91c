/* The options of `train` and `plan`: see train.h. */
#include <string.h>

#include "train.h"
#include "train_budget.h"
#include "vocabulary.h"

static const char *const schedules[] = {"constant", "linear", "cosine", "wsd", NULL};
static const char *const tails[] = {"linear", "cosine", "sqrt", "inverse", NULL};
static const char *const penalties[] = {"proximal", "gradient", NULL};
static const char *const clip_modes[] = {"task", "total", NULL};
static const char *const orders[] = {"sequential", "shuffle", NULL};
static const char *const dtypes[] = {"bf16", "f32", NULL};
static const char *const moments[] = {"f32", "bf16", NULL};
static const char *const held[] = {"mapped", "bf16", "f32", NULL};
static const char *const recomputes[] = {"none", "elementwise", "mlp", "layer", NULL};

static void set_defaults(train_options *o)
{
    memset(o, 0, sizeof *o);
    o->accumulate = 1;
    o->rate = 1e-4;
    o->beta1 = 0.9;
    o->beta2 = 0.999;
    o->epsilon = 1e-8;
    o->recompute = EWC_RECOMPUTE_ELEMENTWISE;
    o->lambda = -1;
    o->forget_budget = -1;
    o->replay_share = -1;
}

void train_options_table(train_options *o, option *table)
{
    set_defaults(o);
    const option options[TRAIN_OPTION_COUNT] = {
        {"model", OPTION_TEXT, &o->model, "DIR", "Hugging Face directory to start from", NULL, 0, true, false},
        {"data", OPTION_LIST, &o->data, "T.npy...", "token files of the new text", NULL, 0, true, false},
        {"replay", OPTION_LIST, &o->replay, "OLD.npy...", "token files of old text to mix in", NULL, 0, false, false},
        {"replay-share", OPTION_NUMBER, &o->replay_share, "F",
         "share of the run's sequences that are old text; 0.05: every 20th", NULL, 0, false, false},
        VOCABULARY_OPTION(&o->vocabulary),
        {"length", OPTION_INTEGER, &o->length, "T", "tokens of a sequence", NULL, 1, true, false},
        {"batch", OPTION_INTEGER, &o->batch, "B", "sequences of a micro-batch", NULL, 1, true, false},
        {"accumulate", OPTION_INTEGER, &o->accumulate, "K", "micro-batches of a step (default 1)", NULL, 1, false,
         false},
        {"steps", OPTION_INTEGER, &o->steps, "N", "optimizer steps of the whole run", NULL, 1, true, false},
        {"lr", OPTION_NUMBER, &o->rate, "X", "peak learning rate", NULL, 0, true, false},
        {"schedule", OPTION_CHOICE, &o->schedule, NULL, "course of the learning rate", schedules, 0, false, false},
        {"warmup", OPTION_INTEGER, &o->warmup, "N", "steps of linear warm-up (default 0)", NULL, 0, false, false},
        {"decay", OPTION_INTEGER, &o->decay, "N", "wsd: steps of the tail (default: a tenth of the run)", NULL, 0,
         false, false},
        {"tail", OPTION_CHOICE, &o->tail, NULL, "wsd: shape of the tail", tails, 0, false, false},
        {"final-ratio", OPTION_NUMBER, &o->final_ratio, "F", "last rate as a share of the peak (default 0)", NULL, 0,
         false, false},
        {"beta1", OPTION_NUMBER, &o->beta1, "X", "default 0.9", NULL, 0, false, false},
        {"beta2", OPTION_NUMBER, &o->beta2, "X", "default 0.999", NULL, 0, false, false},
        {"eps", OPTION_NUMBER, &o->epsilon, "X", "default 1e-8", NULL, 0, false, false},
        {"weight-decay", OPTION_NUMBER, &o->weight_decay, "X", "default 0; norm weights are never decayed", NULL, 0,
         false, false},
        {"clip", OPTION_NUMBER, &o->clip, "C", "largest gradient norm (default 0: off)", NULL, 0, false, false},
        {"clip-mode", OPTION_CHOICE, &o->clip_mode, NULL, "norm of the task gradient, or with the penalty's",
         clip_modes, 0, false, false},
        {"fisher", OPTION_TEXT, &o->fisher, "F.safetensors", "Fisher of the old text, from ewc-cpt fisher", NULL, 0,
         false, false},
        {"lambda", OPTION_NUMBER, &o->lambda, "L", "strength of the penalty; 0 is plain training", NULL, 0, false,
         false},
        {"relative", OPTION_FLAG, &o->relative, NULL, "lambda is relative: divided by the Fisher's mean", NULL, 0,
         false, false},
        {"l2", OPTION_FLAG, &o->l2, NULL, "plain L2 to the anchor instead of a Fisher", NULL, 0, false, false},
        {"forget-budget", OPTION_SHARE, &o->forget_budget, "SHARE",
         "choose lambda on the way, so that the loss of --forget-probe rises by no more at the end: 2%", NULL, 0, false,
         false},
        {"forget-probe", OPTION_LIST, &o->forget_probe, "OLD.npy...", "token files of old text to measure that on",
         NULL, 0, false, false},
        {"forget-every", OPTION_INTEGER, &o->forget_every, "N",
         "steps between probes (default: a twentieth of the run)", NULL, 1, false, false},
        {"forget-sequences", OPTION_INTEGER, &o->forget_sequences, "K", "sequences of a probe (default 16)", NULL, 1,
         false, false},
        {"penalty", OPTION_CHOICE, &o->penalty, NULL, "how the penalty enters the step (docs/ewc.md)", penalties, 0,
         false, false},
        {"anchor", OPTION_TEXT, &o->anchor, "DIR", "model that the penalty pulls to (default: --model)", NULL, 0, false,
         false},
        {"freeze", OPTION_LIST, &o->freeze, "PATTERN...", "tensors that stay as they are, as shell patterns", NULL, 0,
         false, false},
        {"eval", OPTION_LIST, &o->evaluations, "NAME=T.npy", "token file to evaluate on; may be given again", NULL, 0,
         false, false},
        {"eval-every", OPTION_INTEGER, &o->evaluate_every, "N", "steps between evaluations (default: at both ends)",
         NULL, 1, false, false},
        {"order", OPTION_CHOICE, &o->order, NULL, "order of the sequences", orders, 0, false, false},
        {"seed", OPTION_INTEGER, &o->seed, "S", "of the shuffled order and of the rounding of bf16 moments (default 0)",
         NULL, 0, false, false},
        DATA_BOS(&o->bos),
        {"documents", OPTION_FLAG, &o->documents, NULL, "attention does not cross BOS", NULL, 0, false, false},
        {"moments", OPTION_CHOICE, &o->moments, NULL, "type of Adam's moments; bf16: rounded stochastically", moments,
         0, false, false},
        {"fisher-dtype", OPTION_CHOICE, &o->fisher_dtype, NULL, "how the Fisher is held: as in its file, or in memory",
         held, 0, false, false},
        {"anchor-dtype", OPTION_CHOICE, &o->anchor_dtype, NULL, "how the anchor is held: as in its files, or in memory",
         held, 0, false, false},
        {"recompute", OPTION_CHOICE, &o->recompute, NULL, "what the backward pass computes again to save memory",
         recomputes, 0, false, false},
        {"log", OPTION_TEXT, &o->log, "LOG.jsonl", "one JSON object per step and evaluation", NULL, 0, false, false},
        {"save-dtype", OPTION_CHOICE, &o->save_dtype, NULL, "of the final weights", dtypes, 0, false, false},
        {"save-every", OPTION_INTEGER, &o->save_every, "N", "steps between saves of the training state", NULL, 1, false,
         false},
        {"resume", OPTION_FLAG, &o->resume, NULL, "go on from the training state in --out", NULL, 0, false, false},
        {"threads", OPTION_INTEGER, &o->threads, "N", "default: all processors", NULL, 0, false, false},
        PROGRAM_PRODUCTS(&o->products),
        {"out", OPTION_TEXT, &o->out, "DIR", "directory of the trained model", NULL, 0, true, false},
    };
    memcpy(table, options, sizeof options);
}

void train_options_free(train_options *o)
{
    option_list_free(&o->data);
    option_list_free(&o->replay);
    option_list_free(&o->vocabulary);
    option_list_free(&o->evaluations);
    option_list_free(&o->freeze);
    option_list_free(&o->forget_probe);
}

int64_t train_sequences(const train_options *o)
{
    int64_t step, run;
    bool over = __builtin_mul_overflow(o->batch, o->accumulate, &step) || __builtin_mul_overflow(step, o->steps, &run);
    return over ? INT64_MAX : run;
}

static int check_replay(const char *command, const train_options *o)
{
    bool given = o->replay_share >= 0;
    if (o->replay.count == 0 && given)
        return program_error(command, CPT_USAGE, "--replay-share needs --replay OLD.npy..., the old text");
    if (o->replay.count == 0) return CPT_OK;
    if (!given)
        return program_error(command, CPT_USAGE,
                             "--replay needs --replay-share F, the share of old text (above 0, below 1)");
    if (o->replay_share <= 0 || o->replay_share >= 1)
        return program_error(command, CPT_USAGE,
                             "--replay-share: expected above 0 and below 1, found %g (0.05: every twentieth sequence)",
                             o->replay_share);
    if (ewc_replay_count(o->replay_share, train_sequences(o)) > 0) return CPT_OK;
    return program_error(command, CPT_USAGE,
                         "--replay-share %g of the run's %lld sequences is not one: give a larger share, or leave out "
                         "--replay",
                         o->replay_share, (long long)train_sequences(o));
}

int train_options_check(const char *command, const train_options *o)
{
    if (o->fisher != NULL && o->l2)
        return program_error(command, CPT_USAGE, "--fisher and --l2 exclude each other: leave one");
    if (o->lambda > 0 && o->fisher == NULL && !o->l2)
        return program_error(command, CPT_USAGE, "--lambda needs --fisher F.safetensors (or --l2)");
    if ((o->fisher != NULL || o->l2) && o->lambda < 0 && o->forget_budget < 0)
        return program_error(command, CPT_USAGE,
                             "%s needs --lambda L, the strength of the penalty (0: none), or --forget-budget SHARE",
                             o->fisher != NULL ? "--fisher" : "--l2");
    if (o->anchor != NULL && o->fisher == NULL && !o->l2)
        return program_error(command, CPT_USAGE, "--anchor needs --fisher F.safetensors (or --l2) and --lambda L");
    if (o->fisher_dtype != HELD_MAPPED && o->fisher == NULL)
        return program_error(command, CPT_USAGE, "--fisher-dtype needs --fisher F.safetensors");
    if (o->anchor_dtype != HELD_MAPPED && o->fisher == NULL && !o->l2)
        return program_error(command, CPT_USAGE, "--anchor-dtype needs --fisher F.safetensors (or --l2)");
    if (o->relative && o->fisher == NULL) return program_error(command, CPT_USAGE, "--relative needs --fisher");
    int code = train_budget_check(command, o);
    if (code != CPT_OK) return code;
    if (o->resume && o->force)
        return program_error(command, CPT_USAGE, "--resume and --force exclude each other: leave one");
    if (o->warmup > o->steps)
        return program_error(command, CPT_USAGE, "--warmup %lld is longer than --steps %lld: give fewer",
                             (long long)o->warmup, (long long)o->steps);
    return check_replay(command, o);
}

ewc_trainer_options train_trainer_options(const train_options *o)
{
    ewc_trainer_options t;
    ewc_trainer_options_default(&t);
    t.schedule.kind = (ewc_schedule_kind)o->schedule;
    t.schedule.tail = (ewc_tail)o->tail;
    t.schedule.peak = o->rate;
    t.schedule.final_ratio = o->final_ratio;
    t.schedule.steps = o->steps;
    t.schedule.warmup = o->warmup;
    t.schedule.decay = o->decay > 0 ? o->decay : (o->steps - o->warmup) / 10;
    t.beta1 = o->beta1;
    t.beta2 = o->beta2;
    t.epsilon = o->epsilon;
    t.weight_decay = o->weight_decay;
    t.clip = o->clip;
    t.clip_mode = (ewc_clip_mode)o->clip_mode;
    t.form = o->penalty == 0 ? EWC_PENALTY_PROXIMAL : EWC_PENALTY_GRADIENT;
    t.max_sequences = o->batch;
    t.max_length = o->length;
    t.recompute = (ewc_recompute)o->recompute;
    t.moments_dtype = o->moments == 0 ? EWC_F32 : EWC_BF16;
    t.seed = (uint64_t)o->seed;
    return t;
}

bool train_evaluation_due(const train_options *o, int64_t steps_done)
{
    return steps_done == 0 || steps_done == o->steps || (o->evaluate_every > 0 && steps_done % o->evaluate_every == 0);
}
