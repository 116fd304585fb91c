/* Models of listed tokens: bit for bit those of a checkpoint whose table was cut by hand, in every computation; what is saved is whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "support/files.h"
#include "support/listed.h"

enum { SEQUENCES = 3, LENGTH = 17, ROWS = SEQUENCES * LENGTH };

static int set_up(void **state)
{
    *state = calloc(1, sizeof(listed));
    listed_set_up(*state, EWC_F32);
    return 0;
}

static int tear_down(void **state)
{
    listed_tear_down(*state);
    free(*state);
    return 0;
}

/* ---- Computations ------------------------------------------------------------------------------------------------------ */

static void the_model_has_the_listed_tokens(void **state)
{
    listed *l = *state;
    int32_t ids[LISTED_WHOLE];
    int64_t count = 0;
    uint64_t a, b;
    ewc_model_config config;
    OK(l->ctx, ewc_model_vocabulary(l->listed, &count, NULL));
    assert_int_equal(count, l->count);
    OK(l->ctx, ewc_model_vocabulary(l->listed, &count, ids));
    assert_memory_equal(ids, l->ids, (size_t)count * sizeof *ids);
    OK(l->ctx, ewc_model_get_config(l->listed, &config));
    assert_int_equal(config.vocab_size, LISTED_WHOLE);
    assert_int_equal(ewc_model_parameter_count(l->listed), ewc_model_parameter_count(l->cut));
    OK(l->ctx, ewc_model_fingerprint(l->listed, &a));
    OK(l->ctx, ewc_model_fingerprint(l->cut, &b));
    assert_true(a == b);
    OK(l->ctx, ewc_model_vocabulary(l->whole, &count, ids));
    assert_int_equal(count, LISTED_WHOLE);
    for (int32_t i = 0; i < LISTED_WHOLE; i++) assert_int_equal(ids[i], i);
}

static void losses_and_gradients_are_those_of_the_cut_model(void **state)
{
    listed *l = *state;
    int64_t parameters = ewc_model_parameter_count(l->cut);
    float *gradients[2] = {array_filled(parameters, 0), array_filled(parameters, 1)}, values[2][ROWS];
    listed_batch b;
    listed_batch_make(l, &b, SEQUENCES, LENGTH, 11);
    for (int i = 0; i < 3; i++) { /* rows scored here and there, all of them, documents and weights */
        ewc_evaluation e[2] = {{.struct_size = sizeof *e}, {.struct_size = sizeof *e}};
        tiny_batch *both[2] = {&b.of_listed, &b.of_cut};
        ewc_model *models[2] = {l->listed, l->cut};
        for (int k = 0; k < 2; k++) {
            for (int64_t r = 0; i == 1 && r < ROWS; r++)
                if (both[k]->targets[r] < 0) both[k]->targets[r] = both[k]->tokens[0];
            for (int64_t r = 0; r < ROWS; r++) both[k]->document_start[r] = r % LENGTH < 5 ? 0 : 5;
            both[k]->batch.document_start = i == 2 ? both[k]->document_start : NULL;
            both[k]->batch.weights = i == 2 ? both[k]->weights : NULL;
            OK(l->ctx, ewc_model_evaluate(models[k], &both[k]->batch, &e[k], values[k]));
            OK(l->ctx, ewc_model_gradient(models[k], &both[k]->batch, 0, NULL, gradients[k]));
        }
        assert_true(e[0].nll == e[1].nll && e[0].tokens == e[1].tokens && e[0].tokens > 0);
        listed_same(values[0], values[1], ROWS);
        listed_same(gradients[0], gradients[1], parameters);
    }
    listed_batch_free(&b);
}

