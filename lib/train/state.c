/* Training state in a directory: weights, m, v as safetensors (m and v in the moments' type) and manifest.json with their sizes and CRC-32, the step, the
 * schedule's areas and the run's identity. Written aside and put into place whole; read only after every check. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/convert.h"
#include "core/memory.h"
#include "core/status.h"
#include "io/file.h"
#include "io/json.h"
#include "train/identity.h"

#define FORMAT "libewc-training-state"
#define STRENGTH "lambda" /* only of a run in which ewc_trainer_set_lambda was called */

enum { VERSION = 1, PARTS = 3, USER_DATA_LIMIT = 64 << 10, MANIFEST_LIMIT = 16 << 20, TEXT = 64 };

static const char *const part_files[PARTS] = {"weights.safetensors", "m.safetensors", "v.safetensors"};

static ewc_buffer part_values(const ewc_trainer *trainer, int part)
{
    return part == 0 ? (ewc_buffer){trainer->model->weights, EWC_F32} : part == 1 ? trainer->m : trainer->v;
}

/* Values of one part. */
typedef struct part_reader {
    const ewc_trainer *trainer;
    int part;
} part_reader;

static ewc_status read_part(void *user, int64_t tensor, int64_t first, int64_t count, float *out)
{
    const part_reader *r = user;
    ewc_model *model = r->trainer->model;
    return ewci_device_read(model->ctx, part_values(r->trainer, r->part), model->layout.tensors[tensor].offset + first,
                            count, out);
}

/* ---- saving --------------------------------------------------------------------------------------------------------- */

static ewc_status no_memory(ewc_context *ctx)
{
    return ewci_fail(ctx, EWC_ERROR_MEMORY, "no memory for the training state's manifest");
}

typedef struct manifest_writer {
    ewc_context *ctx;
    cJSON *identity;
} manifest_writer;

static ewc_status add_identity(void *user, const char *name, const char *value)
{
    manifest_writer *w = user;
    return cJSON_AddStringToObject(w->identity, name, value) == NULL ? no_memory(w->ctx) : EWC_OK;
}

static bool add_exact(cJSON *object, const char *name, double value)
{
    char text[TEXT];
    snprintf(text, sizeof text, "%a", value);
    return cJSON_AddStringToObject(object, name, text) != NULL;
}

static ewc_status add_progress(ewc_context *ctx, const ewc_trainer *trainer, cJSON *root, const char *user_data)
{
    bool good = cJSON_AddStringToObject(root, "format", FORMAT) != NULL &&
                cJSON_AddNumberToObject(root, "format_version", VERSION) != NULL &&
                cJSON_AddStringToObject(root, "library_version", ewc_version()) != NULL &&
                cJSON_AddNumberToObject(root, "step", (double)trainer->step) != NULL;
    cJSON *areas = cJSON_AddObjectToObject(root, "schedule_areas");
    good = good && areas != NULL && add_exact(areas, "s1", trainer->areas.s1) &&
           add_exact(areas, "s2", trainer->areas.s2) && add_exact(areas, "momentum", trainer->areas.momentum) &&
           add_exact(areas, "previous_rate", trainer->areas.previous_rate);
    if (trainer->strength_set) good = good && add_exact(root, STRENGTH, trainer->strength);
    if (user_data != NULL) good = good && cJSON_AddStringToObject(root, "user_data", user_data) != NULL;
    return good ? EWC_OK : no_memory(ctx);
}

static ewc_status write_part(const ewc_trainer *trainer, const char *stage, int part, cJSON *files)
{
    ewc_context *ctx = trainer->model->ctx;
    part_reader reader = {trainer, part};
    ewci_tensor_output *outputs = NULL;
    char *path = NULL, text[TEXT];
    uint32_t crc;
    uint64_t bytes;
    ewc_status status;
    EWCI_TRY_GOTO(status, done, ewci_path_join(ctx, stage, part_files[part], &path));
    EWCI_TRY_GOTO(status, done,
                  ewci_model_outputs(trainer->model, part_values(trainer, part).dtype, read_part, &reader, &outputs));
    EWCI_TRY_GOTO(status, done,
                  ewci_safetensors_write(ctx, path, trainer->model->layout.tensor_count, outputs, 0, NULL, false));
    EWCI_TRY_GOTO(status, done, ewci_file_crc(ctx, path, &crc, &bytes));
    snprintf(text, sizeof text, "%016" PRIx64, (uint64_t)crc);
    cJSON *entry = cJSON_AddObjectToObject(files, part_files[part]);
    if (entry == NULL || cJSON_AddNumberToObject(entry, "bytes", (double)bytes) == NULL ||
        cJSON_AddStringToObject(entry, "crc32", text) == NULL)
        status = no_memory(ctx);
done:
    ewci_free(ctx, outputs);
    ewci_free(ctx, path);
    return status;
}

