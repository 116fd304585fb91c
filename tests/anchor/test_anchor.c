/* Anchors: a copy of a model, a checkpoint mapped where it lies, a file of its own; and what is refused as one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "core/context.h"
#include "io/safetensors.h"
#include "ops.h"
#include "support/files.h"
#include "support/tiny.h"
#include "train/anchor.h"

/* The embedding has more values than a block that is read (4096); norms have an odd number. */
enum { VOCAB = 301, HIDDEN = 21, LENGTH = 11, SEQUENCES = 4, MOST_TENSORS = 64 };

typedef struct setting {
    ewc_context *ctx;
    ewc_model *model;
    tiny_batch data;
    int64_t parameters, tensors;
} setting;

static int set_up(void **state)
{
    setting *s = calloc(1, sizeof *s);
    ewc_model_config config = tiny_config();
    config.vocab_size = VOCAB;
    config.hidden_size = HIDDEN;
    s->ctx = tiny_context(1);
    OK(s->ctx, ewc_model_create(s->ctx, &config, 3, &s->model));
    s->parameters = ewc_model_parameter_count(s->model);
    tiny_set_weights(s->model, array_random(s->parameters, 3, 0.1)); /* norm weights too */
    s->tensors = ewc_model_tensor_count(s->model);
    assert_true(s->tensors + 1 < MOST_TENSORS);
    tiny_batch_make(&s->data, VOCAB, SEQUENCES, LENGTH, 21);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    setting *s = *state;
    tiny_batch_free(&s->data);
    arrays_free();
    files_clear();
    ewc_model_destroy(s->model);
    ewc_context_destroy(s->ctx);
    free(s);
    return 0;
}

static uint64_t fingerprint_of(setting *s, const ewc_anchor *anchor)
{
    uint64_t fingerprint = 0;
    OK(s->ctx, ewc_anchor_fingerprint(anchor, &fingerprint));
    return fingerprint;
}

static uint64_t model_fingerprint(setting *s, ewc_model *model)
{
    uint64_t fingerprint = 0;
    OK(s->ctx, ewc_model_fingerprint(model, &fingerprint));
    return fingerprint;
}

static float *anchor_values(setting *s, ewc_anchor *anchor)
{
    float *flat = array_filled(s->parameters, -1.0F);
    for (int64_t i = 0; i < s->tensors; i++) {
        ewc_tensor_info t = {.struct_size = sizeof t};
        OK(s->ctx, ewc_model_tensor(s->model, i, &t));
        OK(s->ctx, ewci_views_read(&anchor->views, i, 0, t.rows * t.columns, flat + t.offset));
    }
    return flat;
}

static float *model_values(ewc_model *model)
{
    float *taken = tiny_weights(model), *kept = array_copy(taken, ewc_model_parameter_count(model));
    free(taken);
    return kept;
}

static const char *save_model(setting *s, ewc_dtype dtype)
{
    const char *directory = files_path("checkpoint");
    OK(s->ctx, ewc_model_save(s->model, directory, dtype, 1));
    return directory;
}

static void a_copy_stays_when_the_model_moves(void **state)
{
    setting *s = *state;
    ewc_anchor *anchor = NULL;
    float *before = model_values(s->model), *moved = array_copy(before, s->parameters);
    OK(s->ctx, ewc_anchor_from_model(s->model, &anchor));
    uint64_t fingerprint = model_fingerprint(s, s->model);
    assert_true(fingerprint_of(s, anchor) == fingerprint);
    moved[17] += 0.5F;
    tiny_set_weights(s->model, moved);
    assert_true(model_fingerprint(s, s->model) != fingerprint);
    assert_true(fingerprint_of(s, anchor) == fingerprint);
    SAME(anchor_values(s, anchor), before, s->parameters);
    ewc_anchor_destroy(anchor);
}