/* What docs/ewc.md says of the loss: lower by -log of the listed tokens' share of the probability. */
static void the_loss_is_lower_by_the_share_of_the_listed(void **state)
{
    listed *l = *state;
    float whole[ROWS], of_listed[ROWS], values[ROWS];
    double share[ROWS] = {0};
    listed_batch b;
    listed_batch_make(l, &b, SEQUENCES, LENGTH, 12);
    for (int64_t r = 0; r < ROWS; r++)
        if (b.of_listed.targets[r] < 0) b.of_listed.targets[r] = l->ids[0];
    OK(l->ctx, ewc_model_evaluate(l->whole, &b.of_listed.batch, NULL, whole));
    OK(l->ctx, ewc_model_evaluate(l->listed, &b.of_listed.batch, NULL, of_listed));
    for (int64_t k = 0; k < l->count; k++) {
        for (int64_t r = 0; r < ROWS; r++) b.of_listed.targets[r] = l->ids[k];
        OK(l->ctx, ewc_model_evaluate(l->whole, &b.of_listed.batch, NULL, values));
        for (int64_t r = 0; r < ROWS; r++) share[r] += exp((double)values[r]);
    }
    for (int64_t r = 0; r < ROWS; r++) {
        assert_true(share[r] > 0.1 && share[r] < 0.9);
        assert_true(fabs((double)of_listed[r] - ((double)whole[r] - log(share[r]))) < 1e-5);
    }
    listed_batch_free(&b);
}

static void every_fisher_is_that_of_the_cut_model(void **state)
{
    listed *l = *state;
    for (int estimator = EWC_FISHER_EMPIRICAL; estimator <= EWC_FISHER_BATCH_MEAN; estimator++) {
        float *tables[2];
        ewc_fisher_statistics sums[2] = {{.struct_size = sizeof *sums}, {.struct_size = sizeof *sums}};
        for (int k = 0; k < 2; k++) {
            ewc_model *model = k == 0 ? l->listed : l->cut;
            ewc_fisher_options o;
            ewc_fisher *fisher = NULL;
            ewc_tensor_info t;
            ewc_fisher_options_default(&o);
            o.estimator = (ewc_estimator)estimator;
            o.seed = 7;
            OK(l->ctx, ewc_fisher_create(model, &o, &fisher));
            for (uint64_t n = 0; n < 2; n++) {
                listed_batch b;
                listed_batch_make(l, &b, SEQUENCES, LENGTH, 20 + n);
                OK(l->ctx, ewc_fisher_accumulate(fisher, k == 0 ? &b.of_listed.batch : &b.of_cut.batch));
                listed_batch_free(&b);
            }
            OK(l->ctx, ewc_fisher_finish(fisher));
            OK(l->ctx, ewc_model_tensor(model, 0, &t));
            tables[k] = array_filled(t.rows * t.columns, (float)k);
            OK(l->ctx, ewc_fisher_get_tensor(fisher, LISTED_TABLE, tables[k], t.rows * t.columns));
            OK(l->ctx, ewc_fisher_stats(fisher, -1, &sums[k]));
            ewc_fisher_destroy(fisher);
            if (k == 1) listed_same(tables[0], tables[1], t.rows * t.columns);
        }
        assert_true(sums[0].sum == sums[1].sum && sums[0].count == sums[1].count && sums[0].sum > 0);
        assert_memory_equal(sums[0].quantiles, sums[1].quantiles, sizeof sums->quantiles);
    }
}

static void scores_of_choices_are_those_of_the_cut_model(void **state)
{
    listed *l = *state;
    double scores[2][3];
    listed_batch b;
    listed_batch_make(l, &b, 1, LENGTH, 13);
    for (int k = 0; k < 2; k++) {
        const int32_t *tokens = k == 0 ? b.of_listed.tokens : b.of_cut.tokens;
        const int32_t *choices[] = {tokens + 6, tokens + 9, tokens + 10};
        const int64_t lengths[] = {3, 1, 7};
        const ewc_choice_item item = {sizeof item, 6, tokens, 3, lengths, choices};
        OK(l->ctx, ewc_model_score_choices(k == 0 ? l->listed : l->cut, 1, &item, scores[k], NULL));
    }
    assert_memory_equal(scores[0], scores[1], sizeof *scores);
    listed_batch_free(&b);
}

