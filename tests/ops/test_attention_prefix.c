/* attention_fwd where documents continue a prefix: several documents see the keys of one prefix as if each stood right behind it. Against
 * double precision; to the bit that exactly the right queries see a key; and that nothing changes where prefixes are empty. */
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

enum { GROUPS = 4, MOST_DOCUMENTS = 6 };

/* Tokens laid end to end: a prefix, then the documents that continue it; a document of an empty prefix stands alone. */
typedef struct group {
    int64_t prefix;
    int64_t documents[MOST_DOCUMENTS]; /* lengths, up to the first 0 */
} group;

typedef struct sizes {
    int64_t heads, kv_heads, head_dim, window;
    double softcap;
    group groups[GROUPS];
} sizes;

typedef struct problem {
    ewci_attention shape;
    int64_t width, query; /* floats of a row of qkv and of o */
    float *qkv;
    double *o, *lse; /* expected */
} problem;

typedef struct layout {
    int64_t tokens;
    int32_t *document_start, *prefix_start, *prefix_end;
} layout;

static void add_document(layout *l, int64_t length, int64_t prefix_start, int64_t prefix_end)
{
    int64_t start = l->tokens;
    for (; l->tokens < start + length; l->tokens++) {
        l->document_start[l->tokens] = (int32_t)start;
        l->prefix_start[l->tokens] = (int32_t)prefix_start;
        l->prefix_end[l->tokens] = (int32_t)prefix_end;
    }
}

static layout make_layout(const group *groups)
{
    int64_t most = 0;
    for (int g = 0; g < GROUPS; g++) {
        most += groups[g].prefix;
        for (int k = 0; k < MOST_DOCUMENTS; k++) most += groups[g].documents[k];
    }
    layout l = {0, array_integers(most), array_integers(most), array_integers(most)};
    for (int g = 0; g < GROUPS; g++) {
        int64_t start = l.tokens;
        add_document(&l, groups[g].prefix, 0, 0);
        for (int k = 0; k < MOST_DOCUMENTS; k++)
            add_document(&l, groups[g].documents[k], start, start + groups[g].prefix);
    }
    return l;
}

static problem make_problem(const sizes *s)
{
    layout l = make_layout(s->groups);
    problem p = {.shape = {.tokens = l.tokens,
                           .heads = s->heads,
                           .kv_heads = s->kv_heads,
                           .head_dim = s->head_dim,
                           .window = s->window,
                           .scale = (float)(6 / sqrt((double)s->head_dim)),
                           .softcap = (float)s->softcap,
                           .document_start = l.document_start,
                           .prefix_start = l.prefix_start,
                           .prefix_end = l.prefix_end}};
    p.width = attention_width(&p.shape);
    p.query = s->heads * s->head_dim;
    p.qkv = array_random(l.tokens * p.width, 1, 1);
    p.o = array_doubles(l.tokens * p.query);
    p.lse = array_doubles(l.tokens * s->heads);
    return p;
}

static void forward(ewci_device *device, const ewci_attention *shape, float *o, float *lse, const float *qkv)
{
    char *scratch = array_bytes(ewci_cpu_attention_scratch(device, shape));
    memset(scratch, 0xff, ewci_cpu_attention_scratch(device, shape));
    assert_int_equal(ewci_cpu_attention_fwd(device, shape, o, lse, qkv, scratch), EWC_OK);
}

static void check_problem(ewci_device *device, const void *user)
{
    const problem *p = user;
    int64_t tokens = p->shape.tokens;
    float *o = array_filled(tokens * p->query, NAN), *lse = array_filled(tokens * p->shape.heads, NAN);
    forward(device, &p->shape, o, lse, p->qkv);
    CLOSE(o, p->o, tokens * p->query, 2e-6);
    CLOSE(lse, p->lse, tokens * p->shape.heads, 1e-6);
}

static void check_sizes(const sizes *s, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        problem p = make_problem(&s[i]);
        print_message("# T %d, heads %d:%d, head_dim %d, window %d, softcap %g, first prefix %d\n", (int)p.shape.tokens,
                      (int)s[i].heads, (int)s[i].kv_heads, (int)s[i].head_dim, (int)s[i].window, s[i].softcap,
                      (int)s[i].groups[0].prefix);
        attention_reference(&p.shape, array_widened(p.qkv, p.shape.tokens * p.width), p.o, p.lse);
        each_device(check_problem, &p);
        arrays_free();
    }
}
#define CHECK_SIZES(...)                               \
    do {                                               \
        static const sizes list[] = {__VA_ARGS__};     \
        check_sizes(list, sizeof list / sizeof *list); \
    } while (0)

static void documents_of_any_length_see_their_prefix(void **state)
{
    (void)state;
    CHECK_SIZES({1, 1, 1, 0, 0, {{1, {1}}}}, {2, 1, 3, 0, 5, {{5, {3, 1, 4}}}},
                {4, 2, 16, 0, 5, {{300, {17, 1, 90, 2}}}}, {2, 2, 33, 0, 0, {{70, {300, 5, 299}}}},
                {16, 1, 4, 0, 2, {{40, {3, 5, 7, 9, 11, 13}}}});
}