static ewc_status write_manifest(ewc_context *ctx, const char *stage, const cJSON *root)
{
    char *text = NULL, *path = NULL;
    ewc_status status = ewci_json_print(ctx, root, &text);
    if (status == EWC_OK) status = ewci_path_join(ctx, stage, "manifest.json", &path);
    if (status == EWC_OK) status = ewci_file_write(ctx, path, text, strlen(text), false);
    ewci_free(ctx, path);
    ewci_free(ctx, text);
    return status;
}

static ewc_status write_state(const ewc_trainer *trainer, const char *stage, const char *user_data)
{
    ewc_context *ctx = trainer->model->ctx;
    cJSON *root = cJSON_CreateObject();
    ewc_status status = add_progress(ctx, trainer, root, user_data);
    cJSON *files = cJSON_AddObjectToObject(root, "files");
    manifest_writer writer = {ctx, cJSON_AddObjectToObject(root, "identity")};
    if (status == EWC_OK && (files == NULL || writer.identity == NULL)) status = no_memory(ctx);
    if (status == EWC_OK) status = ewci_trainer_identity(trainer, add_identity, &writer);
    for (int part = 0; part < PARTS && status == EWC_OK; part++) status = write_part(trainer, stage, part, files);
    if (status == EWC_OK) status = write_manifest(ctx, stage, root);
    cJSON_Delete(root);
    return status;
}

ewc_status ewc_trainer_save(ewc_trainer *trainer, const char *directory, const char *user_data)
{
    char *stage;
    if (trainer == NULL || directory == NULL)
        return ewci_fail(trainer == NULL ? NULL : trainer->model->ctx, EWC_ERROR_ARGUMENT,
                         "ewc_trainer_save: %s is NULL", trainer == NULL ? "trainer" : "directory");
    ewc_context *ctx = trainer->model->ctx;
    if (user_data != NULL && strlen(user_data) > USER_DATA_LIMIT)
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "user_data: expected at most %d bytes, found %zu", USER_DATA_LIMIT,
                         strlen(user_data));
    EWCI_TRY(ewci_stage_begin(ctx, directory, &stage));
    ewc_status status = write_state(trainer, stage, user_data);
    if (status == EWC_OK)
        status = ewci_stage_replace(ctx, stage, directory);
    else
        ewci_stage_abandon(ctx, stage);
    ewci_free(ctx, stage);
    return status;
}

/* ---- resuming ------------------------------------------------------------------------------------------------------- */

typedef struct state {
    ewc_context *ctx;
    char *manifest_path;
    cJSON *manifest;
    ewci_safetensors *parts[PARTS];
    int64_t step;
    ewci_schedule_areas areas;
    bool strength_set;
    double strength;
} state;

typedef struct identity_check {
    const state *s;
    const cJSON *saved;
    int64_t count;
} identity_check;

/* What a run has that lacks a fact which only some runs have. */
static const char *usual(const char *name)
{
    if (strcmp(name, EWCI_IDENTITY_MOMENTS) == 0) return "f32 ones";
    return strcmp(name, EWCI_IDENTITY_VOCABULARY) == 0 ? "all tokens" : "nothing";
}

static ewc_status check_identity(void *user, const char *name, const char *value)
{
    identity_check *check = user;
    const cJSON *saved = ewci_json_find(check->saved, name);
    check->count++;
    if (cJSON_IsString(saved) && strcmp(saved->valuestring, value) == 0) return EWC_OK;
    return ewci_fail(check->s->ctx, EWC_ERROR_MISMATCH,
                     "%s: %s: the saved run had %.120s, this one has %.120s: resume with what the run was started with",
                     check->s->manifest_path, name, cJSON_IsString(saved) ? saved->valuestring : usual(name), value);
}

