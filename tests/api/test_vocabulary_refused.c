/* Models of listed tokens and what belongs to other tokens: lists, batches, Fishers, anchors, states and data are refused by name, and those
 * of the same list taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "support/files.h"
#include "support/listed.h"

enum { SEQUENCES = 2, LENGTH = 9, ROWS = SEQUENCES * LENGTH };

typedef struct setting {
    listed l;
    ewc_model *other; /* as many tokens, one of them another */
    listed_batch batch;
    char mine[64]; /* "N of 71 tokens, list ...", without the fingerprint */
} setting;

static int set_up(void **state)
{
    setting *s = calloc(1, sizeof *s);
    listed_set_up(&s->l, EWC_F32);
    s->other = listed_other(&s->l);
    listed_batch_make(&s->l, &s->batch, SEQUENCES, LENGTH, 3);
    snprintf(s->mine, sizeof s->mine, "%d of %d tokens, list", (int)s->l.count, LISTED_WHOLE);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    setting *s = *state;
    listed_batch_free(&s->batch);
    ewc_model_destroy(s->other);
    listed_tear_down(&s->l);
    free(s);
    return 0;
}

static int32_t unlisted(const listed *l)
{
    int32_t id = 3;
    while (l->ids[id] == id) id++;
    return id;
}

/* ---- Lists and tokens ---------------------------------------------------------------------------------------------------- */

static void lists_that_are_none_are_refused(void **state)
{
    setting *s = *state;
    ewc_context *ctx = s->l.ctx;
    const char *directory = s->l.directory;
    const int32_t high[] = {4, LISTED_WHOLE}, low[] = {4, 5, -1}, twice[] = {9, 4, 5, 4};
    ewc_model *model = NULL;
    REFUSED(ctx, ewc_model_load_vocabulary(ctx, directory, 0, high, &model), EWC_ERROR_ARGUMENT, "count", "found 0");
    REFUSED(ctx, ewc_model_load_vocabulary(ctx, directory, 2, NULL, &model), EWC_ERROR_ARGUMENT, "ids");
    REFUSED(ctx, ewc_model_load_vocabulary(ctx, directory, 2, high, &model), EWC_ERROR_ARGUMENT, "ids[1]", "0 to 70",
            "71");
    REFUSED(ctx, ewc_model_load_vocabulary(ctx, directory, 3, low, &model), EWC_ERROR_ARGUMENT, "ids[2]", "found -1");
    REFUSED(ctx, ewc_model_load_vocabulary(ctx, directory, 4, twice, &model), EWC_ERROR_ARGUMENT, "ids[3]", "once",
            "4");
    REFUSED(NULL, ewc_model_load_vocabulary(NULL, directory, 1, high, &model), EWC_ERROR_ARGUMENT, "context");
    REFUSED(ctx, ewc_model_load_vocabulary(ctx, directory, 1, high, NULL), EWC_ERROR_ARGUMENT, "model");
    REFUSED(NULL, ewc_model_vocabulary(NULL, NULL, NULL), EWC_ERROR_ARGUMENT, "model");
    REFUSED(ctx, ewc_model_vocabulary(s->l.listed, NULL, NULL), EWC_ERROR_ARGUMENT, "count");
    REFUSED(NULL, ewc_data_check_model(NULL, s->l.listed), EWC_ERROR_ARGUMENT, "data");
    REFUSED(NULL, ewc_data_vocabulary(NULL, 1, NULL), EWC_ERROR_ARGUMENT, "data");
    assert_null(model);
}

static void tokens_that_are_not_listed_are_refused_with_their_place(void **state)
{
    setting *s = *state;
    ewc_context *ctx = s->l.ctx;
    int32_t missing = unlisted(&s->l), kept = s->batch.of_listed.tokens[LENGTH + 4];
    char token[32];
    double score = 7;
    snprintf(token, sizeof token, "token %d is not", (int)missing);
    s->batch.of_listed.tokens[LENGTH + 4] = missing;
    REFUSED(ctx, ewc_model_evaluate(s->l.listed, &s->batch.of_listed.batch, NULL, NULL), EWC_ERROR_ARGUMENT,
            "batch.tokens", "sequence 1, position 4", token, "of 71", "--vocab-from");
    s->batch.of_listed.tokens[LENGTH + 4] = LISTED_WHOLE;
    REFUSED(ctx, ewc_model_evaluate(s->l.listed, &s->batch.of_listed.batch, NULL, NULL), EWC_ERROR_ARGUMENT,
            "batch.tokens", "position 4", "from 0 to 70", "found 71");
    s->batch.of_listed.tokens[LENGTH + 4] = kept;
    s->batch.of_listed.targets[3] = missing;
    REFUSED(ctx, ewc_model_evaluate(s->l.listed, &s->batch.of_listed.batch, NULL, NULL), EWC_ERROR_ARGUMENT,
            "batch.targets", "sequence 0, position 3", token);
    s->batch.of_listed.targets[3] = -5;
    OK(ctx, ewc_model_evaluate(s->l.listed, &s->batch.of_listed.batch, NULL, NULL));

    const int32_t choice[] = {s->l.ids[4], missing}, *choices[] = {choice};
    int64_t lengths[] = {2};
    ewc_choice_item item = {sizeof item, 1, s->l.ids, 1, lengths, choices};
    REFUSED(ctx, ewc_model_score_choices(s->l.listed, 1, &item, &score, NULL), EWC_ERROR_ARGUMENT,
            "item 0, choice 0, token 1", token);
    item.prefix = &missing;
    lengths[0] = 1;
    REFUSED(ctx, ewc_model_score_choices(s->l.listed, 1, &item, &score, NULL), EWC_ERROR_ARGUMENT,
            "item 0: prefix, token 0", token);
    assert_true(score == 7);
}

