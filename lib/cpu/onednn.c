/* See onednn.h. oneDNN is asked for one primitive per shape; each thread keeps its own, with the memory objects that carry the
 * operands, in a small table from which the longest unused is dropped. */
#include "cpu/onednn.h"

#include "core/status.h"

#ifdef EWCI_ONEDNN

#include <dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"

#if DNNL_VERSION_MAJOR != 2
#error "libewc is written for oneDNN 2 (Debian 12: libdnnl-dev 2.6)"
#endif

enum {
    PLANS = 64, /* shapes that a thread remembers: a step has some ten, with the edges of their tiles some forty */
    SCRATCH = 2 << 20, /* bytes in which oneDNN packs the operands of a tile; larger wishes it serves itself */
    ARGUMENTS = 4      /* a, b, c, scratch */
};

/* Calls body(argument) so that oneDNN's OpenMP takes the calling thread alone. The number of threads is a property of the region, which
 * ends with the call: the host's own settings stay as they are. */
static void alone(void (*body)(void *argument), void *argument)
{
#pragma omp parallel num_threads(1)
    {
        omp_set_num_threads(1);
        body(argument);
    }
}

typedef struct plan {
    bool transpose_b;
    int64_t m, n, k;
    uint64_t used; /* when, counted in calls; 0: an empty place */
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[ARGUMENTS];
} plan;

/* What a thread needs by itself. */
typedef struct worker {
    dnnl_stream_t stream;
    void *scratch;
    uint64_t calls;
    dnnl_status_t failure;
    plan plans[PLANS];
} worker;

struct ewci_onednn {
    ewc_context *ctx;
    dnnl_engine_t engine;
    int threads;
    worker *workers;
    char name[64];
};

static const int ARGUMENT_NAMES[ARGUMENTS] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};

#define TRY(expression)                                      \
    do {                                                     \
        dnnl_status_t try_status_ = (expression);            \
        if (try_status_ != dnnl_success) return try_status_; \
    } while (0)

/* ---- One shape ---------------------------------------------------------------------------------------------------------- */

static void drop_plan(plan *p)
{
    for (int i = 0; i < ARGUMENTS; i++)
        if (p->memory[i] != NULL) dnnl_memory_destroy(p->memory[i]);
    if (p->primitive != NULL) dnnl_primitive_destroy(p->primitive);
    *p = (plan){0};
}

static dnnl_status_t describe(bool transpose_b, int64_t m, int64_t n, int64_t k, dnnl_memory_desc_t *a,
                              dnnl_memory_desc_t *b, dnnl_memory_desc_t *c)
{
    const dnnl_dims_t a_size = {m, k}, b_size = {k, n}, c_size = {m, n};
    TRY(dnnl_memory_desc_init_by_tag(a, 2, a_size, dnnl_bf16, dnnl_ab));
    TRY(dnnl_memory_desc_init_by_tag(b, 2, b_size, dnnl_bf16, transpose_b ? dnnl_ba : dnnl_ab));
    return dnnl_memory_desc_init_by_tag(c, 2, c_size, dnnl_f32, dnnl_ab);
}

/* *scratch_bytes: what the primitive wants of the caller's scratch, 0 when it serves itself. */
static dnnl_status_t choose(const ewci_onednn *o, const dnnl_memory_desc_t *a, const dnnl_memory_desc_t *b,
                            const dnnl_memory_desc_t *c, dnnl_scratchpad_mode_t mode, dnnl_primitive_desc_t *out,
                            size_t *scratch_bytes)
{
    dnnl_matmul_desc_t product;
    dnnl_primitive_attr_t attributes = NULL;
    TRY(dnnl_matmul_desc_init(&product, a, b, NULL, c));
    TRY(dnnl_primitive_attr_create(&attributes));
    dnnl_status_t status = dnnl_primitive_attr_set_scratchpad_mode(attributes, mode);
    if (status == dnnl_success) status = dnnl_primitive_desc_create(out, &product, attributes, o->engine, NULL);
    dnnl_primitive_attr_destroy(attributes);
    if (status == dnnl_success)
        *scratch_bytes = dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(*out, dnnl_query_scratchpad_md, 0));
    return status;
}

static dnnl_status_t choose_within_scratch(const ewci_onednn *o, const dnnl_memory_desc_t *a,
                                           const dnnl_memory_desc_t *b, const dnnl_memory_desc_t *c,
                                           dnnl_primitive_desc_t *out)
{
    size_t bytes = 0;
    TRY(choose(o, a, b, c, dnnl_scratchpad_mode_user, out, &bytes));
    if (bytes <= SCRATCH) return dnnl_success;
    dnnl_primitive_desc_destroy(*out);
    *out = NULL;
    return choose(o, a, b, c, dnnl_scratchpad_mode_library, out, &bytes);
}