/* Three steps with a penalty; the anchor is the checkpoint, mapped, or the model's weights, copied. */
static void train(listed *l, ewc_model *model, const char *directory, listed_batch *b, ewc_step_statistics *last)
{
    ewc_trainer_options o;
    ewc_trainer *trainer = NULL;
    ewc_anchor *anchor = NULL;
    ewc_fisher *fisher = NULL;
    int64_t parameters = ewc_model_parameter_count(model);
    float *values = array_random(parameters, 31, 1.0);
    uint64_t a, m;
    for (int64_t i = 0; i < parameters; i++) values[i] = fabsf(values[i]);
    OK(l->ctx, ewc_fisher_from_values(model, NULL, values, &fisher));
    if (directory != NULL)
        OK(l->ctx, ewc_anchor_open(model, directory, &anchor));
    else
        OK(l->ctx, ewc_anchor_from_model(model, &anchor));
    OK(l->ctx, ewc_anchor_fingerprint(anchor, &a));
    OK(l->ctx, ewc_model_fingerprint(model, &m));
    assert_true(a == m);
    ewc_trainer_options_default(&o);
    o.max_sequences = SEQUENCES;
    o.max_length = LENGTH;
    o.schedule.peak = 0.01;
    OK(l->ctx, ewc_trainer_create(model, &o, &trainer));
    OK(l->ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, 0.5, EWC_LAMBDA_RELATIVE, 0));
    for (int step = 0; step < 3; step++) {
        *last = (ewc_step_statistics){.struct_size = sizeof *last};
        OK(l->ctx, ewc_trainer_step(trainer, 1, model == l->cut ? &b->of_cut.batch : &b->of_listed.batch, last));
    }
    ewc_trainer_destroy(trainer);
    ewc_anchor_destroy(anchor);
    ewc_fisher_destroy(fisher);
}

static void training_is_that_of_the_cut_model(void **state)
{
    listed *l = *state;
    ewc_step_statistics s[2];
    listed_batch b;
    listed_batch_make(l, &b, SEQUENCES, LENGTH, 14);
    train(l, l->listed, l->directory, &b, &s[0]);
    train(l, l->cut, NULL, &b, &s[1]);
    assert_true(s[0].loss == s[1].loss && s[0].penalty == s[1].penalty && s[0].distance == s[1].distance);
    assert_true(s[0].penalty > 0);
    float *weights[2] = {tiny_weights(l->listed), tiny_weights(l->cut)};
    listed_same(weights[0], weights[1], ewc_model_parameter_count(l->cut));
    free(weights[0]);
    free(weights[1]);
    listed_batch_free(&b);
}

static void a_list_of_all_tokens_is_the_whole_model(void **state)
{
    listed *l = *state;
    int32_t ids[LISTED_WHOLE];
    float values[2][ROWS];
    uint64_t a, b;
    ewc_model *all = NULL;
    tiny_batch batch;
    for (int32_t i = 0; i < LISTED_WHOLE; i++) ids[i] = LISTED_WHOLE - 1 - i;
    OK(l->ctx, ewc_model_load_vocabulary(l->ctx, l->directory, LISTED_WHOLE, ids, &all));
    OK(l->ctx, ewc_model_fingerprint(l->whole, &a));
    OK(l->ctx, ewc_model_fingerprint(all, &b));
    assert_true(a == b);
    tiny_batch_make(&batch, LISTED_WHOLE, SEQUENCES, LENGTH, 15);
    OK(l->ctx, ewc_model_evaluate(l->whole, &batch.batch, NULL, values[0]));
    OK(l->ctx, ewc_model_evaluate(all, &batch.batch, NULL, values[1]));
    listed_same(values[0], values[1], ROWS);
    OK(l->ctx, ewc_model_save(all, files_path("all"), EWC_F32, 0));
    char *first = files_read(files_path("checkpoint/model.safetensors"), NULL);
    size_t bytes;
    char *second = files_read(files_path("all/model.safetensors"), &bytes);
    assert_memory_equal(first, second, bytes);
    free(first);
    free(second);
    tiny_batch_free(&batch);
    ewc_model_destroy(all);
}

/* ---- Saving ------------------------------------------------------------------------------------------------------------ */

/* Trains the model of listed tokens, so that no tensor is what it was. */
static void change(listed *l)
{
    ewc_step_statistics s;
    listed_batch b;
    listed_batch_make(l, &b, SEQUENCES, LENGTH, 16);
    train(l, l->listed, NULL, &b, &s);
    listed_batch_free(&b);
}

