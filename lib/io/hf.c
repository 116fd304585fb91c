/* Reading Hugging Face model directories: see hf.h. Writing is in hf_write.c. */
#include "io/hf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/status.h"
#include "io/config.h"
#include "io/file.h"
#include "io/json.h"

enum { INDEX_LIMIT = 100000000, MOST_SHARDS = 10000 };

struct ewci_hf {
    ewc_context *ctx;
    char *directory, *config_path, *config;
    char *index_path; /* NULL for a single file */
    cJSON *index;
    int64_t shard_count;
    ewci_safetensors **shards;
    int64_t count;
    const ewci_tensor_entry **entries; /* sorted by name */
    ewci_tensor_entry kept;            /* of ewci_hf_keep_rows, whose values these are: */
    void *kept_rows;
};

/* One line of the index's weight_map. */
typedef struct mapping {
    const char *tensor, *shard;
    int64_t file; /* number of the shard */
} mapping;

static int compare_tensors(const void *a, const void *b)
{
    return strcmp(((const mapping *)a)->tensor, ((const mapping *)b)->tensor);
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp((*(const ewci_tensor_entry *const *)a)->name, (*(const ewci_tensor_entry *const *)b)->name);
}

static ewc_status read_mapping(const ewci_hf *hf, const cJSON *item, mapping *line)
{
    if (!cJSON_IsString(item)) {
        ewci_json_record(hf->ctx, hf->index_path, item->string, "a file name", item);
        ewci_record_in(hf->ctx, "weight_map");
        return EWC_ERROR_FORMAT;
    }
    if (!ewci_name_is_plain(item->valuestring))
        return ewci_fail(hf->ctx, EWC_ERROR_FORMAT,
                         "%s: weight_map: %.200s: expected the name of a file in the same directory, found \"%.200s\"",
                         hf->index_path, item->string, item->valuestring);
    line->tensor = item->string;
    line->shard = item->valuestring;
    return EWC_OK;
}

/* Opens every distinct file of the (tensor-sorted) map once and notes its number in each line. */
static ewc_status open_shards(ewci_hf *hf, mapping *lines, int64_t count, const char **names)
{
    int64_t distinct = 0;
    void *memory;
    for (int64_t i = 0; i < count; i++) names[i] = lines[i].shard;
    qsort(names, (size_t)count, sizeof *names, compare_strings);
    for (int64_t i = 0; i < count; i++)
        if (i == 0 || strcmp(names[i], names[distinct - 1]) != 0) names[distinct++] = names[i];
    if (distinct > MOST_SHARDS)
        return ewci_fail(hf->ctx, EWC_ERROR_FORMAT, "%s: weight_map: expected at most %d files, found %lld",
                         hf->index_path, MOST_SHARDS, (long long)distinct);
    EWCI_TRY(ewci_alloc_array(hf->ctx, distinct, sizeof(ewci_safetensors *), "a list of shards", &memory));
    hf->shards = memory;
    for (int64_t i = 0; i < distinct; i++) {
        char *path;
        EWCI_TRY(ewci_path_join(hf->ctx, hf->directory, names[i], &path));
        ewc_status status = ewci_safetensors_open(hf->ctx, path, &hf->shards[i]);
        ewci_free(hf->ctx, path);
        if (status != EWC_OK) {
            ewci_record_in(hf->ctx, hf->index_path);
            return status;
        }
        hf->shard_count++;
    }
    for (int64_t i = 0; i < count; i++) {
        const char **found = bsearch(&lines[i].shard, names, (size_t)distinct, sizeof *names, compare_strings);
        lines[i].file = found - names;
    }
    return EWC_OK;
}

/* Every tensor of the index is where it says. */
static ewc_status take_mapped(ewci_hf *hf, const mapping *lines)
{
    for (int64_t i = 0; i < hf->count; i++) {
        hf->entries[i] = ewci_safetensors_find(hf->shards[lines[i].file], lines[i].tensor);
        if (hf->entries[i] == NULL)
            return ewci_fail(hf->ctx, EWC_ERROR_FORMAT,
                             "%s: weight_map: %.200s: expected it in %s, found no such tensor there", hf->index_path,
                             lines[i].tensor, lines[i].shard);
    }
    return EWC_OK;
}