static dnnl_status_t make_plan(const ewci_onednn *o, worker *w, plan *p)
{
    dnnl_memory_desc_t operands[ARGUMENTS - 1];
    dnnl_primitive_desc_t description = NULL;
    TRY(describe(p->transpose_b, p->m, p->n, p->k, &operands[0], &operands[1], &operands[2]));
    TRY(choose_within_scratch(o, &operands[0], &operands[1], &operands[2], &description));
    dnnl_status_t status = dnnl_primitive_create(&p->primitive, description);
    for (int i = 0; i < ARGUMENTS && status == dnnl_success; i++) {
        bool scratch = i == ARGUMENTS - 1;
        const dnnl_memory_desc_t *size =
            scratch ? dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0) : &operands[i];
        status = dnnl_memory_create(&p->memory[i], size, o->engine, scratch ? w->scratch : NULL);
    }
    dnnl_primitive_desc_destroy(description);
    return status;
}

static dnnl_status_t find_plan(const ewci_onednn *o, worker *w, bool transpose_b, int64_t m, int64_t n, int64_t k,
                               plan **out)
{
    plan *oldest = &w->plans[0];
    for (int i = 0; i < PLANS; i++) {
        plan *p = &w->plans[i];
        if (p->used != 0 && p->m == m && p->n == n && p->k == k && p->transpose_b == transpose_b) {
            *out = p;
            return dnnl_success;
        }
        if (p->used < oldest->used) oldest = p;
    }
    drop_plan(oldest);
    *oldest = (plan){.transpose_b = transpose_b, .m = m, .n = n, .k = k};
    dnnl_status_t status = make_plan(o, w, oldest);
    if (status == dnnl_success)
        *out = oldest;
    else
        drop_plan(oldest);
    return status;
}

/* ---- Products ----------------------------------------------------------------------------------------------------------- */

typedef struct call {
    ewci_onednn *onednn;
    worker *worker;
    bool transpose_b;
    int64_t m, n, k;
    const uint16_t *a, *b;
    float *c;
} call;

static dnnl_status_t multiply(const call *p)
{
    plan *found = NULL;
    worker *w = p->worker;
    TRY(find_plan(p->onednn, w, p->transpose_b, p->m, p->n, p->k, &found));
    found->used = ++w->calls;
    void *operands[ARGUMENTS - 1] = {(void *)(uintptr_t)p->a, (void *)(uintptr_t)p->b, p->c};
    dnnl_exec_arg_t arguments[ARGUMENTS];
    for (int i = 0; i < ARGUMENTS; i++) {
        if (i < ARGUMENTS - 1) TRY(dnnl_memory_set_data_handle(found->memory[i], operands[i]));
        arguments[i] = (dnnl_exec_arg_t){ARGUMENT_NAMES[i], found->memory[i]};
    }
    TRY(dnnl_primitive_execute(found->primitive, w->stream, ARGUMENTS, arguments));
    return dnnl_stream_wait(w->stream);
}

static void run_call(void *argument)
{
    const call *p = argument;
    dnnl_status_t status = multiply(p);
    if (p->worker->failure == dnnl_success) p->worker->failure = status;
}

void ewci_onednn_multiply(ewci_onednn *o, int thread, bool transpose_b, int64_t m, int64_t n, int64_t k,
                          const uint16_t *a, const uint16_t *b, float *c)
{
    call p = {o, &o->workers[thread], transpose_b, m, n, k, a, b, c};
    alone(run_call, &p);
}

static ewc_status fail(ewc_context *ctx, dnnl_status_t status)
{
    if (status == dnnl_out_of_memory)
        return ewci_fail(ctx, EWC_ERROR_MEMORY, "no memory for a bf16 product inside oneDNN");
    if (status == dnnl_unimplemented)
        return ewci_fail(ctx, EWC_ERROR_UNSUPPORTED,
                         "products: oneDNN %d.%d.%d has no bf16 products for this processor (AVX-512 is the least); "
                         "use EWC_PRODUCTS_F32",
                         dnnl_version()->major, dnnl_version()->minor, dnnl_version()->patch);
    return ewci_fail(ctx, EWC_ERROR_DEVICE, "oneDNN failed in a bf16 product: its status is %d (dnnl_types.h)",
                     (int)status);
}

ewc_status ewci_onednn_check(ewci_onednn *o)
{
    dnnl_status_t first = dnnl_success;
    for (int i = 0; i < o->threads; i++) {
        if (first == dnnl_success) first = o->workers[i].failure;
        o->workers[i].failure = dnnl_success;
    }
    return first == dnnl_success ? EWC_OK : fail(o->ctx, first);
}

/* ---- Opening and closing ------------------------------------------------------------------------------------------------ */

