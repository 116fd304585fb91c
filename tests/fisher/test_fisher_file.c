/* Fisher files: what is written comes back, and every file that is not this model's Fisher is refused with what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "io/safetensors.h"
#include "support/files.h"
#include "support/tiny.h"
#include "train/fisher.h"

enum { VOCAB = 71, LENGTH = 11, SEQUENCES = 4, MOST_TENSORS = 64, PAIRS = 10 };

typedef struct setting {
    ewc_context *ctx;
    ewc_model *model;
    tiny_batch data;
    int64_t parameters, tensors;
    float *values;
} setting;

static int set_up(void **state)
{
    setting *s = calloc(1, sizeof *s);
    s->ctx = tiny_context(1);
    s->model = tiny_model(s->ctx, 3);
    s->parameters = ewc_model_parameter_count(s->model);
    s->tensors = ewc_model_tensor_count(s->model);
    assert_true(s->tensors + 1 < MOST_TENSORS);
    s->values = array_random(s->parameters, 9, 1e-6);
    for (int64_t i = 0; i < s->parameters; i++) s->values[i] = fabsf(s->values[i]);
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

static ewc_tensor_info tensor(setting *s, int64_t index)
{
    ewc_tensor_info t = {.struct_size = sizeof t};
    OK(s->ctx, ewc_model_tensor(s->model, index, &t));
    return t;
}

static float *values_of(setting *s, ewc_fisher *fisher)
{
    float *flat = array_filled(s->parameters, -1.0F);
    for (int64_t i = 0; i < s->tensors; i++) {
        ewc_tensor_info t = tensor(s, i);
        OK(s->ctx, ewc_fisher_get_tensor(fisher, t.name, flat + t.offset, t.rows * t.columns));
    }
    return flat;
}

static ewc_fisher_info info_of(setting *s, const ewc_fisher *fisher)
{
    ewc_fisher_info info = {.struct_size = sizeof info};
    OK(s->ctx, ewc_fisher_describe(fisher, &info));
    return info;
}

static ewc_fisher *load(setting *s, const char *path)
{
    ewc_fisher *fisher = NULL;
    OK(s->ctx, ewc_fisher_load(s->model, path, &fisher));
    return fisher;
}

static ewc_fisher *estimate(setting *s, ewc_estimator estimator, ewc_fisher_unit unit)
{
    ewc_fisher *fisher = NULL;
    ewc_fisher_options options;
    ewc_fisher_options_default(&options);
    options.estimator = estimator;
    options.unit = unit;
    OK(s->ctx, ewc_fisher_create(s->model, &options, &fisher));
    ewc_batch piece = s->data.batch;
    piece.sequences = SEQUENCES / 2;
    OK(s->ctx, ewc_fisher_accumulate(fisher, &piece));
    piece.tokens += piece.sequences * LENGTH;
    piece.targets += piece.sequences * LENGTH;
    OK(s->ctx, ewc_fisher_accumulate(fisher, &piece));
    OK(s->ctx, ewc_fisher_finish(fisher));
    return fisher;
}

/* ---- What is written comes back ---- */

static void f32_comes_back_bit_for_bit_with_its_record(void **state)
{
    setting *s = *state;
    const char *path = files_path("fisher.safetensors");
    for (int e = EWC_FISHER_EMPIRICAL; e <= EWC_FISHER_BATCH_MEAN; e++) {
        ewc_fisher *fisher = estimate(s, (ewc_estimator)e, e % 2 ? EWC_UNIT_SEQUENCE_SUM : EWC_UNIT_SEQUENCE_MEAN);
        OK(s->ctx, ewc_fisher_save(fisher, path, EWC_F32, 1));
        ewc_fisher *loaded = load(s, path);
        SAME(values_of(s, loaded), values_of(s, fisher), s->parameters);
        ewc_fisher_info a = info_of(s, fisher), b = info_of(s, loaded);
        assert_int_equal(b.estimator, e);
        assert_int_equal(b.unit, a.unit);
        assert_int_equal(b.sequences, SEQUENCES);
        assert_int_equal(b.tokens, a.tokens);
        assert_int_equal(b.batches, 2);
        assert_true(b.model_fingerprint == a.model_fingerprint && b.model_fingerprint != 0);
        assert_true(b.data_fingerprint == a.data_fingerprint && b.data_fingerprint != 0);
        assert_int_equal(b.finished, 1);
        ewc_fisher_destroy(loaded);
        ewc_fisher_destroy(fisher);
    }
}

