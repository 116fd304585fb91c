/* Documents of text files: .txt and .jsonl, each also .gz. Streams, one document in memory at a time. */
#ifndef EWCI_IO_TEXT_H
#define EWCI_IO_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "libewc.h"

/* A document, or a line of .jsonl, is at most 1 GiB, also after decompression. */
#define EWCI_TEXT_LIMIT ((size_t)1 << 30)

ewc_status ewci_text_open(ewc_context *ctx, const char *path, size_t limit, ewc_text **text);
/* As ewc_text_next. */
ewc_status ewci_text_next(ewc_text *text, const char **document, size_t *bytes);
/* As ewc_text_next_choices. */
ewc_status ewci_text_next_choices(ewc_text *text, ewc_choice_line *line);
void ewci_text_close(ewc_text *text); /* NULL is fine */
ewc_context *ewci_text_context(const ewc_text *text);

/* For readers of .jsonl: the next line's object, NULL at the end; where it is, "FILE: line N"; zeroed memory for what is made of it. All
 * of it lives until the next call; there is one block of memory. */
ewc_status ewci_text_next_object(ewc_text *text, const cJSON **object);
const char *ewci_text_place(const ewc_text *text);
int64_t ewci_text_line(const ewc_text *text); /* from 1 */
ewc_status ewci_text_keep(ewc_text *text, int64_t count, size_t size, void **memory);

#endif
