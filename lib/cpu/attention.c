/* attention_scratch, and what the two directions share. */
#include "cpu/attention.h"

#include "cpu/operations.h"

int64_t ewci_attention_thread_scratch(const ewci_attention *shape)
{
    return 2 * EWCI_SCORE_TILE + EWCI_QUERY_TILE * shape->head_dim;
}

int64_t ewci_document_end(const ewci_attention *shape, int64_t start)
{
    int64_t end = start + 1;
    while (end < shape->tokens && shape->document_start[end] == start) end++;
    return end;
}

int64_t ewci_first_key(const ewci_attention *shape, int64_t start, int64_t query)
{
    int64_t first = shape->window > 0 ? query - shape->window + 1 : 0;
    return first > start ? first : start;
}

size_t ewci_cpu_attention_scratch(const ewci_device *device, const ewci_attention *shape)
{
    size_t floats = (size_t)device->threads * (size_t)ewci_attention_thread_scratch(shape);
    if (shape->heads > shape->kv_heads) floats += (size_t)(shape->heads * shape->tokens * 2 * shape->head_dim);
    return floats * sizeof(float);
}
