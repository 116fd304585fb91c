/* attention: forward and backward against double precision; the double-precision backward against central differences of the
 * double-precision forward. Shapes cross the tiles in both directions and divide by nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/attention_reference.h"
#include "support/devices.h"

enum { GUARD = 64 }; /* bytes after the scratch that must stay as they are */

typedef struct sizes {
    int64_t tokens, heads, kv_heads, head_dim, window;
    double softcap;
    int64_t document; /* mean length of the documents; 0: one */
} sizes;

typedef struct problem {
    ewci_attention shape;
    int64_t width, query; /* floats of a row of qkv and of o */
    float *qkv, *d_o;
    double *o, *lse, *dqkv; /* expected */
    double tolerance;       /* of dqkv */
} problem;

/* Documents of any length from one token to twice the mean. */
static int32_t *documents(int64_t tokens, int64_t mean)
{
    int32_t *start = array_integers(tokens);
    int64_t first = 0, end = 0;
    for (int64_t i = 0; i < tokens && mean > 0; i++) {
        if (i == end) {
            first = i;
            end = i + 1 + (int64_t)((1 + tiny_number(99, (uint64_t)i)) * ((double)mean - 0.5));
        }
        start[i] = (int32_t)first;
    }
    return start;
}

/* Scores between about -6 and 6 before the cap, so that a cap of 2 or 5 bends them. */
static problem make_inputs(const sizes *s)
{
    problem p = {.shape = {.tokens = s->tokens,
                           .heads = s->heads,
                           .kv_heads = s->kv_heads,
                           .head_dim = s->head_dim,
                           .window = s->window,
                           .scale = (float)(6 / sqrt((double)s->head_dim)),
                           .softcap = (float)s->softcap,
                           .document_start = documents(s->tokens, s->document)}};
    p.tolerance = 3e-6;
    p.width = attention_width(&p.shape);
    p.query = s->heads * s->head_dim;
    p.qkv = array_random(s->tokens * p.width, 1, 1);
    p.d_o = array_random(s->tokens * p.query, 2, 1);
    p.o = array_doubles(s->tokens * p.query);
    p.lse = array_doubles(s->tokens * s->heads);
    p.dqkv = array_doubles(s->tokens * p.width);
    return p;
}

static problem make_problem(const sizes *s)
{
    problem p = make_inputs(s);
    double *qkv = array_widened(p.qkv, s->tokens * p.width), *d_o = array_widened(p.d_o, s->tokens * p.query);
    attention_reference(&p.shape, qkv, p.o, p.lse);
    attention_reference_backward(&p.shape, qkv, d_o, p.dqkv);
    return p;
}

/* Scratch of exactly the size asked for, full of NaN, with a guard behind it. */
static void *make_scratch(const ewci_device *device, const ewci_attention *shape)
{
    size_t bytes = ewci_cpu_attention_scratch(device, shape);
    char *scratch = array_bytes(bytes + GUARD);
    memset(scratch, 0xff, bytes + GUARD);
    return scratch;
}

static void check_guard(const ewci_device *device, const ewci_attention *shape, const char *scratch)
{
    size_t bytes = ewci_cpu_attention_scratch(device, shape);
    for (size_t i = 0; i < GUARD; i++) assert_int_equal((unsigned char)scratch[bytes + i], 0xff);
}

/* Twice, for equal bits. */
static void check_problem(ewci_device *device, const void *user)
{
    const problem *p = user;
    int64_t tokens = p->shape.tokens;
    float *o[2], *lse[2], *dqkv[2];
    for (int run = 0; run < 2; run++) {
        void *scratch = make_scratch(device, &p->shape);
        o[run] = array_filled(tokens * p->query, NAN);
        lse[run] = array_filled(tokens * p->shape.heads, NAN);
        dqkv[run] = array_filled(tokens * p->width, NAN);
        assert_int_equal(ewci_cpu_attention_fwd(device, &p->shape, o[run], lse[run], p->qkv, scratch), EWC_OK);
        assert_int_equal(ewci_cpu_attention_bwd(device, &p->shape, dqkv[run], p->d_o, o[run], lse[run], p->qkv,
                                                scratch),
                         EWC_OK);
        check_guard(device, &p->shape, scratch);
    }
    CLOSE(o[0], p->o, tokens * p->query, 2e-6);
    CLOSE(lse[0], p->lse, tokens * p->shape.heads, 1e-6);
    CLOSE(dqkv[0], p->dqkv, tokens * p->width, p->tolerance);
    SAME(o[0], o[1], tokens * p->query);
    SAME(lse[0], lse[1], tokens * p->shape.heads);
    SAME(dqkv[0], dqkv[1], tokens * p->width);
}