/* The checkpoint's own bf16, where it lies: nothing is copied, and the fingerprint is that of the model loaded from it. */
static void a_checkpoint_is_mapped_in_its_own_type(void **state)
{
    setting *s = *state;
    static const ewc_dtype dtypes[] = {EWC_BF16, EWC_F16, EWC_F32};
    for (int i = 0; i < 3; i++) {
        ewc_model *loaded = NULL;
        ewc_anchor *anchor = NULL;
        const char *directory = save_model(s, dtypes[i]);
        OK(s->ctx, ewc_model_load(s->ctx, directory, &loaded));
        OK(s->ctx, ewc_anchor_open(s->model, directory, &anchor));
        assert_null(anchor->views.flat);
        for (int64_t t = 0; t < s->tensors; t++) assert_int_equal(ewci_anchor_view(anchor, t).dtype, dtypes[i]);
        assert_true(fingerprint_of(s, anchor) == model_fingerprint(s, loaded));
        assert_true((fingerprint_of(s, anchor) == model_fingerprint(s, s->model)) == (dtypes[i] == EWC_F32));
        SAME(anchor_values(s, anchor), model_values(loaded), s->parameters);
        ewc_anchor_destroy(anchor);
        ewc_model_destroy(loaded);
    }
}

/* Weights after three steps with a penalty towards the anchor. */
static float *trained(setting *s, const char *directory, bool mapped)
{
    ewc_model *model = NULL;
    ewc_anchor *anchor = NULL;
    ewc_fisher *fisher = NULL;
    ewc_trainer *trainer = NULL;
    ewc_trainer_options options;
    OK(s->ctx, ewc_model_load(s->ctx, directory, &model));
    OK(s->ctx, mapped ? ewc_anchor_open(model, directory, &anchor) : ewc_anchor_from_model(model, &anchor));
    OK(s->ctx, ewc_fisher_create(model, NULL, &fisher));
    OK(s->ctx, ewc_fisher_accumulate(fisher, &s->data.batch));
    OK(s->ctx, ewc_fisher_finish(fisher));
    ewc_trainer_options_default(&options);
    options.schedule.peak = 1e-2;
    options.max_sequences = SEQUENCES;
    options.max_length = LENGTH;
    OK(s->ctx, ewc_trainer_create(model, &options, &trainer));
    OK(s->ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, 1.0, EWC_LAMBDA_RELATIVE, 0));
    for (int step = 0; step < 3; step++) OK(s->ctx, ewc_trainer_step(trainer, 1, &s->data.batch, NULL));
    float *values = model_values(model);
    ewc_trainer_destroy(trainer);
    ewc_fisher_destroy(fisher);
    ewc_anchor_destroy(anchor);
    ewc_model_destroy(model);
    return values;
}

static void a_mapped_anchor_trains_as_a_copied_one(void **state)
{
    setting *s = *state;
    const char *directory = save_model(s, EWC_BF16);
    SAME(trained(s, directory, true), trained(s, directory, false), s->parameters);
}

/* Moves the data of a safetensors file by `bytes`, which a header of another length does. */
static void shift_data(const char *name, uint64_t bytes)
{
    size_t count;
    uint64_t header;
    char *before = files_read(files_path(name), &count), *after = array_bytes(count + bytes);
    memcpy(&header, before, sizeof header);
    memcpy(after + 8, before + 8, header);
    memset(after + 8 + header, ' ', bytes);
    memcpy(after + 8 + header + bytes, before + 8 + header, count - 8 - header);
    header += bytes;
    memcpy(after, &header, sizeof header);
    free(before);
    files_write(name, after, count + bytes);
}

/* Tensor t of a mapped anchor lies in memory of the anchor's own. */
static bool is_copied(const ewc_anchor *anchor, int64_t t)
{
    const char *data = ewci_anchor_view(anchor, t).data;
    return anchor->views.copies != NULL && data >= anchor->views.copies &&
           data < anchor->views.copies + anchor->views.copies_bytes;
}

