/* Writing Hugging Face model directories: see hf.h.
 *
 * How a directory that exists changes its weights at one moment: a reader takes model.safetensors if it is there,
 * else the index and the shards that it names. New shards therefore get names that no old shard has; they, tokenizer
 * files and config.json are put beside the old weights first; then one rename of model.safetensors or of the index
 * makes the new weights count (or, from one file to shards, the removal of model.safetensors); last, what nothing
 * names any more is removed. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/convert.h"
#include "core/memory.h"
#include "core/status.h"
#include "io/file.h"
#include "io/hf.h"
#include "io/json.h"

#define SHARD_BYTES ((int64_t)5000000000)
static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

typedef struct plan {
    ewc_context *ctx;
    const ewci_hf_output *output;
    const char *stage, *directory;
    int64_t shards;
    int64_t *first;    /* [shards + 1]: tensors of shard s are first[s] .. first[s+1] - 1 */
    int64_t version;   /* 1, or more where the directory has shards of the same names */
    int64_t all_bytes; /* of all tensors */
} plan;

static int64_t tensor_bytes(const ewci_tensor_output *t)
{
    int64_t count = t->rank == 2 ? t->shape[0] * t->shape[1] : t->shape[0];
    return count * (int64_t)ewci_dtype_bytes(t->dtype);
}

/* Fills shards with tensors in their order, as many as fit. */
static ewc_status divide(plan *p)
{
    void *memory;
    int64_t limit = p->output->shard_bytes > 0 ? p->output->shard_bytes : SHARD_BYTES, used = 0;
    EWCI_TRY(ewci_alloc_array(p->ctx, p->output->count + 1, sizeof *p->first, "the division into shards", &memory));
    p->first = memory;
    p->shards = 1;
    for (int64_t i = 0; i < p->output->count; i++) {
        int64_t bytes = tensor_bytes(&p->output->tensors[i]);
        if (used > 0 && used + bytes > limit) {
            p->first[p->shards++] = i;
            used = 0;
        }
        used += bytes;
        p->all_bytes += bytes;
    }
    p->first[p->shards] = p->output->count;
    return EWC_OK;
}

typedef struct shard_name {
    char text[96];
} shard_name;

static shard_name name_of(const plan *p, int64_t shard, int64_t version)
{
    shard_name name;
    char mark[32] = "";
    if (version > 1) snprintf(mark, sizeof mark, "-v%lld", (long long)version);
    if (p->shards == 1)
        snprintf(name.text, sizeof name.text, "%s", single_name);
    else
        snprintf(name.text, sizeof name.text, "model%s-%05lld-of-%05lld.safetensors", mark, (long long)shard + 1,
                 (long long)p->shards);
    return name;
}