static void data_are_listed_and_checked(void **state)
{
    setting *s = *state;
    ewc_context *ctx = s->l.ctx;
    int32_t missing = unlisted(&s->l), good[] = {2, s->l.ids[9], 2}, bad[] = {1, missing};
    uint8_t seen[LISTED_WHOLE] = {[50] = 1};
    ewc_data *data = NULL;
    OK(ctx, ewc_npy_write_tokens(ctx, files_path("good.npy"), good, 3, 0));
    OK(ctx, ewc_npy_write_tokens(ctx, files_path("bad.npy"), bad, 2, 0));
    const char *const paths[] = {files_path("good.npy"), files_path("bad.npy")};
    OK(ctx, ewc_data_open(ctx, 2, paths, 2, &data));
    REFUSED(ctx, ewc_data_check_model(data, s->l.listed), EWC_ERROR_MISMATCH, "bad.npy", "position 1", "is not among");
    OK(ctx, ewc_data_check_model(data, s->l.whole));
    REFUSED(ctx, ewc_data_vocabulary(data, 2, seen), EWC_ERROR_FORMAT, "good.npy", "token 0", "found 2");
    assert_int_equal(seen[1], 0);
    OK(ctx, ewc_data_vocabulary(data, LISTED_WHOLE, seen));
    for (int32_t id = 0; id < LISTED_WHOLE; id++)
        assert_int_equal(seen[id], id == 1 || id == 2 || id == 50 || id == missing || id == s->l.ids[9]);
    ewc_data_destroy(data);
    OK(ctx, ewc_data_open(ctx, 1, paths, 2, &data));
    OK(ctx, ewc_data_check_model(data, s->l.listed));
    ewc_data_destroy(data);
    ewc_context *other = tiny_context(1);
    OK(other, ewc_data_open(other, 1, paths, 2, &data));
    REFUSED(other, ewc_data_check_model(data, s->l.listed), EWC_ERROR_MISMATCH, "model", "same context");
    ewc_data_destroy(data);
    ewc_context_destroy(other);
}

/* ---- Fishers and anchors --------------------------------------------------------------------------------------------------- */

static ewc_fisher *fisher_of(setting *s, ewc_model *model)
{
    ewc_fisher *fisher = NULL;
    float *values = array_filled(ewc_model_parameter_count(model), 0.5F);
    OK(s->l.ctx, ewc_fisher_from_values(model, NULL, values, &fisher));
    return fisher;
}

static void files_of_the_same_list_come_back(void **state)
{
    setting *s = *state;
    ewc_context *ctx = s->l.ctx;
    ewc_fisher *fisher = fisher_of(s, s->l.listed), *read = NULL;
    ewc_anchor *anchor = NULL, *again = NULL;
    ewc_model *second = NULL;
    uint64_t a, b;
    OK(ctx, ewc_fisher_save(fisher, files_path("f"), EWC_F32, 0));
    OK(ctx, ewc_anchor_from_model(s->l.listed, &anchor));
    OK(ctx, ewc_anchor_save(anchor, files_path("a"), 0));
    OK(ctx, ewc_model_load_vocabulary(ctx, s->l.directory, s->l.count, s->l.ids, &second));
    OK(ctx, ewc_fisher_load(second, files_path("f"), &read));
    OK(ctx, ewc_anchor_load(second, files_path("a"), &again));
    OK(ctx, ewc_anchor_fingerprint(anchor, &a));
    OK(ctx, ewc_anchor_fingerprint(again, &b));
    assert_true(a == b);
    ewc_fisher_destroy(read);
    ewc_anchor_destroy(again);
    ewc_model_destroy(second);
    ewc_fisher_destroy(fisher);
    ewc_anchor_destroy(anchor);
}

