/* Every allocation of making, loading, training, estimating and saving fails in turn: each time a clear EWC_ERROR_MEMORY, nothing leaked,
 * and the same call works afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "support/tiny.h"

enum { VOCAB = 71 };

static struct {
    long made, live, fail_at; /* fail_at < 0: none fails */
} heap;

static void *starving_allocate(void *user, size_t bytes)
{
    void *pointer = NULL;
    (void)user;
    if (heap.made++ == heap.fail_at || posix_memalign(&pointer, 64, bytes) != 0) return NULL;
    heap.live++;
    return pointer;
}

static void starving_release(void *user, void *pointer)
{
    (void)user;
    heap.live--;
    free(pointer);
}

static char directory[200], fisher_path[220], state_path[220], saved_path[220];

static ewc_status make_context(ewc_context **ctx)
{
    ewc_context_options o;
    ewc_context_options_default(&o);
    o.threads = 1;
    o.allocate = starving_allocate;
    o.release = starving_release;
    return ewc_context_create(&o, ctx);
}

typedef struct things {
    ewc_context *ctx;
    ewc_model *model;
    ewc_fisher *fisher;
    ewc_anchor *anchor;
    ewc_trainer *trainer;
} things;

/* The batch's first token with its second and third as choices. */
static ewc_status score(ewc_model *model, const ewc_batch *batch)
{
    const int32_t *tokens[] = {batch->tokens + 1, batch->tokens + 2};
    const int64_t lengths[] = {1, 1};
    const ewc_choice_item item = {sizeof item, 1, batch->tokens, 2, lengths, tokens};
    double scores[2];
    return ewc_model_score_choices(model, 1, &item, scores, NULL);
}

/* The whole checkpoint, or the tokens of the batch alone. */
static ewc_status load(things *t, const ewc_batch *batch, bool listed)
{
    int32_t ids[VOCAB];
    bool seen[VOCAB] = {false};
    int64_t count = 0;
    for (int64_t i = 0; i < batch->sequences * batch->length; i++) {
        seen[batch->tokens[i]] = true;
        if (batch->targets[i] >= 0) seen[batch->targets[i]] = true;
    }
    for (int32_t id = 0; id < VOCAB; id++)
        if (seen[id]) ids[count++] = id;
    if (!listed) return ewc_model_load(t->ctx, directory, &t->model);
    return ewc_model_load_vocabulary(t->ctx, directory, count, ids, &t->model);
}

/* A whole short life: load, Fisher, anchor, a step, save Fisher, state and model. Stops at the first failure. */
static ewc_status live(things *t, const ewc_batch *batch, bool listed)
{
    ewc_trainer_options o;
    ewc_status s = make_context(&t->ctx);
    ewc_trainer_options_default(&o);
    o.max_sequences = batch->sequences;
    o.max_length = batch->length;
    o.moments_dtype = EWC_BF16;
    if (s == EWC_OK) s = load(t, batch, listed);
    if (s == EWC_OK) s = ewc_fisher_create(t->model, NULL, &t->fisher);
    if (s == EWC_OK) s = ewc_fisher_accumulate(t->fisher, batch);
    if (s == EWC_OK) s = ewc_fisher_finish(t->fisher);
    if (s == EWC_OK) s = ewc_fisher_save(t->fisher, fisher_path, EWC_F32, 1);
    ewc_fisher_destroy(t->fisher);
    t->fisher = NULL;
    if (s == EWC_OK) s = ewc_fisher_load(t->model, fisher_path, &t->fisher);
    if (s == EWC_OK) s = ewc_fisher_convert(t->fisher, EWC_BF16);
    if (s == EWC_OK) s = ewc_anchor_open(t->model, directory, &t->anchor);
    if (s == EWC_OK) s = ewc_anchor_convert(t->anchor, EWC_BF16);
    if (s == EWC_OK) s = ewc_trainer_create(t->model, &o, &t->trainer);
    if (s == EWC_OK) s = ewc_trainer_add_anchor(t->trainer, t->anchor, t->fisher, 1.0, EWC_LAMBDA_RELATIVE, 0);
    if (s == EWC_OK) s = ewc_trainer_step(t->trainer, 1, batch, NULL);
    if (s == EWC_OK) s = ewc_trainer_save(t->trainer, state_path, "here");
    if (s == EWC_OK) s = ewc_model_evaluate(t->model, batch, NULL, NULL);
    if (s == EWC_OK) s = score(t->model, batch);
    if (s == EWC_OK) s = ewc_model_save(t->model, saved_path, EWC_F32, 1);
    return s;
}