/* The implementation that oneDNN takes for a large tile. */
static dnnl_status_t name_implementation(ewci_onednn *o)
{
    dnnl_memory_desc_t a, b, c;
    dnnl_primitive_desc_t description = NULL;
    const char *implementation = "";
    TRY(describe(true, 256, 512, 768, &a, &b, &c));
    TRY(choose_within_scratch(o, &a, &b, &c, &description));
    dnnl_status_t status = dnnl_primitive_desc_query(description, dnnl_query_impl_info_str, 0, (void *)&implementation);
    const dnnl_version_t *version = dnnl_version();
    if (status == dnnl_success)
        snprintf(o->name, sizeof o->name, "oneDNN %d.%d.%d %.40s", version->major, version->minor, version->patch,
                 implementation);
    dnnl_primitive_desc_destroy(description);
    return status;
}

static dnnl_status_t start(ewci_onednn *o)
{
    TRY(dnnl_engine_create(&o->engine, dnnl_cpu, 0));
    for (int i = 0; i < o->threads; i++)
        TRY(dnnl_stream_create(&o->workers[i].stream, o->engine, dnnl_stream_default_flags));
    return name_implementation(o);
}

typedef struct opening {
    ewci_onednn *onednn;
    dnnl_status_t status;
} opening;

static void run_start(void *argument)
{
    opening *p = argument;
    p->status = start(p->onednn);
}

static ewc_status allocate_workers(ewci_onednn *o)
{
    void *memory;
    EWCI_TRY(ewci_alloc_array(o->ctx, o->threads, sizeof(worker), "oneDNN's shapes", &memory));
    o->workers = memory;
    for (int i = 0; i < o->threads; i++) {
        EWCI_TRY(ewci_alloc(o->ctx, SCRATCH, "oneDNN's scratch", &memory));
        o->workers[i].scratch = memory;
    }
    return EWC_OK;
}

ewc_status ewci_onednn_open(ewc_context *ctx, int threads, ewci_onednn **out, bool *processor_has_bf16)
{
    void *memory;
    EWCI_TRY(ewci_alloc_array(ctx, 1, sizeof(ewci_onednn), "oneDNN's state", &memory));
    ewci_onednn *o = memory;
    *o = (ewci_onednn){.ctx = ctx, .threads = threads};
    ewc_status status = allocate_workers(o);
    if (status == EWC_OK) {
        opening p = {o, dnnl_success};
        alone(run_start, &p);
        if (p.status != dnnl_success) status = fail(ctx, p.status);
    }
    if (status != EWC_OK) {
        ewci_onednn_close(o);
        return status;
    }
    *processor_has_bf16 =
        ((int)dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
    *out = o;
    return EWC_OK;
}

void ewci_onednn_close(ewci_onednn *o)
{
    if (o == NULL) return;
    for (int i = 0; i < o->threads && o->workers != NULL; i++) {
        for (int j = 0; j < PLANS; j++) drop_plan(&o->workers[i].plans[j]);
        if (o->workers[i].stream != NULL) dnnl_stream_destroy(o->workers[i].stream);
        ewci_free(o->ctx, o->workers[i].scratch);
    }
    if (o->engine != NULL) dnnl_engine_destroy(o->engine);
    ewci_free(o->ctx, o->workers);
    ewci_free(o->ctx, o);
}

const char *ewci_onednn_name(const ewci_onednn *o)
{
    return o->name;
}

size_t ewci_onednn_thread_bytes(void)
{
    return SCRATCH + sizeof(worker);
}

#else

ewc_status ewci_onednn_open(ewc_context *ctx, int threads, ewci_onednn **out, bool *processor_has_bf16)
{
    (void)threads, (void)out, (void)processor_has_bf16;
    return ewci_fail(ctx, EWC_ERROR_UNSUPPORTED,
                     "products: this libewc was built without bf16 products: use EWC_PRODUCTS_F32, or build it with "
                     "make ONEDNN=1 (Debian's libdnnl-dev)");
}

void ewci_onednn_close(ewci_onednn *onednn)
{
    (void)onednn;
}

const char *ewci_onednn_name(const ewci_onednn *onednn)
{
    (void)onednn;
    return "";
}

size_t ewci_onednn_thread_bytes(void)
{
    return 0;
}

void ewci_onednn_multiply(ewci_onednn *onednn, int thread, bool transpose_b, int64_t m, int64_t n, int64_t k,
                          const uint16_t *a, const uint16_t *b, float *c)
{
    (void)onednn, (void)thread, (void)transpose_b, (void)m, (void)n, (void)k, (void)a, (void)b, (void)c;
}

ewc_status ewci_onednn_check(ewci_onednn *onednn)
{
    (void)onednn;
    return EWC_OK;
}

#endif