/* A fact that this run lacks. */
static ewc_status check_absent(const state *s, const cJSON *saved, const char *name)
{
    const cJSON *found = ewci_json_find(saved, name);
    if (found == NULL) return EWC_OK;
    return ewci_fail(s->ctx, EWC_ERROR_MISMATCH,
                     "%s: %s: the saved run had %.120s, this one has %s: resume with what the run was started with",
                     s->manifest_path, name, cJSON_IsString(found) ? found->valuestring : "others", usual(name));
}

static ewc_status check_same_run(const state *s, const ewc_trainer *trainer)
{
    identity_check check = {s, ewci_json_find(s->manifest, "identity"), 0};
    if (!cJSON_IsObject(check.saved))
        return ewci_json_wrong(s->ctx, s->manifest_path, "identity", "an object", check.saved);
    if (trainer->options.moments_dtype == EWC_F32) EWCI_TRY(check_absent(s, check.saved, EWCI_IDENTITY_MOMENTS));
    if (trainer->model->vocabulary == NULL) EWCI_TRY(check_absent(s, check.saved, EWCI_IDENTITY_VOCABULARY));
    EWCI_TRY(ewci_trainer_identity(trainer, check_identity, &check));
    if (check.count == cJSON_GetArraySize(check.saved)) return EWC_OK;
    return ewci_fail(s->ctx, EWC_ERROR_MISMATCH,
                     "%s: identity: the saved run had more frozen tensors or tasks than this one (%d facts, here %lld)",
                     s->manifest_path, cJSON_GetArraySize(check.saved), (long long)check.count);
}

static ewc_status read_exact(const state *s, const cJSON *object, const char *field, double *value)
{
    const char *text;
    char *end;
    EWCI_TRY(ewci_json_string(s->ctx, s->manifest_path, object, field, &text));
    *value = strtod(text, &end);
    if (end != text && *end == '\0') return EWC_OK;
    return ewci_json_wrong(s->ctx, s->manifest_path, field, "a number in text", ewci_json_find(object, field));
}

static ewc_status read_progress(state *s)
{
    const char *format;
    int64_t version;
    const cJSON *areas = ewci_json_find(s->manifest, "schedule_areas");
    EWCI_TRY(ewci_json_string(s->ctx, s->manifest_path, s->manifest, "format", &format));
    if (strcmp(format, FORMAT) != 0)
        return ewci_json_wrong(s->ctx, s->manifest_path, "format", "\"" FORMAT "\"",
                               ewci_json_find(s->manifest, "format"));
    EWCI_TRY(ewci_json_integer(s->ctx, s->manifest_path, s->manifest, "format_version", VERSION, VERSION, &version));
    EWCI_TRY(ewci_json_integer(s->ctx, s->manifest_path, s->manifest, "step", 1, INT64_C(1) << 52, &s->step));
    if (!cJSON_IsObject(areas)) return ewci_json_wrong(s->ctx, s->manifest_path, "schedule_areas", "an object", areas);
    EWCI_TRY(read_exact(s, areas, "s1", &s->areas.s1));
    EWCI_TRY(read_exact(s, areas, "s2", &s->areas.s2));
    EWCI_TRY(read_exact(s, areas, "momentum", &s->areas.momentum));
    EWCI_TRY(read_exact(s, areas, "previous_rate", &s->areas.previous_rate));
    s->areas.steps = s->step;
    s->strength_set = ewci_json_find(s->manifest, STRENGTH) != NULL;
    return s->strength_set ? read_exact(s, s->manifest, STRENGTH, &s->strength) : EWC_OK;
}

