/* See fixture.h. */
#include "support/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cjson/cJSON.h>
#include <math.h>

#include "support/tiny.h"

struct fixture {
    char directory[256];
    char *bytes; /* the file, NUL-terminated */
    size_t size;
    const char *data; /* behind the header */
    cJSON *header;
};

fixture *fixture_open(const char *name)
{
    fixture *f = calloc(1, sizeof *f);
    char path[320];
    uint64_t length = 0;
    assert_non_null(f);
    snprintf(f->directory, sizeof f->directory, "tests/fixtures/%s", name);
    snprintf(path, sizeof path, "%s/reference.safetensors", f->directory);
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail_msg("%s: not found (tests run in the repository's root)", path);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    f->size = (size_t)ftell(file);
    rewind(file);
    f->bytes = malloc(f->size + 1);
    assert_non_null(f->bytes);
    assert_int_equal(fread(f->bytes, 1, f->size, file), f->size);
    fclose(file);
    for (int i = 7; i >= 0; i--) length = length << 8 | (unsigned char)f->bytes[i];
    assert_true(length + 8 <= f->size);
    f->header = cJSON_ParseWithLength(f->bytes + 8, (size_t)length);
    assert_non_null(f->header);
    f->data = f->bytes + 8 + length;
    return f;
}

void fixture_close(fixture *f)
{
    cJSON_Delete(f->header);
    free(f->bytes);
    free(f);
}

const char *fixture_directory(const fixture *f)
{
    return f->directory;
}

static const cJSON *find(const fixture *f, const char *entry)
{
    return cJSON_GetObjectItemCaseSensitive(f->header, entry);
}

static const void *values(const fixture *f, const char *entry, const char *dtype, size_t size, int64_t *count)
{
    const cJSON *item = find(f, entry);
    if (item == NULL) fail_msg("%s: no entry %s", f->directory, entry);
    assert_string_equal(cJSON_GetObjectItem(item, "dtype")->valuestring, dtype);
    const cJSON *range = cJSON_GetObjectItem(item, "data_offsets");
    size_t begin = (size_t)cJSON_GetArrayItem(range, 0)->valuedouble;
    size_t end = (size_t)cJSON_GetArrayItem(range, 1)->valuedouble;
    assert_true(f->data + end <= f->bytes + f->size);
    if (count != NULL) *count = (int64_t)((end - begin) / size);
    return f->data + begin;
}

const float *fixture_floats(const fixture *f, const char *entry, int64_t *count)
{
    return values(f, entry, "F32", sizeof(float), count);
}

const int32_t *fixture_integers(const fixture *f, const char *entry, int64_t *count)
{
    return values(f, entry, "I32", sizeof(int32_t), count);
}

double fixture_number(const fixture *f, const char *entry)
{
    double number;
    memcpy(&number, values(f, entry, "F64", sizeof number, NULL), sizeof number);
    return number;
}

ewc_batch fixture_batch(const fixture *f, const char *prefix)
{
    char entry[96];
    ewc_batch batch;
    ewc_batch_default(&batch);
    snprintf(entry, sizeof entry, "%s/tokens", prefix);
    batch.tokens = fixture_integers(f, entry, NULL);
    const cJSON *shape = cJSON_GetObjectItem(find(f, entry), "shape");
    batch.sequences = (int64_t)cJSON_GetArrayItem(shape, 0)->valuedouble;
    batch.length = (int64_t)cJSON_GetArrayItem(shape, 1)->valuedouble;
    snprintf(entry, sizeof entry, "%s/targets", prefix);
    batch.targets = fixture_integers(f, entry, NULL);
    snprintf(entry, sizeof entry, "%s/document_start", prefix);
    if (find(f, entry) != NULL) batch.document_start = fixture_integers(f, entry, NULL);
    snprintf(entry, sizeof entry, "%s/weights", prefix);
    if (find(f, entry) != NULL) batch.weights = fixture_floats(f, entry, NULL);
    return batch;
}

/* PREFIX/<name of the tensor>, whose size must be the tensor's. */
static const float *tensor_values(const fixture *f, const char *prefix, const ewc_tensor_info *tensor)
{
    char entry[256];
    int64_t count;
    snprintf(entry, sizeof entry, "%s/%s", prefix, tensor->name);
    const float *found = fixture_floats(f, entry, &count);
    assert_int_equal(count, tensor->rows * tensor->columns);
    return found;
}

float *fixture_flat(const fixture *f, const ewc_model *model, const char *prefix)
{
    float *flat = malloc((size_t)ewc_model_parameter_count(model) * sizeof *flat);
    assert_non_null(flat);
    for (int64_t i = 0; i < ewc_model_tensor_count(model); i++) {
        ewc_tensor_info t = {.struct_size = sizeof t};
        assert_int_equal(ewc_model_tensor(model, i, &t), EWC_OK);
        memcpy(flat + t.offset, tensor_values(f, prefix, &t), (size_t)(t.rows * t.columns) * sizeof *flat);
    }
    return flat;
}

void fixture_set_weights(const fixture *f, ewc_model *model, const char *prefix)
{
    for (int64_t i = 0; i < ewc_model_tensor_count(model); i++) {
        ewc_tensor_info t = {.struct_size = sizeof t};
        assert_int_equal(ewc_model_tensor(model, i, &t), EWC_OK);
        assert_int_equal(ewc_model_set_tensor(model, t.name, tensor_values(f, prefix, &t), t.rows * t.columns), EWC_OK);
    }
}

double fixture_compare(const fixture *f, const ewc_model *model, const char *prefix, const float *flat,
                       double tolerance)
{
    double worst = 0;
    for (int64_t i = 0; i < ewc_model_tensor_count(model); i++) {
        ewc_tensor_info t = {.struct_size = sizeof t};
        assert_int_equal(ewc_model_tensor(model, i, &t), EWC_OK);
        const float *expected = tensor_values(f, prefix, &t);
        double largest = 0;
        for (int64_t k = 0; k < t.rows * t.columns; k++) largest = fmax(largest, fabs((double)expected[k]));
        assert_true(largest > 0);
        for (int64_t k = 0; k < t.rows * t.columns; k++) {
            double ratio = fabs((double)flat[t.offset + k] - (double)expected[k]) / largest;
            worst = fmax(worst, ratio);
            if (!(ratio <= tolerance))
                fail_msg("%s %s/%s[%lld]: expected %.9g, found %.9g, difference %.2e of the largest entry %.3g",
                         f->directory, prefix, t.name, (long long)k, (double)expected[k], (double)flat[t.offset + k],
                         ratio, largest);
        }
    }
    return worst;
}

ewc_context *fixture_context(ewc_instruction_set set, int threads)
{
    ewc_context_options options;
    ewc_context *ctx = NULL;
    ewc_context_options_default(&options);
    options.instruction_set = set;
    options.threads = threads;
    ewc_status status = ewc_context_create(&options, &ctx);
    if (status == EWC_ERROR_UNSUPPORTED && set != EWC_ISA_AUTO) return NULL;
    OK(NULL, status);
    return ctx;
}