static void die(things *t)
{
    ewc_trainer_destroy(t->trainer);
    ewc_anchor_destroy(t->anchor);
    ewc_fisher_destroy(t->fisher);
    ewc_model_destroy(t->model);
    ewc_context_destroy(t->ctx);
    memset(t, 0, sizeof *t);
}

static void prepare_directory(void)
{
    ewc_context *ctx = tiny_context(1);
    ewc_model *model = tiny_model(ctx, 4);
    OK(ctx, ewc_model_save(model, directory, EWC_F32, 1));
    ewc_model_destroy(model);
    ewc_context_destroy(ctx);
}

static void survive(bool listed)
{
    things t = {0};
    tiny_batch b;
    prepare_directory();
    tiny_batch_make(&b, VOCAB, 2, 9, 31);
    ewc_status status = EWC_ERROR_MEMORY;
    long failures = 0;
    for (long n = 0; status != EWC_OK; n++) {
        heap.made = 0;
        heap.fail_at = n;
        status = live(&t, &b.batch, listed);
        if (status != EWC_OK) {
            assert_int_equal(status, EWC_ERROR_MEMORY);
            assert_true(strlen(ewc_last_error(t.ctx)) > 0);
            failures++;
        }
        die(&t);
        assert_int_equal(heap.live, 0);
        assert_true(n < 5000);
    }
    assert_true(failures > 50);
    print_message("%ld allocations failed in turn\n", failures);
    tiny_batch_free(&b);
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    survive(false);
}

static void so_it_is_with_listed_tokens(void **state)
{
    (void)state;
    survive(true);
}

/* A step that could not get its memory is not taken, and works when the memory is there. */
static void failed_call_can_be_repeated(void **state)
{
    (void)state;
    things t = {0};
    tiny_batch b;
    ewc_model_config config = tiny_config();
    heap.fail_at = -1;
    tiny_batch_make(&b, 71, 2, 9, 31);
    OK(NULL, make_context(&t.ctx));
    OK(t.ctx, ewc_model_create(t.ctx, &config, 1, &t.model));
    heap.fail_at = heap.made; /* the next one */
    ewc_evaluation e = {.struct_size = sizeof e};
    assert_int_equal(ewc_model_evaluate(t.model, &b.batch, &e, NULL), EWC_ERROR_MEMORY);
    assert_int_equal(e.tokens, 0);
    heap.fail_at = -1;
    OK(t.ctx, ewc_model_evaluate(t.model, &b.batch, &e, NULL));
    assert_true(e.tokens > 0);
    die(&t);
    tiny_batch_free(&b);
}

static int set_paths(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(directory, sizeof directory, "%s/ewc-oom-%ld", tmp != NULL ? tmp : "/tmp", (long)getpid());
    snprintf(fisher_path, sizeof fisher_path, "%s.fisher", directory);
    snprintf(state_path, sizeof state_path, "%s.state", directory);
    snprintf(saved_path, sizeof saved_path, "%s.saved", directory);
    return 0;
}

static int remove_paths(void **state)
{
    char command[1000];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s' '%s' '%s' '%s'", directory, fisher_path, state_path, saved_path);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(so_it_is_with_listed_tokens),
        cmocka_unit_test(failed_call_can_be_repeated),
    };
    return cmocka_run_group_tests(tests, set_paths, remove_paths);
}
