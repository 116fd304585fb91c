/* attention: who sees whom. A changed key and value must change exactly the outputs of the queries that see them, and a gradient at one
 * output must reach exactly the keys and values that it saw: to the bit, at every edge of window, document and group. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cpu/operations.h"
#include "support/arrays.h"
#include "support/attention_reference.h"
#include "support/devices.h"

enum { TOKENS = 400, HEADS = 6, KV_HEADS = 2, GROUP = HEADS / KV_HEADS, D = 5, QUERY = HEADS * D };
enum { WIDTH = (HEADS + 2 * KV_HEADS) * D, PROBES = 9 };

/* Beside the edges of tiles, windows and the documents below. */
static const int64_t PROBE[PROBES] = {0, 1, 62, 129, 180, 181, 255, 270, 399};

typedef struct setting {
    int64_t window;
    int documents;
    float softcap;
} setting;

static ewci_attention make_shape(const setting *s)
{
    int32_t *start = array_integers(TOKENS);
    for (int i = 0; i < TOKENS && s->documents; i++) start[i] = i < 63 ? 0 : i < 181 ? 63 : i < 182 ? 181 : 182;
    return (ewci_attention){TOKENS, HEADS, KV_HEADS, D, s->window, 0.5F, s->softcap, start, NULL, NULL};
}

static int row_differs(const float *a, const float *b)
{
    return memcmp(a, b, D * sizeof *a) != 0;
}

static int row_is_zero(const float *a)
{
    for (int c = 0; c < D; c++)
        if (a[c] != 0) return 0;
    return 1;
}

static void check_reach(ewci_device *device, const void *user)
{
    const ewci_attention *shape = user;
    float *qkv = array_random(TOKENS * WIDTH, 1, 1), *o = array_filled(TOKENS * QUERY, 0);
    float *lse = array_filled(TOKENS * HEADS, 0), *again = array_filled(TOKENS * QUERY, 0);
    void *scratch = array_bytes(ewci_cpu_attention_scratch(device, shape));
    assert_int_equal(ewci_cpu_attention_fwd(device, shape, o, lse, qkv, scratch), EWC_OK);
    for (int k = 0; k < PROBES; k++) {
        int64_t j = PROBE[k], kv = k % KV_HEADS;
        float *changed = array_copy(qkv, TOKENS * WIDTH);
        for (int c = 0; c < D; c++) {
            changed[j * WIDTH + (HEADS + kv) * D + c] += 0.25F;
            changed[j * WIDTH + (HEADS + KV_HEADS + kv) * D + c] += 1000;
        }
        assert_int_equal(ewci_cpu_attention_fwd(device, shape, again, lse, changed, scratch), EWC_OK);
        for (int64_t i = 0; i < TOKENS; i++)
            for (int64_t head = 0; head < HEADS; head++) {
                int seen = attention_sees(shape, i, j) && head / GROUP == kv;
                int64_t at = i * QUERY + head * D;
                if (row_differs(o + at, again + at) == seen) continue;
                fail_msg("query %d of head %d, key %d of kv head %d: %s", (int)i, (int)head, (int)j, (int)kv,
                         seen ? "not seen" : "seen");
            }
    }
}

static void check_reach_back(ewci_device *device, const void *user)
{
    const ewci_attention *shape = user;
    float *qkv = array_random(TOKENS * WIDTH, 1, 1), *o = array_filled(TOKENS * QUERY, 0);
    float *lse = array_filled(TOKENS * HEADS, 0), *dqkv = array_filled(TOKENS * WIDTH, 0);
    void *scratch = array_bytes(ewci_cpu_attention_scratch(device, shape));
    assert_int_equal(ewci_cpu_attention_fwd(device, shape, o, lse, qkv, scratch), EWC_OK);
    for (int k = 0; k < PROBES; k++) {
        int64_t i = PROBE[k], head = (k * 5 + 1) % HEADS;
        float *d_o = array_filled(TOKENS * QUERY, 0);
        for (int c = 0; c < D; c++) d_o[i * QUERY + head * D + c] = (float)(c + 1);
        assert_int_equal(ewci_cpu_attention_bwd(device, shape, dqkv, d_o, o, lse, qkv, scratch), EWC_OK);
        for (int64_t j = 0; j < TOKENS; j++) {
            const float *row = dqkv + j * WIDTH;
            for (int64_t kv = 0; kv < KV_HEADS; kv++) {
                int seen = attention_sees(shape, i, j) && head / GROUP == kv;
                int alone = shape->window == 1 ||
                            shape->document_start[i] == i; /* a probability of one: no slope but rounding */
                int key = !row_is_zero(row + (HEADS + kv) * D);
                int value = !row_is_zero(row + (HEADS + KV_HEADS + kv) * D);
                if (value == seen && (alone || key == seen)) continue;
                fail_msg("query %d of head %d, key %d of kv head %d: %s", (int)i, (int)head, (int)j, (int)kv,
                         seen ? "no gradient" : "a gradient");
            }
            for (int64_t h = 0; h < HEADS; h++) assert_true(row_is_zero(row + h * D) || (j == i && h == head));
        }
    }
}

static void check_settings(void (*check)(ewci_device *, const void *))
{
    static const setting list[] = {{33, 1, 0}, {0, 0, 0}, {0, 1, 5}, {70, 0, 5}, {1, 1, 5}, {5000, 1, 0}};
    size_t step = getenv("EWC_TEST_FAST") != NULL ? 2 : 1;
    for (size_t s = 0; s < sizeof list / sizeof *list; s += step) {
        ewci_attention shape = make_shape(&list[s]);
        print_message("# window %d, documents %d, softcap %g\n", (int)list[s].window, list[s].documents,
                      (double)list[s].softcap);
        each_device(check, &shape);
        arrays_free();
    }
}

static void queries_see_the_keys_of_window_document_and_group(void **state)
{
    (void)state;
    check_settings(check_reach);
}

static void gradients_reach_what_was_seen(void **state)
{
    (void)state;
    check_settings(check_reach_back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queries_see_the_keys_of_window_document_and_group),
        cmocka_unit_test(gradients_reach_what_was_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