/* The first version of which the directory has no shard. */
static void find_version(plan *p)
{
    int directory = open(p->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool taken = p->shards > 1 && directory >= 0;
    p->version = 1;
    while (taken) {
        struct stat info;
        taken = false;
        for (int64_t s = 0; s < p->shards && !taken; s++)
            taken = fstatat(directory, name_of(p, s, p->version).text, &info, AT_SYMLINK_NOFOLLOW) == 0;
        p->version += taken;
    }
    if (directory >= 0) close(directory);
}

/* transformers asks for the format's origin in the metadata. */
static ewc_status write_shard(const plan *p, int64_t shard)
{
    const ewci_pair format = {"format", "pt"};
    int64_t first = p->first[shard], count = p->first[shard + 1] - first;
    char *path;
    EWCI_TRY(ewci_path_join(p->ctx, p->stage, name_of(p, shard, p->version).text, &path));
    ewc_status status = ewci_safetensors_write(p->ctx, path, count, p->output->tensors + first, 1, &format, false);
    ewci_free(p->ctx, path);
    return status;
}

static bool fill_index(const plan *p, cJSON *index)
{
    cJSON *metadata = cJSON_AddObjectToObject(index, "metadata");
    cJSON *map = cJSON_AddObjectToObject(index, "weight_map");
    bool made = metadata != NULL && map != NULL &&
                cJSON_AddNumberToObject(metadata, "total_size", (double)p->all_bytes) != NULL;
    for (int64_t s = 0; s < p->shards; s++)
        for (int64_t i = p->first[s]; made && i < p->first[s + 1]; i++)
            made = cJSON_AddStringToObject(map, p->output->tensors[i].name, name_of(p, s, p->version).text) != NULL;
    return made;
}

static ewc_status write_text(const plan *p, const char *name, const char *text)
{
    char *path;
    EWCI_TRY(ewci_path_join(p->ctx, p->stage, name, &path));
    ewc_status status = ewci_file_write(p->ctx, path, text, strlen(text), false);
    ewci_free(p->ctx, path);
    return status;
}

static ewc_status write_index(const plan *p)
{
    char *text;
    cJSON *index = cJSON_CreateObject();
    ewc_status status = EWC_OK;
    if (index == NULL || !fill_index(p, index))
        status = ewci_fail(p->ctx, EWC_ERROR_MEMORY, "%s: no memory for %s", p->directory, index_name);
    if (status == EWC_OK) status = ewci_json_print(p->ctx, index, &text);
    cJSON_Delete(index);
    if (status != EWC_OK) return status;
    status = write_text(p, index_name, text);
    ewci_free(p->ctx, text);
    return status;
}

static bool is_tokenizer_file(const char *name)
{
    static const char *const names[] = {"tokenizer.model",         "tokenizer.json",    "tokenizer_config.json",
                                        "special_tokens_map.json", "added_tokens.json", "generation_config.json"};
    static const char template[] = "chat_template";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return strncmp(name, template, sizeof template - 1) == 0;
}

static ewc_status copy_tokenizer_file(ewc_context *ctx, const char *name, void *user)
{
    const plan *p = user;
    char *from, *to = NULL;
    if (!is_tokenizer_file(name)) return EWC_OK;
    EWCI_TRY(ewci_path_join(ctx, p->output->tokenizer_source, name, &from));
    ewc_status status = ewci_path_join(ctx, p->stage, name, &to);
    if (status == EWC_OK && !ewci_path_is_directory(from)) status = ewci_file_copy(ctx, from, to, NULL);
    ewci_free(ctx, from);
    ewci_free(ctx, to);
    return status;
}

static bool same_directory(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* A source that has gone since the model was loaded must not cost the weights. */
static ewc_status copy_tokenizer(const plan *p)
{
    const char *source = p->output->tokenizer_source;
    if (source == NULL || same_directory(source, p->directory)) return EWC_OK;
    if (!ewci_path_is_directory(source)) {
        ewci_log(p->ctx, EWC_LOG_WARNING, "%s is no longer there: no tokenizer files are copied to %s", source,
                 p->directory);
        return EWC_OK;
    }
    return ewci_for_each_entry(p->ctx, source, copy_tokenizer_file, (void *)(uintptr_t)p);
}

/* model.safetensors, the index, and shards of any number and version. */
static bool is_weights(const char *name)
{
    static const char start[] = "model-", end[] = ".safetensors";
    size_t length = strlen(name);
    if (strcmp(name, single_name) == 0 || strcmp(name, index_name) == 0) return true;
    return strncmp(name, start, sizeof start - 1) == 0 && strstr(name, "-of-") != NULL && length >= sizeof end &&
           strcmp(name + length - (sizeof end - 1), end) == 0;
}

static ewc_status fill_stage(plan *p)
{
    EWCI_TRY(divide(p));
    find_version(p);
    EWCI_TRY(write_text(p, "config.json", p->output->config));
    EWCI_TRY(copy_tokenizer(p));
    for (int64_t s = 0; s < p->shards; s++) EWCI_TRY(write_shard(p, s));
    return p->shards > 1 ? write_index(p) : EWC_OK;
}

ewc_status ewci_hf_write(ewc_context *ctx, const char *directory, const ewci_hf_output *output)
{
    char *stage;
    if (!output->overwrite && ewci_path_exists(directory))
        return ewci_fail(ctx, EWC_ERROR_EXISTS, "%s exists: choose another directory or ask for overwriting",
                         directory);
    EWCI_TRY(ewci_stage_begin(ctx, directory, &stage));
    plan p = {.ctx = ctx, .output = output, .stage = stage, .directory = directory};
    ewc_status status = fill_stage(&p);
    if (status == EWC_OK)
        status = ewci_stage_merge(ctx, stage, directory, p.shards > 1 ? index_name : single_name, is_weights);
    else
        ewci_stage_abandon(ctx, stage);
    ewci_free(ctx, p.first);
    ewci_free(ctx, stage);
    return status;
}