static void bf16_comes_back_rounded_to_nearest_even(void **state)
{
    setting *s = *state;
    ewc_fisher *fisher = NULL;
    const char *path = files_path("fisher.safetensors");
    s->values[0] = 1.00390625F; /* halfway between 1 and its successor in bf16: to even */
    s->values[1] = 2e-38F;
    OK(s->ctx, ewc_fisher_from_values(s->model, NULL, s->values, &fisher));
    OK(s->ctx, ewc_fisher_save(fisher, path, EWC_BF16, 0));
    ewc_fisher *loaded = load(s, path);
    float *found = values_of(s, loaded);
    assert_true(found[0] == 1.0F);
    for (int64_t i = 0; i < s->parameters; i++) {
        double expected = (double)s->values[i], unit = ldexp(1.0, ilogb(expected) - 7);
        assert_true((double)found[i] == nearbyint(expected / unit) * unit);
    }
    ewc_fisher_statistics statistics = {.struct_size = sizeof statistics};
    OK(s->ctx, ewc_fisher_stats(loaded, -1, &statistics));
    assert_true(statistics.maximum == 1.0);
    ewc_fisher_destroy(loaded);
    ewc_fisher_destroy(fisher);
}

static void the_record_is_readable_by_others(void **state)
{
    setting *s = *state;
    ewci_safetensors *file = NULL;
    const char *path = files_path("fisher.safetensors");
    ewc_fisher *fisher = estimate(s, EWC_FISHER_EMPIRICAL_SIGNS, EWC_UNIT_SEQUENCE_SUM);
    OK(s->ctx, ewc_fisher_save(fisher, path, EWC_BF16, 0));
    ewc_fisher_destroy(fisher);
    OK(s->ctx, ewci_safetensors_open(s->ctx, path, &file));
    assert_string_equal(ewci_safetensors_metadata(file, "format"), "libewc-fisher");
    assert_string_equal(ewci_safetensors_metadata(file, "format_version"), "1");
    assert_string_equal(ewci_safetensors_metadata(file, "estimator"), "empirical_signs");
    assert_string_equal(ewci_safetensors_metadata(file, "unit"), "sequence_sum");
    assert_string_equal(ewci_safetensors_metadata(file, "sequences"), "4");
    assert_string_equal(ewci_safetensors_metadata(file, "batches"), "2");
    assert_string_equal(ewci_safetensors_metadata(file, "library_version"), ewc_version());
    assert_int_equal(ewci_safetensors_count(file), s->tensors);
    assert_string_equal(ewci_safetensors_entry(file, 0)->type, "BF16");
    ewci_safetensors_close(file);
}

static void nothing_is_overwritten_unasked(void **state)
{
    setting *s = *state;
    ewc_fisher *fisher = NULL;
    OK(s->ctx, ewc_fisher_from_values(s->model, NULL, s->values, &fisher));
    const char *path = files_text("fisher.safetensors", "precious");
    REFUSED(s->ctx, ewc_fisher_save(fisher, path, EWC_F32, 0), EWC_ERROR_EXISTS, "fisher.safetensors");
    char *kept = files_read(path, NULL);
    assert_string_equal(kept, "precious");
    free(kept);
    OK(s->ctx, ewc_fisher_save(fisher, path, EWC_F32, 1));
    ewc_fisher *loaded = load(s, path);
    OK(s->ctx, ewc_fisher_save(loaded, path, EWC_BF16, 1)); /* onto the file it is mapped from */
    SAME(values_of(s, loaded), s->values, s->parameters);
    ewc_fisher_destroy(loaded);
    assert_int_equal(files_count(files_directory()), 1);
    REFUSED(s->ctx, ewc_fisher_save(fisher, files_path("half"), EWC_F16, 0), EWC_ERROR_ARGUMENT, "EWC_BF16", "f16");
    ewc_fisher_destroy(fisher);
}