static void files_of_other_tokens_are_refused(void **state)
{
    setting *s = *state;
    ewc_context *ctx = s->l.ctx;
    ewc_model *models[] = {s->l.listed, s->l.whole};
    ewc_fisher *read = NULL;
    ewc_anchor *again = NULL;
    for (int i = 0; i < 2; i++) {
        ewc_fisher *fisher = fisher_of(s, models[i]);
        ewc_anchor *anchor = NULL;
        OK(ctx, ewc_anchor_from_model(models[i], &anchor));
        OK(ctx, ewc_fisher_save(fisher, files_path(i == 0 ? "f" : "whole-f"), EWC_F32, 0));
        OK(ctx, ewc_anchor_save(anchor, files_path(i == 0 ? "a" : "whole-a"), 0));
        ewc_fisher_destroy(fisher);
        ewc_anchor_destroy(anchor);
    }
    REFUSED(ctx, ewc_fisher_load(s->other, files_path("f"), &read), EWC_ERROR_MISMATCH, "/f:", "vocabulary", "expected",
            s->mine, "found", "--vocab-from");
    REFUSED(ctx, ewc_fisher_load(s->l.whole, files_path("f"), &read), EWC_ERROR_MISMATCH,
            "/f:", "expected all 71 tokens", s->mine);
    REFUSED(ctx, ewc_fisher_load(s->l.listed, files_path("whole-f"), &read), EWC_ERROR_MISMATCH, "/whole-f:", s->mine,
            "found all of them");
    REFUSED(ctx, ewc_anchor_load(s->other, files_path("a"), &again), EWC_ERROR_MISMATCH, "/a:", "vocabulary", s->mine);
    REFUSED(ctx, ewc_anchor_load(s->l.whole, files_path("a"), &again), EWC_ERROR_MISMATCH, "/a:", "all 71", s->mine);
    REFUSED(ctx, ewc_anchor_load(s->l.listed, files_path("whole-a"), &again), EWC_ERROR_MISMATCH,
            "/whole-a:", "found all of them");
}

static void an_anchor_with_another_table_is_refused(void **state)
{
    setting *s = *state;
    ewc_anchor *anchor = NULL;
    OK(s->l.ctx, ewc_model_save(s->l.cut, files_path("cut"), EWC_F32, 0));
    REFUSED(s->l.ctx, ewc_anchor_open(s->l.listed, files_path("cut"), &anchor), EWC_ERROR_MISMATCH, "cut", LISTED_TABLE,
            "71");
    assert_null(anchor);
}

/* As many tokens, so that shapes are the same. */
static void things_of_models_of_other_tokens_do_not_go_together(void **state)
{
    setting *s = *state;
    ewc_context *ctx = s->l.ctx;
    ewc_fisher *mine = fisher_of(s, s->l.listed), *its = fisher_of(s, s->other), *folded_fisher = NULL,
               *open[2] = {NULL};
    ewc_anchor *of_mine = NULL, *of_its = NULL, *folded = NULL;
    const double lambda = 1;
    ewc_trainer_options o;
    ewc_trainer *trainer = NULL;
    assert_int_equal(ewc_model_parameter_count(s->l.listed), ewc_model_parameter_count(s->other));
    OK(ctx, ewc_anchor_from_model(s->l.listed, &of_mine));
    OK(ctx, ewc_anchor_from_model(s->other, &of_its));
    REFUSED(ctx, ewc_fisher_online(mine, its, 0.5), EWC_ERROR_MISMATCH, "the previous Fisher", "vocabulary", s->mine);
    REFUSED(ctx, ewc_anchor_fold(s->l.listed, 1, &of_its, &mine, &lambda, &folded, &folded_fisher), EWC_ERROR_MISMATCH,
            "an anchor", "vocabulary");
    REFUSED(ctx, ewc_anchor_fold(s->l.listed, 1, &of_mine, &its, &lambda, &folded, &folded_fisher), EWC_ERROR_MISMATCH,
            "a Fisher", "vocabulary");
    OK(ctx, ewc_fisher_create(s->l.listed, NULL, &open[0]));
    OK(ctx, ewc_fisher_create(s->other, NULL, &open[1]));
    REFUSED(ctx, ewc_fisher_merge(open[0], open[1]), EWC_ERROR_MISMATCH, "the other Fisher", "vocabulary");
    ewc_trainer_options_default(&o);
    o.max_sequences = o.max_length = 1;
    OK(ctx, ewc_trainer_create(s->l.listed, &o, &trainer));
    REFUSED(ctx, ewc_trainer_add_anchor(trainer, of_its, mine, 1, EWC_LAMBDA_ABSOLUTE, 1), EWC_ERROR_MISMATCH,
            "the anchor", "vocabulary");
    REFUSED(ctx, ewc_trainer_add_anchor(trainer, of_mine, its, 1, EWC_LAMBDA_ABSOLUTE, 1), EWC_ERROR_MISMATCH,
            "the Fisher", "vocabulary");
    ewc_trainer_destroy(trainer);
    for (int i = 0; i < 2; i++) ewc_fisher_destroy(open[i]);
    ewc_anchor_destroy(of_mine);
    ewc_anchor_destroy(of_its);
    ewc_fisher_destroy(mine);
    ewc_fisher_destroy(its);
}

