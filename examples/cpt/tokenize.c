/* ewc-cpt tokenize: documents of text files to one stream of token ids, BOS before each document. */
#include <stdio.h>
#include <stdlib.h>

#include "program.h"
#include "sentencepiece_shim.h"

static const char NAME[] = "tokenize";

typedef struct id_list {
    int32_t *items;
    int64_t count, capacity;
} id_list;

static bool append(id_list *list, const int32_t *ids, int64_t count)
{
    if (list->count + count > list->capacity) {
        int64_t capacity = 2 * list->capacity + count + 1024;
        int32_t *items = realloc(list->items, (size_t)capacity * sizeof *items);
        if (!items) return false;
        list->items = items;
        list->capacity = capacity;
    }
    for (int64_t i = 0; i < count; i++) list->items[list->count + i] = ids[i];
    list->count += count;
    return true;
}

static int read_file(ewc_context *context, tokenizer *t, const char *path, id_list *ids, int64_t *documents)
{
    ewc_text *text;
    int32_t bos = tokenizer_bos(t);
    ewc_status status = ewc_text_open(context, path, &text);
    if (status != EWC_OK) return program_fail(NAME, context, status);
    int code = CPT_OK;
    while (code == CPT_OK) {
        const char *document;
        const int32_t *found;
        size_t bytes;
        status = ewc_text_next(text, &document, &bytes);
        if (status != EWC_OK) code = program_fail(NAME, context, status);
        if (status != EWC_OK || document == NULL) break;
        int64_t count = tokenizer_encode(t, document, bytes, &found);
        if (count < 0)
            code =
                program_error(NAME, CPT_OTHER, "%s: document %lld: the tokenizer failed", path, (long long)*documents);
        else if (!append(ids, &bos, 1) || !append(ids, found, count))
            code = program_error(NAME, CPT_OTHER, "out of memory");
        *documents += 1;
        if (program_interrupted()) code = program_error(NAME, CPT_INTERRUPTED, "interrupted");
    }
    ewc_text_close(text);
    return code;
}

static int run(ewc_context *context, tokenizer *t, const char *out, bool force, const option_list *files)
{
    id_list ids = {0};
    int64_t documents = 0;
    int code = CPT_OK;
    for (int64_t i = 0; i < files->count && code == CPT_OK; i++)
        code = read_file(context, t, files->items[i], &ids, &documents);
    if (code == CPT_OK) {
        ewc_status status = ewc_npy_write_tokens(context, out, ids.items, ids.count, force);
        if (status != EWC_OK) code = program_fail(NAME, context, status);
    }
    if (code == CPT_OK)
        printf("%s: %lld tokens, %lld documents, vocabulary %d\n", out, (long long)ids.count, (long long)documents,
               (int)tokenizer_size(t));
    free(ids.items);
    return code;
}

int command_tokenize(int argc, char **argv)
{
    const char *model = NULL, *out = NULL;
    bool force = false;
    char error[512];
    option options[] = {
        {"tokenizer", OPTION_TEXT, &model, "TOKENIZER.model", "SentencePiece model, as beside Gemma checkpoints", NULL,
         0, true, false},
        {"out", OPTION_TEXT, &out, "T.npy", "token ids: uint16 when all fit, else uint32", NULL, 0, true, false},
        {"force", OPTION_FLAG, &force, NULL, "overwrite T.npy", NULL, 0, false, false},
    };
    command_line line =
        {NAME,
         "--tokenizer TOKENIZER.model --out T.npy TEXT...",
         "Tokenizes text: .txt (one document a file), .jsonl (one a line, field \"text\"), each also .gz.\n"
         "BOS stands before each document.",
         options,
         sizeof options / sizeof *options,
         "TEXT file",
         {0}};
    parse_result parsed = options_parse(&line, argc, argv);
    ewc_context *context = NULL;
    tokenizer *t = NULL;
    int code = parsed == PARSE_OK ? program_open(NAME, 1, EWC_PRODUCTS_F32, &context) : program_parse_exit(parsed);
    if (context == NULL) goto done;
    if (!force && path_exists(out)) {
        code = program_error(NAME, CPT_INPUT, "%s exists: give --force to overwrite it, or another --out", out);
        goto done;
    }
    t = tokenizer_open(model, error, sizeof error);
    if (t == NULL)
        code = program_error(NAME, CPT_INPUT, "%s: cannot be opened as a SentencePiece model: %s", model, error);
    else if (tokenizer_bos(t) < 0)
        code = program_error(NAME, CPT_INPUT, "%s: has no BOS piece, which must start each document", model);
    else
        code = run(context, t, out, force, &line.arguments);
done:
    tokenizer_close(t);
    ewc_context_destroy(context);
    option_list_free(&line.arguments);
    return code;
}