/* A directory has the rows of `before` where a token is not listed, and all else from the model of listed tokens, rounded if it is bf16. */
static void check_saved(listed *l, const char *directory, const float *before, bool rounded)
{
    ewc_model *saved = NULL;
    int64_t count, listed_count;
    OK(l->ctx, ewc_model_load(l->ctx, directory, &saved));
    for (int64_t i = 0; i < ewc_model_tensor_count(saved); i++) {
        ewc_tensor_info t;
        OK(l->ctx, ewc_model_tensor(saved, i, &t));
        float *values = listed_tensor(l->ctx, saved, t.name, &count);
        float *trained = listed_tensor(l->ctx, l->listed, t.name, &listed_count);
        bool table = strcmp(t.name, LISTED_TABLE) == 0;
        assert_int_equal(count, table ? LISTED_WHOLE * t.columns : listed_count);
        int64_t next = 0;
        for (int64_t r = 0; r < t.rows; r++) {
            bool kept = table && (next == l->count || l->ids[next] != r);
            const float *expected = kept ? before + r * t.columns : trained + next++ * t.columns;
            for (int64_t c = 0; c < t.columns; c++) {
                float value = values[r * t.columns + c];
                bool close = fabsf(value - expected[c]) <= fabsf(expected[c]) / 256;
                assert_true(rounded && !kept ? close : value == expected[c]);
            }
        }
    }
    ewc_model_destroy(saved);
}

static void what_is_saved_is_whole(void **state)
{
    listed *l = *state;
    int64_t count;
    const float *before = listed_tensor(l->ctx, l->whole, LISTED_TABLE, &count);
    ewc_model_config config;
    change(l);
    OK(l->ctx, ewc_model_save(l->listed, files_path("saved"), EWC_F32, 0));
    check_saved(l, files_path("saved"), before, false);
    OK(l->ctx, ewc_model_config_read(l->ctx, files_path("saved"), &config));
    assert_int_equal(config.vocab_size, LISTED_WHOLE);
}

static int set_up_bf16(void **state)
{
    *state = calloc(1, sizeof(listed));
    listed_set_up(*state, EWC_BF16);
    return 0;
}

static void rows_of_a_bf16_checkpoint_are_kept_as_they_are(void **state)
{
    listed *l = *state;
    int64_t count;
    const float *before = listed_tensor(l->ctx, l->whole, LISTED_TABLE, &count);
    change(l);
    OK(l->ctx, ewc_model_save(l->listed, files_path("saved"), EWC_BF16, 0));
    check_saved(l, files_path("saved"), before, true);
    OK(l->ctx, ewc_model_save(l->listed, files_path("wide"), EWC_F32, 0));
    check_saved(l, files_path("wide"), before, false);
}

/* Also when it is saved over the checkpoint, where another dtype rounds its rows, again afterwards, and without the checkpoint. */
static void saving_over_the_checkpoint_loses_nothing(void **state)
{
    listed *l = *state;
    int64_t count;
    const float *before = listed_tensor(l->ctx, l->whole, LISTED_TABLE, &count);
    change(l);
    OK(l->ctx, ewc_model_save(l->listed, l->directory, EWC_BF16, 1));
    OK(l->ctx, ewc_model_save(l->listed, l->directory, EWC_F32, 1));
    check_saved(l, l->directory, before, false);
    assert_int_equal(unlink(files_path("checkpoint/model.safetensors")), 0);
    assert_int_equal(unlink(files_path("checkpoint/config.json")), 0);
    OK(l->ctx, ewc_model_save(l->listed, files_path("after"), EWC_F32, 0));
    check_saved(l, files_path("after"), before, false);
}

