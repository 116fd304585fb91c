// See sentencepiece_shim.h. No exception leaves this file. Where SentencePiece's header is missing at build time, opening a
// tokenizer fails and says so.
#include "sentencepiece_shim.h"

#include <cstdio>

#if __has_include(<sentencepiece_processor.h>)

#include <new>
#include <string>
#include <vector>

#include <sentencepiece_processor.h>

struct tokenizer {
    sentencepiece::SentencePieceProcessor processor;
    std::vector<int> ids;
    std::vector<int32_t> copy;
};

tokenizer *tokenizer_open(const char *path, char *error, size_t error_bytes)
{
    try {
        auto *t = new tokenizer;
        const auto status = t->processor.Load(path);
        if (status.ok()) return t;
        std::snprintf(error, error_bytes, "%s", status.ToString().c_str());
        delete t;
    } catch (const std::exception &failure) {
        std::snprintf(error, error_bytes, "%s", failure.what());
    }
    return nullptr;
}

void tokenizer_close(tokenizer *t)
{
    delete t;
}

int32_t tokenizer_size(const tokenizer *t)
{
    return t->processor.GetPieceSize();
}

int32_t tokenizer_bos(const tokenizer *t)
{
    return t->processor.bos_id();
}

int64_t tokenizer_encode(tokenizer *t, const char *text, size_t bytes, const int32_t **ids)
{
    try {
        if (!t->processor.Encode(std::string(text, bytes), &t->ids).ok()) return -1;
        t->copy.assign(t->ids.begin(), t->ids.end());
        *ids = t->copy.data();
        return static_cast<int64_t>(t->copy.size());
    } catch (const std::exception &) {
        return -1;
    }
}

#else

tokenizer *tokenizer_open(const char *, char *error, size_t error_bytes)
{
    std::snprintf(error, error_bytes,
                  "this program was built without SentencePiece: install libsentencepiece-dev and build it again");
    return nullptr;
}

void tokenizer_close(tokenizer *) {}

int32_t tokenizer_size(const tokenizer *)
{
    return 0;
}

int32_t tokenizer_bos(const tokenizer *)
{
    return -1;
}

int64_t tokenizer_encode(tokenizer *, const char *, size_t, const int32_t **)
{
    return -1;
}

#endif