/* ---- What is refused: files made by hand, right but for one thing ---- */

typedef struct forged {
    ewci_pair pairs[PAIRS];
    ewci_tensor_output tensors[MOST_TENSORS];
    int64_t count;
} forged;

static forged right_file(setting *s)
{
    forged f = {{{"format", "libewc-fisher"},
                 {"format_version", "1"},
                 {"estimator", "empirical"},
                 {"unit", "sequence_mean"},
                 {"sequences", "12"},
                 {"tokens", "345"},
                 {"batches", "6"},
                 {"model_fingerprint", "00000000deadbeef"},
                 {"data_fingerprint", "0123456789abcdef"},
                 {"library_version", "0.0.1"}},
                {{0}},
                s->tensors};
    for (int64_t i = 0; i < s->tensors; i++) {
        ewc_tensor_info t = tensor(s, i);
        f.tensors[i] = (ewci_tensor_output){.name = t.name,
                                            .dtype = EWC_F32,
                                            .rank = t.is_vector ? 1 : 2,
                                            .shape = {t.rows, t.columns},
                                            .values = s->values + t.offset};
    }
    return f;
}

static const char *write_file(setting *s, const forged *f, int64_t pairs)
{
    const char *path = files_path("forged.safetensors");
    OK(s->ctx, ewci_safetensors_write(s->ctx, path, f->count, f->tensors, pairs, f->pairs, true));
    return path;
}

#define LOAD_REFUSED(s, f, status, ...)                                                                           \
    do {                                                                                                          \
        ewc_fisher *none = NULL;                                                                                  \
        const char *path = write_file((s), (f), PAIRS);                                                           \
        REFUSED((s)->ctx, ewc_fisher_load((s)->model, path, &none), (status), "forged.safetensors", __VA_ARGS__); \
        assert_null(none);                                                                                        \
    } while (0)

static void a_file_by_hand_is_read(void **state)
{
    setting *s = *state;
    forged f = right_file(s);
    for (int64_t i = 0; i < f.count / 2; i++) { /* another order than the model's */
        ewci_tensor_output kept = f.tensors[i];
        f.tensors[i] = f.tensors[f.count - 1 - i];
        f.tensors[f.count - 1 - i] = kept;
    }
    ewc_fisher *fisher = load(s, write_file(s, &f, PAIRS));
    SAME(values_of(s, fisher), s->values, s->parameters);
    ewc_fisher_info info = info_of(s, fisher);
    assert_int_equal(info.sequences, 12);
    assert_int_equal(info.tokens, 345);
    assert_int_equal(info.batches, 6);
    assert_true(info.model_fingerprint == 0xdeadbeefU);
    assert_true(info.data_fingerprint == 0x0123456789abcdefULL);
    ewc_fisher_destroy(fisher);
}

/* Two element types, and data that begin in the middle of an element, which a header of another length can cause: nothing that can be mapped
 * as it lies. */
static void unaligned_values_are_read(void **state)
{
    setting *s = *state;
    size_t count;
    uint64_t header;
    forged f = right_file(s);
    f.tensors[f.count - 1].dtype = EWC_BF16;
    char *bytes = files_read(write_file(s, &f, PAIRS), &count), *shifted = array_bytes(count + 2);
    memcpy(&header, bytes, sizeof header);
    header += 2;
    memcpy(shifted, &header, sizeof header);
    memcpy(shifted + 8, bytes + 8, header - 2);
    memcpy(shifted + 8 + header - 2, "  ", 2);
    memcpy(shifted + 8 + header, bytes + 8 + header - 2, count - 8 - (header - 2));
    free(bytes);
    ewc_fisher *fisher = load(s, files_write("shifted.safetensors", shifted, count + 2));
    for (int64_t t = 0; t < s->tensors; t++) { /* processors that fault on such reads exist: copied to where they fit */
        ewc_buffer view = ewci_fisher_view(fisher, t);
        assert_int_equal((uintptr_t)view.data % (view.dtype == EWC_F32 ? 4 : 2), 0);
    }
    ewc_tensor_info last = tensor(s, s->tensors - 1);
    float *found = values_of(s, fisher);
    SAME(found, s->values, last.offset);
    for (int64_t i = last.offset; i < s->parameters; i++)
        assert_true(fabsf(found[i] - s->values[i]) <= s->values[i] * 0x1p-8F);
    ewc_fisher_destroy(fisher);
}