/* Every tensor of a shard is in the index, under that shard: none is left out, none is twice. */
static ewc_status check_shard(const ewci_hf *hf, const mapping *lines, int64_t shard)
{
    const ewci_safetensors *file = hf->shards[shard];
    for (int64_t i = 0; i < ewci_safetensors_count(file); i++) {
        mapping wanted = {.tensor = ewci_safetensors_entry(file, i)->name};
        const mapping *line = bsearch(&wanted, lines, (size_t)hf->count, sizeof *lines, compare_tensors);
        if (line == NULL)
            return ewci_fail(hf->ctx, EWC_ERROR_FORMAT,
                             "%s: tensor %.200s: expected it in the weight_map of %s, found nothing",
                             ewci_safetensors_path(file), wanted.tensor, hf->index_path);
        if (line->file != shard)
            return ewci_fail(
                hf->ctx, EWC_ERROR_FORMAT,
                "%s: tensor %.200s: expected it in one shard alone, found it here and in %s, which the index "
                "names",
                ewci_safetensors_path(file), wanted.tensor, line->shard);
    }
    return EWC_OK;
}

static ewc_status read_index(ewci_hf *hf, mapping *lines, const char **names, const cJSON *map)
{
    int64_t filled = 0;
    void *memory;
    for (const cJSON *item = map->child; item != NULL; item = item->next)
        EWCI_TRY(read_mapping(hf, item, &lines[filled++]));
    qsort(lines, (size_t)hf->count, sizeof *lines, compare_tensors);
    EWCI_TRY(open_shards(hf, lines, hf->count, names));
    EWCI_TRY(ewci_alloc_array(hf->ctx, hf->count, sizeof *hf->entries, "a list of tensors", &memory));
    hf->entries = memory;
    EWCI_TRY(take_mapped(hf, lines));
    for (int64_t i = 0; i < hf->shard_count; i++) EWCI_TRY(check_shard(hf, lines, i));
    return EWC_OK;
}

static ewc_status open_sharded(ewci_hf *hf)
{
    char *text;
    size_t bytes;
    void *lines = NULL, *names = NULL;
    EWCI_TRY(ewci_file_read(hf->ctx, hf->index_path, INDEX_LIMIT, &text, &bytes));
    ewc_status status = ewci_json_parse(hf->ctx, hf->index_path, text, bytes, &hf->index);
    ewci_free(hf->ctx, text);
    if (status != EWC_OK) return status;
    const cJSON *map = ewci_json_find(hf->index, "weight_map");
    if (!cJSON_IsObject(map) || map->child == NULL)
        return ewci_json_wrong(hf->ctx, hf->index_path, "weight_map", "an object from tensor to file names", map);
    for (const cJSON *item = map->child; item != NULL; item = item->next) hf->count++;
    status = ewci_alloc_array(hf->ctx, hf->count, sizeof(mapping), "the index of shards", &lines);
    if (status == EWC_OK) status = ewci_alloc_array(hf->ctx, hf->count, sizeof(char *), "the names of shards", &names);
    if (status == EWC_OK) status = read_index(hf, lines, names, map);
    ewci_free(hf->ctx, lines);
    ewci_free(hf->ctx, names);
    return status;
}

static ewc_status open_single(ewci_hf *hf, const char *path)
{
    void *memory;
    EWCI_TRY(ewci_alloc_array(hf->ctx, 1, sizeof(ewci_safetensors *), "a list of shards", &memory));
    hf->shards = memory;
    EWCI_TRY(ewci_safetensors_open(hf->ctx, path, &hf->shards[0]));
    hf->shard_count = 1;
    hf->count = ewci_safetensors_count(hf->shards[0]);
    EWCI_TRY(ewci_alloc_array(hf->ctx, hf->count, sizeof *hf->entries, "a list of tensors", &memory));
    hf->entries = memory;
    for (int64_t i = 0; i < hf->count; i++) hf->entries[i] = ewci_safetensors_entry(hf->shards[0], i);
    qsort(hf->entries, (size_t)hf->count, sizeof *hf->entries, compare_entries);
    return EWC_OK;
}

static ewc_status open_weights(ewci_hf *hf)
{
    char *single;
    EWCI_TRY(ewci_path_join(hf->ctx, hf->directory, "model.safetensors", &single));
    bool found = ewci_path_exists(single);
    ewc_status status = found ? open_single(hf, single) : EWC_OK;
    ewci_free(hf->ctx, single);
    if (found || status != EWC_OK) return status;
    EWCI_TRY(ewci_path_join(hf->ctx, hf->directory, "model.safetensors.index.json", &hf->index_path));
    if (ewci_path_exists(hf->index_path)) return open_sharded(hf);
    return ewci_fail(hf->ctx, EWC_ERROR_IO,
                     "%s: expected model.safetensors or model.safetensors.index.json, found neither; weights in other "
                     "formats are converted by loading and saving them with transformers",
                     hf->directory);
}