/* Writes another byte into the table's row of a token, in place. */
static void write_into_row(const char *path, int64_t row, int64_t columns)
{
    size_t bytes;
    char *text = files_read(path, &bytes);
    uint64_t header = 0, start;
    for (int i = 8; i-- > 0;) header = header << 8 | (unsigned char)text[i];
    const char *table = strstr(text + 8, LISTED_TABLE), *offsets = strstr(table, "data_offsets\":[");
    start = 8 + header + strtoull(offsets + strlen("data_offsets\":["), NULL, 10);
    size_t place = start + (size_t)(row * columns) * sizeof(float);
    assert_true(place < bytes);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)place, SEEK_SET), 0);
    assert_int_equal(fputc(text[place] ^ 1, file) != EOF, 1);
    assert_int_equal(fclose(file), 0);
    free(text);
}

static void a_checkpoint_that_changed_in_place_is_refused(void **state)
{
    listed *l = *state;
    ewc_tensor_info t;
    int64_t missing = 3;
    while (l->ids[missing] == missing) missing++;
    OK(l->ctx, ewc_model_tensor(l->listed, 0, &t));
    write_into_row(files_path("checkpoint/model.safetensors"), l->ids[5], t.columns); /* the weights are elsewhere */
    OK(l->ctx, ewc_model_save(l->listed, files_path("fine"), EWC_F32, 0));
    write_into_row(files_path("checkpoint/model.safetensors"), missing, t.columns);
    REFUSED(l->ctx, ewc_model_save(l->listed, files_path("saved"), EWC_F32, 0), EWC_ERROR_MISMATCH, "checkpoint",
            LISTED_TABLE, "not listed", "no longer");
    assert_true(access(files_path("saved"), F_OK) != 0);
}

/* Sharded, f16, Gemma 3, and a text model among pictures' tensors: the rows are the checkpoint's, and come back. */
static void every_kind_of_directory_can_be_listed(void **state)
{
    static const char *const fixtures[] = {"half", "sharded", "gemma3", "vision"};
    static const int32_t ids[] = {2, 0, 1, 17, 11, 29};
    listed *l = *state;
    for (size_t f = 0; f < sizeof fixtures / sizeof *fixtures; f++) {
        char directory[64];
        ewc_model *whole = NULL, *some = NULL, *saved = NULL;
        int64_t count;
        snprintf(directory, sizeof directory, "tests/fixtures/%s", fixtures[f]);
        OK(l->ctx, ewc_model_load(l->ctx, directory, &whole));
        OK(l->ctx, ewc_model_load_vocabulary(l->ctx, directory, 6, ids, &some));
        const float *rows = listed_tensor(l->ctx, some, LISTED_TABLE, &count);
        int64_t columns = count / 6;
        const float *table = listed_tensor(l->ctx, whole, LISTED_TABLE, &count);
        static const int order[] = {0, 1, 2, 11, 17, 29};
        for (int k = 0; k < 6; k++) listed_same(rows + k * columns, table + order[k] * columns, columns);
        OK(l->ctx, ewc_model_save(some, files_path(fixtures[f]), EWC_F32, 0));
        OK(l->ctx, ewc_model_load(l->ctx, files_path(fixtures[f]), &saved));
        uint64_t a, b;
        OK(l->ctx, ewc_model_fingerprint(whole, &a));
        OK(l->ctx, ewc_model_fingerprint(saved, &b));
        assert_true(a == b);
        ewc_anchor *anchor = NULL;
        OK(l->ctx, ewc_anchor_open(some, directory, &anchor));
        OK(l->ctx, ewc_anchor_fingerprint(anchor, &a));
        OK(l->ctx, ewc_model_fingerprint(some, &b));
        assert_true(a == b);
        ewc_anchor_destroy(anchor);
        ewc_model_destroy(saved);
        ewc_model_destroy(some);
        ewc_model_destroy(whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_model_has_the_listed_tokens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(losses_and_gradients_are_those_of_the_cut_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_loss_is_lower_by_the_share_of_the_listed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_fisher_is_that_of_the_cut_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(scores_of_choices_are_those_of_the_cut_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(training_is_that_of_the_cut_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_list_of_all_tokens_is_the_whole_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_saved_is_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_of_a_bf16_checkpoint_are_kept_as_they_are, set_up_bf16, tear_down),
        cmocka_unit_test_setup_teardown(saving_over_the_checkpoint_loses_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_checkpoint_that_changed_in_place_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_kind_of_directory_can_be_listed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