static ewc_status open_part(state *s, const ewc_trainer *trainer, const char *directory, int part)
{
    char *path;
    uint32_t crc;
    uint64_t bytes, expected = 0;
    const cJSON *entry = ewci_json_find(ewci_json_find(s->manifest, "files"), part_files[part]);
    const ewci_layout *layout = &trainer->model->layout;
    ewc_dtype dtype = part_values(trainer, part).dtype;
    EWCI_TRY(ewci_path_join(s->ctx, directory, part_files[part], &path));
    ewc_status status = ewci_json_hex64(s->ctx, s->manifest_path, entry, "crc32", &expected);
    if (status == EWC_OK) status = ewci_file_crc(s->ctx, path, &crc, &bytes);
    if (status == EWC_OK && crc != expected)
        status = ewci_fail(s->ctx, EWC_ERROR_FORMAT, "%s: the file is damaged: CRC-32 %08x, the manifest says %08x",
                           path, crc, (unsigned)expected);
    if (status == EWC_OK) status = ewci_safetensors_open(s->ctx, path, &s->parts[part]);
    for (int64_t t = 0; t < layout->tensor_count && status == EWC_OK; t++) {
        const ewci_tensor_entry *found;
        status = ewci_safetensors_tensor(s->parts[part], layout->tensors[t].name, layout->tensors[t].rows,
                                         layout->tensors[t].columns, &found);
        if (status == EWC_OK && found->dtype != dtype)
            status = ewci_fail(s->ctx, EWC_ERROR_FORMAT, "%s: %s: dtype: expected %s, found %s", path, found->name,
                               dtype == EWC_F32 ? "F32" : "BF16", found->type);
    }
    ewci_free(s->ctx, path);
    return status;
}

static ewc_status open_state(state *s, const ewc_trainer *trainer, const char *directory)
{
    char *text;
    size_t bytes;
    EWCI_TRY(ewci_path_join(s->ctx, directory, "manifest.json", &s->manifest_path));
    EWCI_TRY(ewci_file_read(s->ctx, s->manifest_path, MANIFEST_LIMIT, &text, &bytes));
    ewc_status status = ewci_json_parse(s->ctx, s->manifest_path, text, bytes, &s->manifest);
    ewci_free(s->ctx, text);
    if (status != EWC_OK) return status;
    EWCI_TRY(read_progress(s));
    EWCI_TRY(check_same_run(s, trainer));
    for (int part = 0; part < PARTS; part++) EWCI_TRY(open_part(s, trainer, directory, part));
    return EWC_OK;
}

/* Everything was checked: this cannot fail on a device whose memory is there. */
static ewc_status take_over(const state *s, ewc_trainer *trainer)
{
    const ewci_layout *layout = &trainer->model->layout;
    for (int part = 0; part < PARTS; part++) {
        ewc_buffer values = part_values(trainer, part);
        for (int64_t t = 0; t < layout->tensor_count; t++) {
            const ewci_tensor_entry *entry = ewci_safetensors_find(s->parts[part], layout->tensors[t].name);
            size_t offset = (size_t)layout->tensors[t].offset * ewci_dtype_bytes(values.dtype);
            EWCI_TRY(s->ctx->ops->copy_in(s->ctx->device, (char *)values.data + offset, entry->data, entry->bytes));
        }
    }
    trainer->step = s->step;
    trainer->areas = s->areas;
    trainer->strength_set = s->strength_set;
    trainer->strength = s->strength;
    if (trainer->sealed) ewci_trainer_apply_strength(trainer);
    return EWC_OK;
}

static ewc_status resume(state *s, ewc_trainer *trainer, const char *directory, char **user_data)
{
    char *copy = NULL;
    EWCI_TRY(open_state(s, trainer, directory));
    const cJSON *saved = ewci_json_find(s->manifest, "user_data");
    if (user_data != NULL && cJSON_IsString(saved)) EWCI_TRY(ewci_strdup(s->ctx, saved->valuestring, &copy));
    ewc_status status = take_over(s, trainer);
    if (status != EWC_OK) {
        ewci_free(s->ctx, copy);
        return status;
    }
    if (user_data != NULL) *user_data = copy;
    return EWC_OK;
}

ewc_status ewc_trainer_resume(ewc_trainer *trainer, const char *directory, char **user_data)
{
    if (trainer == NULL || directory == NULL)
        return ewci_fail(trainer == NULL ? NULL : trainer->model->ctx, EWC_ERROR_ARGUMENT,
                         "ewc_trainer_resume: %s is NULL", trainer == NULL ? "trainer" : "directory");
    state s = {.ctx = trainer->model->ctx};
    if (trainer->step > 0)
        return ewci_fail(s.ctx, EWC_ERROR_STATE, "ewc_trainer_resume: only before the first step; %lld were taken",
                         (long long)trainer->step);
    ewc_status status = resume(&s, trainer, directory, user_data);
    for (int part = 0; part < PARTS; part++) ewci_safetensors_close(s.parts[part]);
    cJSON_Delete(s.manifest);
    ewci_free(s.ctx, s.manifest_path);
    return status;
}