/* A bf16 checkpoint whose data begin at an odd byte: no operation can read it there, so it is copied, as bf16. */
static void an_unaligned_checkpoint_is_copied_in_its_own_type(void **state)
{
    setting *s = *state;
    ewc_anchor *aligned = NULL, *anchor = NULL;
    const char *directory = save_model(s, EWC_BF16);
    float *expected = trained(s, directory, true);
    OK(s->ctx, ewc_anchor_open(s->model, directory, &aligned));
    float *values = anchor_values(s, aligned);
    shift_data("checkpoint/model.safetensors", 1);
    OK(s->ctx, ewc_anchor_open(s->model, directory, &anchor));
    assert_int_equal(anchor->views.copies_bytes, 2 * s->parameters);
    for (int64_t t = 0; t < s->tensors; t++) {
        assert_true(is_copied(anchor, t) && !is_copied(aligned, t));
        assert_int_equal(ewci_anchor_view(anchor, t).dtype, EWC_BF16);
        assert_int_equal((uintptr_t)ewci_anchor_view(anchor, t).data % 2, 0);
    }
    SAME(anchor_values(s, anchor), values, s->parameters);
    assert_true(fingerprint_of(s, anchor) == fingerprint_of(s, aligned));
    ewc_anchor_destroy(anchor);
    ewc_anchor_destroy(aligned);
    SAME(trained(s, directory, true), expected, s->parameters);
}

/* An anchor's file whose tensors take turns: f32, bf16, f32. Returns its values. */
static float *write_mixed(setting *s, const char *path, ewc_dtype *dtypes)
{
    ewci_tensor_output outputs[MOST_TENSORS];
    ewci_pair pair = {"format", "libewc-anchor"};
    float *values = model_values(s->model);
    for (int64_t i = 0; i < s->tensors; i++) {
        ewc_tensor_info t = {.struct_size = sizeof t};
        OK(s->ctx, ewc_model_tensor(s->model, i, &t));
        dtypes[i] = i % 3 == 1 ? EWC_BF16 : EWC_F32;
        outputs[i] = (ewci_tensor_output){.name = t.name,
                                          .dtype = dtypes[i],
                                          .rank = t.is_vector ? 1 : 2,
                                          .shape = {t.rows, t.columns},
                                          .values = values + t.offset};
        for (int64_t k = 0; dtypes[i] == EWC_BF16 && k < t.rows * t.columns; k++)
            values[t.offset + k] = 0.25F * (float)(k % 31); /* bf16 has these exactly */
    }
    OK(s->ctx, ewci_safetensors_write(s->ctx, path, s->tensors, outputs, 1, &pair, true));
    return values;
}

static void check_mixed(setting *s, ewc_anchor *anchor, const ewc_dtype *dtypes, const float *values)
{
    for (int64_t t = 0; t < s->tensors; t++) {
        ewc_buffer view = ewci_anchor_view(anchor, t);
        assert_int_equal(view.dtype, dtypes[t]);
        assert_int_equal((uintptr_t)view.data % (view.dtype == EWC_F32 ? 4 : 2), 0);
    }
    SAME(anchor_values(s, anchor), values, s->parameters);
}

/* Of a file with both types, moved by two bytes, only what is not aligned is copied; copies are aligned, each to its type. */
static void of_a_mixed_file_only_unaligned_tensors_are_copied(void **state)
{
    setting *s = *state;
    ewc_dtype dtypes[MOST_TENSORS];
    ewc_anchor *anchor = NULL;
    const char *path = files_path("mixed.safetensors");
    const float *values = write_mixed(s, path, dtypes);
    shift_data("mixed.safetensors", 2);
    OK(s->ctx, ewc_anchor_load(s->model, path, &anchor));
    for (int64_t t = 0; t < s->tensors; t++) assert_false(dtypes[t] == EWC_BF16 && is_copied(anchor, t));
    assert_true(is_copied(anchor, 0));
    check_mixed(s, anchor, dtypes, values);
    ewc_anchor_destroy(anchor);
    write_mixed(s, path, dtypes);
    shift_data("mixed.safetensors", 1); /* now nothing is */
    OK(s->ctx, ewc_anchor_load(s->model, path, &anchor));
    for (int64_t t = 0; t < s->tensors; t++) assert_true(is_copied(anchor, t));
    check_mixed(s, anchor, dtypes, values);
    ewc_anchor_destroy(anchor);
}

/* A backend with memory of its own is given copies, in the file's type, and trains the same. */
static void a_device_that_reads_no_host_memory_gets_copies(void **state)
{
    setting *s = *state;
    ewc_anchor *anchor = NULL;
    const char *directory = save_model(s, EWC_BF16);
    float *expected = trained(s, directory, true);
    const ewci_ops *ops = s->ctx->ops;
    static ewci_ops blind; /* lives until the context is destroyed, also when this test fails */
    blind = *ops;
    blind.device_reads_host = false;
    s->ctx->ops = &blind;
    OK(s->ctx, ewc_anchor_open(s->model, directory, &anchor));
    for (int64_t t = 0; t < s->tensors; t++) {
        assert_true(is_copied(anchor, t));
        assert_int_equal(ewci_anchor_view(anchor, t).dtype, EWC_BF16);
    }
    ewc_anchor_destroy(anchor);
    SAME(trained(s, directory, true), expected, s->parameters);
    s->ctx->ops = ops;
}