static ewc_status open_directory(ewci_hf *hf, const char *directory)
{
    size_t bytes;
    EWCI_TRY(ewci_strdup(hf->ctx, directory, &hf->directory));
    EWCI_TRY(ewci_path_join(hf->ctx, directory, "config.json", &hf->config_path));
    if (ewci_path_exists(directory) && !ewci_path_is_directory(directory))
        return ewci_fail(hf->ctx, EWC_ERROR_IO, "%s: expected a model directory, found a file", directory);
    EWCI_TRY(ewci_file_read(hf->ctx, hf->config_path, EWCI_CONFIG_LIMIT, &hf->config, &bytes));
    if (strlen(hf->config) != bytes)
        return ewci_fail(hf->ctx, EWC_ERROR_FORMAT, "%s: expected text, found a NUL at byte %zu", hf->config_path,
                         strlen(hf->config) + 1);
    return open_weights(hf);
}

ewc_status ewci_hf_open(ewc_context *ctx, const char *directory, ewci_hf **out)
{
    void *memory;
    EWCI_TRY(ewci_alloc_zero(ctx, sizeof(ewci_hf), "a model directory", &memory));
    ewci_hf *hf = memory;
    hf->ctx = ctx;
    ewc_status status = open_directory(hf, directory);
    if (status == EWC_OK)
        *out = hf;
    else
        ewci_hf_close(hf);
    return status;
}

void ewci_hf_close(ewci_hf *hf)
{
    if (hf == NULL) return;
    for (int64_t i = 0; i < hf->shard_count; i++) ewci_safetensors_close(hf->shards[i]);
    cJSON_Delete(hf->index);
    ewci_free(hf->ctx, hf->kept_rows);
    ewci_free(hf->ctx, hf->shards);
    ewci_free(hf->ctx, hf->entries);
    ewci_free(hf->ctx, hf->index_path);
    ewci_free(hf->ctx, hf->config);
    ewci_free(hf->ctx, hf->config_path);
    ewci_free(hf->ctx, hf->directory);
    ewci_free(hf->ctx, hf);
}

const char *ewci_hf_directory(const ewci_hf *hf)
{
    return hf->directory;
}

const char *ewci_hf_config(const ewci_hf *hf)
{
    return hf->config;
}

const char *ewci_hf_config_path(const ewci_hf *hf)
{
    return hf->config_path;
}

int64_t ewci_hf_count(const ewci_hf *hf)
{
    return hf->count;
}

const ewci_tensor_entry *ewci_hf_entry(const ewci_hf *hf, int64_t index)
{
    return hf->entries[index];
}

static const ewci_tensor_entry *find_exact(const ewci_hf *hf, const char *name)
{
    ewci_tensor_entry wanted = {.name = name};
    const ewci_tensor_entry *key = &wanted;
    if (hf->count == 0) return NULL;
    const ewci_tensor_entry **found =
        bsearch(&key, hf->entries, (size_t)hf->count, sizeof *hf->entries, compare_entries);
    return found == NULL ? NULL : *found;
}

const ewci_tensor_entry *ewci_hf_find(const ewci_hf *hf, const char *name)
{
    char stored[256];
    const ewci_tensor_entry *found = find_exact(hf, name);
    if (found != NULL || strlen(name) > sizeof stored - sizeof EWCI_HF_TEXT_NEWER) return found;
    snprintf(stored, sizeof stored, EWCI_HF_TEXT_OLDER "%s", name);
    found = find_exact(hf, stored);
    if (found != NULL || strncmp(name, "model.", 6) != 0) return found;
    snprintf(stored, sizeof stored, EWCI_HF_TEXT_NEWER "%s", name + 6);
    return find_exact(hf, stored);
}

ewc_status ewci_hf_tensor(const ewci_hf *hf, const char *name, int64_t rows, int64_t columns,
                          const ewci_tensor_entry **entry)
{
    const ewci_tensor_entry *found = ewci_hf_find(hf, name);
    EWCI_TRY(ewci_tensor_check(hf->ctx, hf->directory, name, found, rows, columns));
    *entry = found;
    return EWC_OK;
}

ewc_status ewci_hf_keep_rows(ewci_hf *hf, const char *name, int64_t rows, int64_t columns, int64_t count,
                             const int32_t *ids)
{
    const ewci_tensor_entry *whole;
    void *memory;
    EWCI_TRY(ewci_hf_tensor(hf, name, rows, columns, &whole));
    size_t row = whole->bytes / (size_t)rows;
    EWCI_TRY(ewci_alloc(hf->ctx, (size_t)count * row, "rows of a tensor", &memory));
    for (int64_t i = 0; i < count; i++)
        memcpy((char *)memory + (size_t)i * row, (const char *)whole->data + (size_t)ids[i] * row, row);
    hf->kept_rows = memory;
    hf->kept = *whole;
    hf->kept.aligned = true;
    hf->kept.shape[0] = count;
    hf->kept.count = count * columns;
    hf->kept.data = memory;
    hf->kept.bytes = (size_t)count * row;
    for (int64_t i = 0; i < hf->count; i++)
        if (hf->entries[i] == whole) hf->entries[i] = &hf->kept;
    return EWC_OK;
}