/* ---- Training states --------------------------------------------------------------------------------------------------------- */

static ewc_trainer *trainer_of(setting *s, ewc_model *model)
{
    ewc_trainer_options o;
    ewc_trainer *trainer = NULL;
    ewc_trainer_options_default(&o);
    o.max_sequences = SEQUENCES;
    o.max_length = LENGTH;
    OK(s->l.ctx, ewc_trainer_create(model, &o, &trainer));
    return trainer;
}

/* One step of the model of listed tokens, saved. */
static void save_state(setting *s)
{
    ewc_trainer *trainer = trainer_of(s, s->l.listed);
    OK(s->l.ctx, ewc_trainer_step(trainer, 1, &s->batch.of_listed.batch, NULL));
    OK(s->l.ctx, ewc_trainer_save(trainer, files_path("state"), NULL));
    ewc_trainer_destroy(trainer);
}

static void states_of_other_tokens_are_refused(void **state)
{
    setting *s = *state;
    ewc_context *ctx = s->l.ctx;
    save_state(s);
    ewc_trainer *trainer = trainer_of(s, s->other);
    REFUSED(ctx, ewc_trainer_resume(trainer, files_path("state"), NULL), EWC_ERROR_MISMATCH, "manifest.json",
            "vocabulary", "the saved run had", s->mine, "this one has");
    ewc_trainer_destroy(trainer);
    trainer = trainer_of(s, s->l.whole);
    REFUSED(ctx, ewc_trainer_resume(trainer, files_path("state"), NULL), EWC_ERROR_MISMATCH, "vocabulary", s->mine,
            "this one has all tokens");
    OK(ctx, ewc_trainer_step(trainer, 1, &s->batch.of_listed.batch, NULL));
    OK(ctx, ewc_trainer_save(trainer, files_path("state"), NULL));
    ewc_trainer_destroy(trainer);
    trainer = trainer_of(s, s->other);
    REFUSED(ctx, ewc_trainer_resume(trainer, files_path("state"), NULL), EWC_ERROR_MISMATCH, "vocabulary",
            "the saved run had all tokens", "this one has");
    ewc_trainer_destroy(trainer);
}

/* What is saved at the end has the checkpoint's other rows: they must be those that the run began with. */
static void a_state_goes_on_from_its_own_checkpoint_alone(void **state)
{
    setting *s = *state;
    ewc_context *ctx = s->l.ctx;
    ewc_model *again = NULL;
    ewc_trainer *trainer;
    int64_t count;
    save_state(s);
    OK(ctx, ewc_model_load_vocabulary(ctx, s->l.directory, s->l.count, s->l.ids, &again));
    trainer = trainer_of(s, again);
    OK(ctx, ewc_trainer_resume(trainer, files_path("state"), NULL));
    float *weights[2] = {tiny_weights(again), tiny_weights(s->l.listed)};
    listed_same(weights[0], weights[1], ewc_model_parameter_count(again));
    ewc_trainer_destroy(trainer);
    ewc_model_destroy(again);

    float *table = listed_tensor(ctx, s->l.whole, LISTED_TABLE, &count);
    table[unlisted(&s->l) * (count / LISTED_WHOLE)] += 1;
    OK(ctx, ewc_model_set_tensor(s->l.whole, LISTED_TABLE, table, count));
    OK(ctx, ewc_model_save(s->l.whole, files_path("another"), EWC_F32, 0));
    OK(ctx, ewc_model_load_vocabulary(ctx, files_path("another"), s->l.count, s->l.ids, &again));
    trainer = trainer_of(s, again);
    REFUSED(ctx, ewc_trainer_resume(trainer, files_path("state"), NULL), EWC_ERROR_MISMATCH, "vocabulary", s->mine,
            "others");
    ewc_trainer_destroy(trainer);
    ewc_model_destroy(again);
    free(weights[0]);
    free(weights[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lists_that_are_none_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tokens_that_are_not_listed_are_refused_with_their_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(data_are_listed_and_checked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_of_the_same_list_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_of_other_tokens_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_anchor_with_another_table_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(things_of_models_of_other_tokens_do_not_go_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(states_of_other_tokens_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_state_goes_on_from_its_own_checkpoint_alone, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