static void saved_and_loaded_it_is_the_same(void **state)
{
    setting *s = *state;
    ewc_anchor *anchor = NULL, *loaded = NULL;
    const char *path = files_path("anchor.safetensors");
    OK(s->ctx, ewc_anchor_from_model(s->model, &anchor));
    OK(s->ctx, ewc_anchor_save(anchor, path, 0));
    OK(s->ctx, ewc_anchor_load(s->model, path, &loaded));
    assert_null(loaded->views.flat);
    assert_true(fingerprint_of(s, loaded) == fingerprint_of(s, anchor));
    SAME(anchor_values(s, loaded), model_values(s->model), s->parameters);
    REFUSED(s->ctx, ewc_anchor_save(anchor, path, 0), EWC_ERROR_EXISTS, "anchor.safetensors");
    OK(s->ctx, ewc_anchor_save(loaded, path, 1)); /* onto the file it is mapped from */
    SAME(anchor_values(s, loaded), model_values(s->model), s->parameters);
    ewc_anchor_destroy(loaded);
    ewc_anchor_destroy(anchor);
}

/* A mapped bf16 anchor saved: f32 holds it exactly. */
static void a_mapped_anchor_is_saved_exactly(void **state)
{
    setting *s = *state;
    ewc_anchor *mapped = NULL, *loaded = NULL;
    const char *path = files_path("anchor.safetensors");
    OK(s->ctx, ewc_anchor_open(s->model, save_model(s, EWC_BF16), &mapped));
    OK(s->ctx, ewc_anchor_save(mapped, path, 0));
    OK(s->ctx, ewc_anchor_load(s->model, path, &loaded));
    assert_int_equal(ewci_anchor_view(loaded, 0).dtype, EWC_F32);
    assert_true(fingerprint_of(s, loaded) == fingerprint_of(s, mapped));
    ewc_anchor_destroy(loaded);
    ewc_anchor_destroy(mapped);
}

/* ---- What is refused ---- */

/* Writes the model's tensors to a file, `skip` left out (-1: none), tensor `cut` one row short (-1: none). */
static void write_weights(setting *s, const char *path, const char *format, int64_t skip, int64_t cut)
{
    ewci_tensor_output outputs[MOST_TENSORS];
    ewci_pair pair = {"format", format};
    int64_t count = 0;
    const float *values = model_values(s->model);
    for (int64_t i = 0; i < s->tensors; i++) {
        ewc_tensor_info t = {.struct_size = sizeof t};
        OK(s->ctx, ewc_model_tensor(s->model, i, &t));
        if (i == skip) continue;
        outputs[count++] = (ewci_tensor_output){.name = t.name,
                                                .dtype = EWC_BF16,
                                                .rank = t.is_vector ? 1 : 2,
                                                .shape = {t.rows - (i == cut), t.columns},
                                                .values = values + t.offset};
    }
    OK(s->ctx, ewci_safetensors_write(s->ctx, path, count, outputs, 1, &pair, true));
}

static void a_missing_or_misshapen_tensor_is_named(void **state)
{
    setting *s = *state;
    ewc_anchor *anchor = NULL;
    const char *directory = save_model(s, EWC_BF16), *weights = files_path("checkpoint/model.safetensors");
    const char *file = files_path("anchor.safetensors");
    for (int64_t i = 0; i < s->tensors; i += 5) {
        ewc_tensor_info t = {.struct_size = sizeof t};
        OK(s->ctx, ewc_model_tensor(s->model, i, &t));
        write_weights(s, weights, "pt", i, -1);
        REFUSED(s->ctx, ewc_anchor_open(s->model, directory, &anchor), EWC_ERROR_MISMATCH, "checkpoint", t.name);
        write_weights(s, weights, "pt", -1, i);
        REFUSED(s->ctx, ewc_anchor_open(s->model, directory, &anchor), EWC_ERROR_MISMATCH, "checkpoint", t.name);
        write_weights(s, file, "libewc-anchor", i, -1);
        REFUSED(s->ctx, ewc_anchor_load(s->model, file, &anchor), EWC_ERROR_MISMATCH, "anchor.safetensors", t.name);
        write_weights(s, file, "libewc-anchor", -1, i);
        REFUSED(s->ctx, ewc_anchor_load(s->model, file, &anchor), EWC_ERROR_MISMATCH, "anchor.safetensors", t.name);
    }
    write_weights(s, weights, "pt", -1, -1);
    OK(s->ctx, ewc_anchor_open(s->model, directory, &anchor));
    ewc_anchor_destroy(anchor);
}

