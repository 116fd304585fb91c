/* SentencePiece, a C++ library, behind three C functions. */
#ifndef CPT_SENTENCEPIECE_SHIM_H
#define CPT_SENTENCEPIECE_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tokenizer tokenizer;

/* Loads a tokenizer.model. NULL on failure, with the reason in `error`. */
tokenizer *tokenizer_open(const char *path, char *error, size_t error_bytes);
void tokenizer_close(tokenizer *t);

/* Number of pieces; id of <s> (BOS), or -1. */
int32_t tokenizer_size(const tokenizer *t);
int32_t tokenizer_bos(const tokenizer *t);

/* Ids of `bytes` bytes of UTF-8, valid until the next call. Returns their number, -1 on failure. */
int64_t tokenizer_encode(tokenizer *t, const char *text, size_t bytes, const int32_t **ids);

#ifdef __cplusplus
}
#endif

#endif