static void windows_reach_back_into_the_prefix(void **state)
{
    (void)state;
    CHECK_SIZES({3, 1, 7, 19, 0, {{60, {30, 4, 18, 19, 20}}}}, {2, 1, 9, 130, 5, {{300, {100, 170, 3}}}},
                {1, 1, 6, 256, 0, {{50, {40, 250, 3}}}}, {2, 1, 4, 1000, 2, {{90, {40, 30}}}},
                {4, 2, 5, 1, 0, {{9, {3, 4}}}}, {2, 1, 5, 2, 0, {{9, {3, 4}}}});
}

static void several_prefixes_lie_side_by_side(void **state)
{
    (void)state;
    CHECK_SIZES({2, 1, 12, 0, 5, {{20, {3, 4}}, {0, {7, 3}}, {9, {5, 5, 5}}, {11, {0}}}},
                {4, 1, 6, 14, 0, {{0, {9}}, {150, {21, 2, 2, 40}}, {3, {1, 1, 1, 1, 1, 1}}, {33, {20, 30}}}},
                {9, 3, 7, 0, 0, {{200, {3, 60, 9}}, {1, {2, 3}}, {100, {50}}, {0, {1, 1}}}});
}

static int row_differs(const float *a, const float *b, int64_t n)
{
    return memcmp(a, b, (size_t)n * sizeof *a) != 0;
}

/* A changed key and value change exactly the outputs of the queries that see them. */
static void check_reach(ewci_device *device, const void *user)
{
    const problem *p = user;
    const ewci_attention *a = &p->shape;
    int64_t d = a->head_dim, group_heads = a->heads / a->kv_heads;
    float *o = array_filled(a->tokens * p->query, 0), *again = array_filled(a->tokens * p->query, 0);
    float *lse = array_filled(a->tokens * a->heads, 0);
    forward(device, a, o, lse, p->qkv);
    for (int64_t j = 0; j < a->tokens; j += j % 3 == 0 ? 1 : 4) {
        int64_t kv = j % a->kv_heads;
        float *changed = array_copy(p->qkv, a->tokens * p->width);
        for (int64_t c = 0; c < d; c++) {
            changed[j * p->width + (a->heads + kv) * d + c] += 0.25F;
            changed[j * p->width + (a->heads + a->kv_heads + kv) * d + c] += 1000;
        }
        forward(device, a, again, lse, changed);
        for (int64_t i = 0; i < a->tokens; i++)
            for (int64_t head = 0; head < a->heads; head++) {
                int seen = attention_sees(a, i, j) && head / group_heads == kv;
                int64_t at = i * p->query + head * d;
                if (row_differs(o + at, again + at, d) == seen) continue;
                fail_msg("query %d of head %d, key %d of kv head %d: %s", (int)i, (int)head, (int)j, (int)kv,
                         seen ? "not seen" : "seen");
            }
    }
}

static void exactly_the_right_queries_see_a_key(void **state)
{
    static const sizes list[] = {{6, 2, 5, 0, 5, {{67, {9, 1, 30}}, {0, {4}}, {5, {3, 2}}}},
                                 {6, 2, 5, 13, 0, {{67, {9, 20, 13}}, {0, {4}}, {5, {3, 2}}}}};
    (void)state;
    for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
        problem p = make_problem(&list[k]);
        each_device(check_reach, &p);
        arrays_free();
    }
}

static void check_empty(ewci_device *device, const void *user)
{
    const problem *p = user;
    int64_t tokens = p->shape.tokens;
    ewci_attention without = p->shape;
    without.prefix_start = without.prefix_end = NULL;
    float *o[2], *lse[2];
    for (int k = 0; k < 2; k++) {
        o[k] = array_filled(tokens * p->query, NAN);
        lse[k] = array_filled(tokens * p->shape.heads, NAN);
        forward(device, k == 0 ? &p->shape : &without, o[k], lse[k], p->qkv);
    }
    SAME(o[0], o[1], tokens * p->query);
    SAME(lse[0], lse[1], tokens * p->shape.heads);
}

static void empty_prefixes_change_no_bit(void **state)
{
    static const sizes one = {4, 2, 9, 50, 5, {{0, {300, 20, 5}}, {0, {9, 80}}}};
    (void)state;
    problem p = make_problem(&one);
    each_device(check_empty, &p);
    arrays_free();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_of_any_length_see_their_prefix),
        cmocka_unit_test(windows_reach_back_into_the_prefix),
        cmocka_unit_test(several_prefixes_lie_side_by_side),
        cmocka_unit_test(exactly_the_right_queries_see_a_key),
        cmocka_unit_test(empty_prefixes_change_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