/* A Fisher has the same tensors: pulled towards it, a model would be destroyed without a word. */
static void a_fisher_is_not_an_anchor(void **state)
{
    setting *s = *state;
    ewc_anchor *anchor = NULL;
    ewc_fisher *fisher = NULL;
    const char *path = files_path("fisher.safetensors");
    OK(s->ctx, ewc_fisher_from_values(s->model, NULL, array_filled(s->parameters, 1.0F), &fisher));
    OK(s->ctx, ewc_fisher_save(fisher, path, EWC_F32, 0));
    REFUSED(s->ctx, ewc_anchor_load(s->model, path, &anchor), EWC_ERROR_FORMAT, "libewc-anchor", "libewc-fisher");
    save_model(s, EWC_BF16);
    REFUSED(s->ctx, ewc_anchor_load(s->model, files_path("checkpoint/model.safetensors"), &anchor), EWC_ERROR_FORMAT,
            "libewc-anchor", "ewc_anchor_open");
    ewc_fisher_destroy(fisher);
}

static void what_is_not_there_is_refused(void **state)
{
    setting *s = *state;
    ewc_anchor *anchor = NULL;
    REFUSED(s->ctx, ewc_anchor_open(s->model, files_path("nowhere"), &anchor), EWC_ERROR_IO, "nowhere");
    REFUSED(s->ctx, ewc_anchor_load(s->model, files_path("nowhere"), &anchor), EWC_ERROR_IO, "nowhere");
    REFUSED(s->ctx, ewc_anchor_open(s->model, NULL, &anchor), EWC_ERROR_ARGUMENT, "NULL");
    REFUSED(s->ctx, ewc_anchor_load(s->model, NULL, &anchor), EWC_ERROR_ARGUMENT, "NULL");
    REFUSED(s->ctx, ewc_anchor_from_model(s->model, NULL), EWC_ERROR_ARGUMENT, "NULL");
    assert_null(anchor);
    ewc_anchor_destroy(NULL);
}

static void a_model_of_another_shape_is_refused(void **state)
{
    setting *s = *state;
    ewc_anchor *anchor = NULL;
    ewc_model *larger = NULL;
    ewc_model_config config = tiny_config();
    config.vocab_size = VOCAB;
    config.hidden_size = HIDDEN;
    config.layers = 4;
    OK(s->ctx, ewc_model_create(s->ctx, &config, 1, &larger));
    REFUSED(s->ctx, ewc_anchor_open(larger, save_model(s, EWC_BF16), &anchor), EWC_ERROR_MISMATCH, "model.layers.3.");
    ewc_model_destroy(larger);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_copy_stays_when_the_model_moves),
        TEST(a_checkpoint_is_mapped_in_its_own_type),
        TEST(a_mapped_anchor_trains_as_a_copied_one),
        TEST(an_unaligned_checkpoint_is_copied_in_its_own_type),
        TEST(of_a_mixed_file_only_unaligned_tensors_are_copied),
        TEST(a_device_that_reads_no_host_memory_gets_copies),
        TEST(saved_and_loaded_it_is_the_same),
        TEST(a_mapped_anchor_is_saved_exactly),
        TEST(a_missing_or_misshapen_tensor_is_named),
        TEST(a_fisher_is_not_an_anchor),
        TEST(what_is_not_there_is_refused),
        TEST(a_model_of_another_shape_is_refused),
    };
    return cmocka_run_group_tests_name("anchor", tests, NULL, NULL);
}