static void check_sizes(const sizes *s, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        print_message("# T %d, heads %d:%d, head_dim %d, window %d, softcap %g, documents of %d\n", (int)s[i].tokens,
                      (int)s[i].heads, (int)s[i].kv_heads, (int)s[i].head_dim, (int)s[i].window, s[i].softcap,
                      (int)s[i].document);
        problem p = make_problem(&s[i]);
        each_device(check_problem, &p);
        arrays_free();
    }
}
#define CHECK_SIZES(...)                               \
    do {                                               \
        static const sizes list[] = {__VA_ARGS__};     \
        check_sizes(list, sizeof list / sizeof *list); \
    } while (0)

static double weighted_output(const void *user)
{
    const void *const *parts = user;
    const problem *p = parts[0];
    const double *qkv = parts[1];
    double sum = 0;
    attention_reference(&p->shape, qkv, p->o, p->lse);
    for (int64_t i = 0; i < p->shape.tokens * p->query; i++) sum += p->o[i] * (double)p->d_o[i];
    return sum;
}

static void the_reference_backward_is_the_derivative_of_the_reference(void **state)
{
    static const sizes list[] = {{7, 2, 1, 3, 0, 0, 0},
                                 {8, 4, 2, 2, 3, 2, 0},
                                 {9, 1, 1, 5, 0, 5, 3},
                                 {9, 3, 1, 1, 4, 0, 4}};
    (void)state;
    for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
        problem p = make_problem(&list[k]);
        int64_t n = p.shape.tokens * p.width;
        double *qkv = array_widened(p.qkv, n), *numeric = array_doubles(n);
        const void *parts[] = {&p, qkv};
        central_differences(numeric, qkv, n, 1e-5, weighted_output, parts);
        for (int64_t i = 0; i < n; i++) assert_true(fabs(numeric[i] - p.dqkv[i]) < 1e-7);
        arrays_free();
    }
}

static void small_shapes_are_right(void **state)
{
    (void)state;
    CHECK_SIZES({1, 1, 1, 1, 0, 0, 0}, {2, 1, 1, 1, 0, 2, 0}, {5, 2, 1, 3, 2, 5, 0}, {17, 3, 3, 7, 0, 0, 0},
                {37, 4, 2, 5, 0, 2, 9});
}

static void several_tiles_are_right(void **state)
{
    (void)state;
    CHECK_SIZES({300, 4, 2, 16, 64, 5, 0}, {531, 2, 2, 33, 0, 0, 0}, {411, 1, 1, 40, 0, 5, 0}, {777, 2, 1, 8, 0, 0, 0});
}

static void windows_are_right(void **state)
{
    (void)state;
    CHECK_SIZES({131, 3, 1, 7, 19, 0, 0}, {401, 2, 1, 9, 130, 5, 0}, {333, 1, 1, 6, 256, 0, 0},
                {150, 2, 1, 4, 1000, 2, 0});
}

static void packed_documents_are_right(void **state)
{
    (void)state;
    CHECK_SIZES({533, 2, 1, 12, 0, 5, 150}, {300, 4, 1, 6, 40, 0, 70}, {257, 2, 2, 5, 0, 2, 4}, {97, 2, 1, 3, 3, 0, 1});
}

static void large_groups_and_heads_are_right(void **state)
{
    (void)state;
    CHECK_SIZES({90, 16, 1, 4, 0, 5, 0}, {60, 150, 1, 2, 20, 0, 0}, {130, 9, 3, 7, 0, 5, 0}, {140, 2, 1, 256, 50, 5, 0},
                {70, 1, 1, 301, 0, 0, 0}, {70, 1, 1, 512, 0, 5, 0});
}

/* A row that sees only itself returns its value exactly. */
static void check_identity(ewci_device *device, const void *user)
{
    const problem *p = user;
    int64_t tokens = p->shape.tokens, d = p->shape.head_dim;
    float *o = array_filled(tokens * p->query, NAN), *lse = array_filled(tokens * p->shape.heads, NAN);
    void *scratch = make_scratch(device, &p->shape);
    assert_int_equal(ewci_cpu_attention_fwd(device, &p->shape, o, lse, p->qkv, scratch), EWC_OK);
    for (int64_t i = 0; i < tokens; i++)
        for (int64_t head = 0; head < p->shape.heads; head++)
            SAME(o + i * p->query + head * d,
                 p->qkv + i * p->width + (p->shape.heads + p->shape.kv_heads + head / 2) * d, d);
}

static void a_query_alone_returns_its_value(void **state)
{
    static const sizes list[] = {{300, 4, 2, 5, 1, 5, 0}, {300, 4, 2, 5, 0, 0, 1}};
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        problem p = make_inputs(&list[k]);
        if (k == 1)
            for (int64_t i = 0; i < 300; i++) ((int32_t *)(uintptr_t)p.shape.document_start)[i] = (int32_t)i;
        each_device(check_identity, &p);
        arrays_free();
    }
}

/* Scores of up to 10^4 without a cap, exact in f32: queries and keys are small integers. The backward pass has only lse to go by, which
 * in f32 is off by up to 2^-11 at 10^4, and so is each probability. */