static void other_formats_are_refused(void **state)
{
    setting *s = *state;
    forged f = right_file(s);
    f.pairs[0].value = "pt";
    LOAD_REFUSED(s, &f, EWC_ERROR_FORMAT, "format", "libewc-fisher", "pt");
    f.pairs[0].value = "libewc-anchor";
    LOAD_REFUSED(s, &f, EWC_ERROR_FORMAT, "format", "libewc-fisher", "libewc-anchor");
    f = right_file(s);
    f.pairs[1].value = "2";
    LOAD_REFUSED(s, &f, EWC_ERROR_FORMAT, "format_version", "expected 1", "2");
    ewc_fisher *none = NULL;
    const char *bare = write_file(s, &f, 0);
    REFUSED(s->ctx, ewc_fisher_load(s->model, bare, &none), EWC_ERROR_FORMAT, "format", "nothing");
    const char *text = files_text("text", "not a safetensors file at all");
    REFUSED(s->ctx, ewc_fisher_load(s->model, text, &none), EWC_ERROR_FORMAT, "text");
    REFUSED(s->ctx, ewc_fisher_load(s->model, files_path("absent"), &none), EWC_ERROR_IO, "absent");
}

static void a_record_that_is_wrong_is_refused(void **state)
{
    setting *s = *state;
    static const struct {
        int pair;
        const char *value;
    } wrong[] = {{2, "guessed"},
                 {2, "Empirical"},
                 {3, "token_mean"},
                 {4, "many"},
                 {4, "-3"},
                 {5, "12.5"},
                 {5, ""},
                 {6, "1234567890123456789"},
                 {7, "deadbeef"},
                 {7, "00000000DEADBEEF"},
                 {8, "0123456789abcdeg"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        forged f = right_file(s);
        f.pairs[wrong[i].pair].value = wrong[i].value;
        LOAD_REFUSED(s, &f, EWC_ERROR_FORMAT, f.pairs[wrong[i].pair].key, wrong[i].value);
        f.pairs[wrong[i].pair].key = "elsewhere";
        LOAD_REFUSED(s, &f, EWC_ERROR_FORMAT, right_file(s).pairs[wrong[i].pair].key, "nothing");
    }
}

static void a_missing_tensor_is_named(void **state)
{
    setting *s = *state;
    for (int64_t i = 0; i < s->tensors; i += 7) {
        forged f = right_file(s);
        const char *name = f.tensors[i].name;
        f.tensors[i] = f.tensors[--f.count];
        LOAD_REFUSED(s, &f, EWC_ERROR_MISMATCH, name, "found nothing");
    }
}

static void a_tensor_of_another_model_is_named(void **state)
{
    setting *s = *state;
    forged f = right_file(s);
    f.tensors[f.count] = f.tensors[1];
    f.tensors[f.count++].name = "model.layers.3.input_layernorm.weight";
    LOAD_REFUSED(s, &f, EWC_ERROR_MISMATCH, "model.layers.3.input_layernorm.weight", "another model");
}

static void another_shape_is_named(void **state)
{
    setting *s = *state;
    for (int64_t i = 0; i < s->tensors; i++) {
        forged f = right_file(s);
        if (f.tensors[i].rank != 2) continue;
        f.tensors[i].shape[0]--;
        LOAD_REFUSED(s, &f, EWC_ERROR_MISMATCH, f.tensors[i].name);
        f = right_file(s);
        f.tensors[i].shape[0] = tensor(s, i).columns; /* the transposed one, as many values */
        f.tensors[i].shape[1] = tensor(s, i).rows;
        if (f.tensors[i].shape[0] != f.tensors[i].shape[1]) LOAD_REFUSED(s, &f, EWC_ERROR_MISMATCH, f.tensors[i].name);
    }
}

static void values_that_no_fisher_has_are_refused(void **state)
{
    setting *s = *state;
    static const struct {
        float value;
        const char *text;
    } wrong[] = {{-1e-30F, "-1e-30"}, {NAN, "nan"}, {INFINITY, "inf"}};
    ewc_tensor_info last = tensor(s, s->tensors - 1), first = tensor(s, 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        forged f = right_file(s);
        s->values[last.offset + 3] = wrong[i].value;
        LOAD_REFUSED(s, &f, EWC_ERROR_NOT_FINITE, last.name, wrong[i].text, "element 3");
        s->values[last.offset + 3] = 1e-6F;
        s->values[first.offset + 1000] = wrong[i].value;
        f.tensors[0].dtype = EWC_BF16;
        LOAD_REFUSED(s, &f, EWC_ERROR_NOT_FINITE, first.name, "element 1000");
        s->values[first.offset + 1000] = 1e-6F;
    }
}

static void zero_everywhere_is_refused(void **state)
{
    setting *s = *state;
    forged f = right_file(s);
    memset(s->values, 0, (size_t)s->parameters * sizeof *s->values);
    LOAD_REFUSED(s, &f, EWC_ERROR_NOT_FINITE, "zero everywhere");
    ewc_fisher *none = NULL;
    REFUSED(s->ctx, ewc_fisher_from_values(s->model, NULL, s->values, &none), EWC_ERROR_NOT_FINITE, "zero everywhere");
    s->values[s->parameters - 1] = 1e-30F; /* one is enough */
    ewc_fisher_destroy(load(s, write_file(s, &f, PAIRS)));
}

static void f16_is_refused(void **state)
{
    setting *s = *state;
    forged f = right_file(s);
    f.tensors[4].dtype = EWC_F16;
    LOAD_REFUSED(s, &f, EWC_ERROR_UNSUPPORTED, f.tensors[4].name, "F32 or BF16", "F16");
}

/* A Fisher meets its anchor in the trainer: of other weights it is refused there. */
static void a_fisher_of_other_weights_is_refused_by_the_trainer(void **state)
{
    setting *s = *state;
    ewc_trainer_options options;
    ewc_trainer *trainer = NULL;
    ewc_anchor *anchor = NULL;
    forged f = right_file(s);
    ewc_fisher *fisher = load(s, write_file(s, &f, PAIRS));
    ewc_trainer_options_default(&options);
    options.max_sequences = SEQUENCES;
    options.max_length = LENGTH;
    OK(s->ctx, ewc_anchor_from_model(s->model, &anchor));
    OK(s->ctx, ewc_trainer_create(s->model, &options, &trainer));
    REFUSED(s->ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, 1.0, EWC_LAMBDA_ABSOLUTE, 0), EWC_ERROR_MISMATCH,
            "00000000deadbeef");
    OK(s->ctx, ewc_trainer_add_anchor(trainer, anchor, fisher, 1.0, EWC_LAMBDA_ABSOLUTE, 1));
    ewc_trainer_destroy(trainer);
    ewc_anchor_destroy(anchor);
    ewc_fisher_destroy(fisher);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(f32_comes_back_bit_for_bit_with_its_record),
        TEST(bf16_comes_back_rounded_to_nearest_even),
        TEST(the_record_is_readable_by_others),
        TEST(nothing_is_overwritten_unasked),
        TEST(a_file_by_hand_is_read),
        TEST(unaligned_values_are_read),
        TEST(other_formats_are_refused),
        TEST(a_record_that_is_wrong_is_refused),
        TEST(a_missing_tensor_is_named),
        TEST(a_tensor_of_another_model_is_named),
        TEST(another_shape_is_named),
        TEST(values_that_no_fisher_has_are_refused),
        TEST(zero_everywhere_is_refused),
        TEST(f16_is_refused),
        TEST(a_fisher_of_other_weights_is_refused_by_the_trainer),
    };
    return cmocka_run_group_tests_name("fisher_file", tests, NULL, NULL);
}