static void large_scores_do_not_overflow(void **state)
{
    static const sizes list[] = {{290, 2, 1, 4, 0, 0, 0}, {290, 2, 1, 4, 77, 0, 0}};
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        problem p = make_inputs(&list[k]);
        int64_t keys = (p.shape.heads + p.shape.kv_heads) * p.shape.head_dim;
        p.shape.scale = 1;
        p.tolerance = 0x1p-11;
        for (int64_t i = 0; i < p.shape.tokens * p.width; i++)
            if (i % p.width < keys) p.qkv[i] = roundf(50 * p.qkv[i]);
        double *qkv = array_widened(p.qkv, p.shape.tokens * p.width);
        attention_reference(&p.shape, qkv, p.o, p.lse);
        attention_reference_backward(&p.shape, qkv, array_widened(p.d_o, p.shape.tokens * p.query), p.dqkv);
        each_device(check_problem, &p);
        arrays_free();
    }
}

/* Four times the length is at most four times the scratch, and no more than a few megabytes a thread beyond the partial sums. */
static void scratch_does_not_grow_with_the_square_of_the_length(void **state)
{
    (void)state;
    opened_device *opened = device_open(EWC_ISA_AUTO, 2);
    ewci_attention shape = {.heads = 8, .kv_heads = 4, .head_dim = 128};
    size_t bytes[2];
    for (int k = 0; k < 2; k++) {
        shape.tokens = k == 0 ? 16384 : 65536;
        bytes[k] = ewci_cpu_attention_scratch(opened->device, &shape);
    }
    assert_true(bytes[1] <= 4 * bytes[0]);
    assert_true(bytes[1] <= (size_t)(shape.tokens * shape.heads * shape.head_dim) * 2 * sizeof(float) + (8 << 20));
    device_close(opened);
}

/* A workspace lays its scratch out once, for its largest batch; smaller batches may have more tiles. */
static void the_scratch_of_more_tokens_serves_fewer(void **state)
{
    static const sizes list[] = {{383, 8, 4, 4, 0, 5, 0}, {191, 2, 1, 4, 0, 5, 0}};
    (void)state;
    opened_device *opened = device_open(EWC_ISA_AUTO, 2);
    for (size_t k = 0; k < 2; k++) {
        problem p = make_inputs(&list[k]);
        ewci_attention larger = p.shape;
        larger.tokens++;
        float *o = array_filled(p.shape.tokens * p.query, NAN),
              *lse = array_filled(p.shape.tokens * p.shape.heads, NAN);
        float *dqkv = array_filled(p.shape.tokens * p.width, NAN);
        void *scratch = make_scratch(opened->device, &larger);
        assert_int_equal(ewci_cpu_attention_fwd(opened->device, &p.shape, o, lse, p.qkv, scratch), EWC_OK);
        assert_int_equal(ewci_cpu_attention_bwd(opened->device, &p.shape, dqkv, p.d_o, o, lse, p.qkv, scratch), EWC_OK);
        check_guard(opened->device, &larger, scratch);
        arrays_free();
    }
    for (int64_t tokens = 1; tokens < 3000; tokens++) {
        ewci_attention shape = {.tokens = tokens, .heads = 8, .kv_heads = 4, .head_dim = 4}, fewer = shape;
        fewer.tokens--;
        assert_true(ewci_cpu_attention_scratch(opened->device, &fewer) <=
                    ewci_cpu_attention_scratch(opened->device, &shape));
    }
    device_close(opened);
}

static void nothing_is_done_for_no_tokens(void **state)
{
    (void)state;
    opened_device *opened = device_open(EWC_ISA_AUTO, 2);
    ewci_attention shape = {.heads = 2, .kv_heads = 1, .head_dim = 4, .scale = 1};
    void *scratch = make_scratch(opened->device, &shape);
    assert_int_equal(ewci_cpu_attention_fwd(opened->device, &shape, NULL, NULL, NULL, scratch), EWC_OK);
    assert_int_equal(ewci_cpu_attention_bwd(opened->device, &shape, NULL, NULL, NULL, NULL, NULL, scratch), EWC_OK);
    check_guard(opened->device, &shape, scratch);
    device_close(opened);
    arrays_free();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_backward_is_the_derivative_of_the_reference),
        cmocka_unit_test(small_shapes_are_right),
        cmocka_unit_test(several_tiles_are_right),
        cmocka_unit_test(windows_are_right),
        cmocka_unit_test(packed_documents_are_right),
        cmocka_unit_test(large_groups_and_heads_are_right),
        cmocka_unit_test(a_query_alone_returns_its_value),
        cmocka_unit_test(large_scores_do_not_overflow),
        cmocka_unit_test(scratch_does_not_grow_with_the_square_of_the_length),
        cmocka_unit_test(the_scratch_of_more_tokens_serves_fewer),
        cmocka_unit_test(nothing_is_done_for_no_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
