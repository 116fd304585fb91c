/* The CPU device: its memory, what it says about itself, the kernels it takes, and OpenBLAS's choice of kernels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu/device.h"
#include "cpu/operations.h"
#include "cpu/processor.h"
#include "support/arrays.h"
#include "support/devices.h"

extern char **environ;

static const char *self; /* this program, to run it again in another environment */

static void the_table_has_every_operation(void **state)
{
    (void)state;
    assert_int_equal(ewci_cpu_ops.version, EWCI_OPS_VERSION);
    assert_int_equal(ewci_cpu_ops.struct_size, sizeof(ewci_ops));
    assert_string_equal(ewci_cpu_ops.name, "cpu");
    assert_int_equal(ewci_cpu_ops.compute, EWC_F32);
    void (*const *entries)(void) = (void (*const *)(void))(const void *)&ewci_cpu_ops.open;
    size_t count = (sizeof(ewci_ops) - offsetof(ewci_ops, open)) / sizeof *entries;
    for (size_t i = 0; i < count; i++) assert_true(entries[i] != NULL);
}

static void check_memory(ewci_device *device, const void *user)
{
    static const size_t sizes[] = {0, 1, 4097, (3 << 20) + 5};
    (void)user;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s];
        unsigned char *a = NULL, *b = NULL, *host = array_bytes(n), *back = array_bytes(n);
        assert_int_equal(ewci_cpu_alloc(device, n, "a", (void **)&a), EWC_OK);
        assert_int_equal(ewci_cpu_alloc(device, n, "b", (void **)&b), EWC_OK);
        for (size_t i = 0; i < n; i++) host[i] = (unsigned char)(i * 7 + 1);
        assert_int_equal(ewci_cpu_copy_in(device, a, host, n), EWC_OK);
        assert_int_equal(ewci_cpu_copy(device, b, a, n), EWC_OK);
        assert_int_equal(ewci_cpu_copy_out(device, back, b, n), EWC_OK);
        assert_int_equal(ewci_cpu_sync(device), EWC_OK);
        assert_memory_equal(back, host, n);
        assert_int_equal(ewci_cpu_zero(device, b, n), EWC_OK);
        for (size_t i = 0; i < n; i++) assert_int_equal(b[i], 0);
        ewci_cpu_free(device, a);
        ewci_cpu_free(device, b);
        arrays_free();
    }
}

static void memory_is_copied_and_zeroed(void **state)
{
    (void)state;
    each_device(check_memory, NULL);
}

static void small_work_stays_on_one_thread(void **state)
{
    (void)state;
    ewci_device device = {.threads = 4, .share = 1000};
    assert_int_equal(ewci_team(&device, 0), 1);
    assert_int_equal(ewci_team(&device, 1999), 1);
    assert_int_equal(ewci_team(&device, 2000), 2);
    assert_int_equal(ewci_team(&device, 4000), 4);
    assert_int_equal(ewci_team(&device, INT64_MAX), 4);
}

static void a_device_describes_itself(void **state)
{
    (void)state;
    static const char *const names[] = {"", "portable", "avx2", "avx512"};
    for (ewc_instruction_set set = EWC_ISA_PORTABLE; set <= EWC_ISA_AVX512; set++) {
        if (!device_has(set)) continue;
        ewc_context_info info;
        memset(&info, 0xff, sizeof info);
        opened_device *opened = device_open(set, 2);
        ewci_cpu_describe(opened->device, &info);
        assert_string_equal(info.device, "cpu");
        assert_string_equal(info.instruction_set, names[set]);
        assert_in_range(strlen(info.processor), 1, sizeof info.processor - 1);
        assert_non_null(strstr(info.blas, "OpenBLAS"));
        assert_int_equal(info.threads, 2);
        assert_true(info.memory_bytes > 0 && info.memory_available_bytes > 0);
        device_close(opened);
    }
}

static void the_best_instruction_set_is_taken(void **state)
{
    (void)state;
    opened_device *opened = device_open(EWC_ISA_AUTO, 1);
    ewc_context_info info;
    ewci_cpu_describe(opened->device, &info);
    const char *best = device_has(EWC_ISA_AVX512) ? "avx512" : device_has(EWC_ISA_AVX2) ? "avx2" : "portable";
    assert_string_equal(info.instruction_set, best);
    device_close(opened);
}

static ewc_status try_open(ewc_context *ctx, ewc_instruction_set set)
{
    ewci_device *device = NULL;
    memset(ctx, 0, sizeof *ctx);
    ctx->threads = 1;
    ctx->options.instruction_set = set;
    ewc_status status = ewci_cpu_open(ctx, &ctx->options, &device);
    ewci_cpu_close(device);
    return status;
}

static void instruction_sets_that_are_missing_are_refused(void **state)
{
    (void)state;
    static ewc_context ctx;
    assert_int_equal(try_open(&ctx, (ewc_instruction_set)9), EWC_ERROR_ARGUMENT);
    assert_non_null(strstr(ctx.error, "instruction_set"));
    if (!device_has(EWC_ISA_AVX512)) assert_int_equal(try_open(&ctx, EWC_ISA_AVX512), EWC_ERROR_UNSUPPORTED);
    if (!device_has(EWC_ISA_AVX2)) assert_int_equal(try_open(&ctx, EWC_ISA_AVX2), EWC_ERROR_UNSUPPORTED);
}

static int allocation, failing, live;

static void *allocate(void *user, size_t bytes)
{
    (void)user;
    if (++allocation == failing) return NULL;
    live++;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void release(void *user, void *pointer)
{
    (void)user;
    live--;
    free(pointer);
}

static void opening_survives_each_failing_allocation(void **state)
{
    (void)state;
    ewc_status status = EWC_ERROR_MEMORY;
    for (failing = 1; failing < 50 && status != EWC_OK; failing++) {
        ewc_context ctx = {.threads = 2, .options = {.allocate = allocate, .release = release}};
        ewci_device *device = NULL;
        allocation = 0;
        status = ewci_cpu_open(&ctx, &ctx.options, &device);
        assert_true(status == EWC_OK || (status == EWC_ERROR_MEMORY && device == NULL));
        ewci_cpu_close(device);
        assert_int_equal(live, 0);
    }
    assert_int_equal(status, EWC_OK);
    assert_true(failing > 2);
}

static void print_line(void *user, ewc_log_level level, const char *message)
{
    (void)user;
    if (level == EWC_LOG_WARNING) printf("warning: %s\n", message);
}

/* What this program does when it is run again by the tests below. */
static int tell_blas_kernels(ewc_instruction_set set)
{
    ewc_context ctx = {.threads = 1, .options = {.log = print_line, .instruction_set = set}};
    ewc_context_info info;
    ewci_device *device = NULL;
    if (ewci_cpu_open(&ctx, &ctx.options, &device) != EWC_OK) return 1;
    ewci_cpu_describe(device, &info);
    printf("kernels %s expected %d\nproducts through %s\n", info.blas_kernels, info.blas_kernels_expected,
           info.products_through);
    for (char **entry = environ; *entry != NULL; entry++)
        if (strncmp(*entry, "OPENBLAS_CORETYPE=", 18) == 0) printf("environment %s\n", *entry);
    ewci_cpu_close(device);
    return 0;
}

/* Output of this program with OPENBLAS_CORETYPE set to "core", or not set (NULL), for "best" or "portable" vectors. */
static void told_with(const char *core, const char *set, char *text, size_t bytes)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (core != NULL)
            setenv("OPENBLAS_CORETYPE", core, 1);
        else
            unsetenv("OPENBLAS_CORETYPE");
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        execl(self, self, "tell", set, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t n = 1; n > 0 && length < bytes - 1; length += (size_t)(n > 0 ? n : 0))
        n = read(ends[0], text + length, bytes - 1 - length);
    text[length] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void the_kernels_to_run_follow_from_the_instruction_set(void **state)
{
    (void)state;
    const char *core = ewci_processor_openblas_core();
    if (ewci_processor_has_avx512())
        assert_string_equal(core, "SkylakeX");
    else if (ewci_processor_has_avx2())
        assert_true(strcmp(core, "Haswell") == 0 || strcmp(core, "Zen") == 0);
    else
        assert_null(core);
}

/* getenv in this program is the one that the library's OpenBLAS calls. */
static void openblas_is_told_the_kernels_unless_the_user_chose(void **state)
{
    (void)state;
    const char *name = "OPENBLAS_CORETYPE", *core = ewci_processor_openblas_core();
    assert_int_equal(unsetenv(name), 0);
    if (core != NULL)
        assert_string_equal(getenv(name), core);
    else
        assert_null(getenv(name));
    assert_int_equal(setenv(name, "Nehalem", 1), 0);
    assert_string_equal(getenv(name), "Nehalem");
    unsetenv(name);
    assert_non_null(getenv("PATH"));
    assert_null(getenv("OPENBLAS_VERBOSE_OF_NOBODY"));
}

static void openblas_runs_the_kernels_of_this_processor(void **state)
{
    (void)state;
    char text[4096], expected[256];
    const char *core = ewci_processor_openblas_core();
    if (core == NULL) skip();
    snprintf(expected, sizeof expected, "kernels %s expected 1\nproducts through OpenBLAS %s\n", core, core);
    told_with(NULL, "portable", text, sizeof text);
    assert_string_equal(text, expected); /* and nothing about the environment: it was not changed */
}

static void other_kernels_are_the_users_choice_and_are_warned_about(void **state)
{
    (void)state;
    char text[4096];
    if (ewci_processor_openblas_core() == NULL) skip();
    told_with("Prescott", "portable", text, sizeof text);
    assert_non_null(strstr(text, "warning: OpenBLAS runs its Prescott kernels"));
    assert_non_null(strstr(text, "OPENBLAS_CORETYPE"));
    assert_non_null(strstr(text, "kernels Prescott expected 0\n"));
    assert_non_null(strstr(text, "environment OPENBLAS_CORETYPE=Prescott\n"));
}

/* A processor that OpenBLAS takes for another one, as Debian 12's takes new ones for a Prescott. */
static void products_do_not_depend_on_what_openblas_takes_the_processor_for(void **state)
{
    (void)state;
    char text[4096], expected[128];
    if (!ewci_processor_has_avx2()) skip();
    snprintf(expected, sizeof expected, "products through libewc %s\n",
             ewci_processor_has_avx512() ? "avx512" : "avx2");
    told_with("Prescott", "best", text, sizeof text);
    assert_non_null(strstr(text, "kernels Prescott expected 0\n"));
    assert_non_null(strstr(text, expected));
    assert_null(strstr(text, "warning"));
}

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_has_every_operation),
        cmocka_unit_test(memory_is_copied_and_zeroed),
        cmocka_unit_test(small_work_stays_on_one_thread),
        cmocka_unit_test(a_device_describes_itself),
        cmocka_unit_test(the_best_instruction_set_is_taken),
        cmocka_unit_test(instruction_sets_that_are_missing_are_refused),
        cmocka_unit_test(opening_survives_each_failing_allocation),
        cmocka_unit_test(the_kernels_to_run_follow_from_the_instruction_set),
        cmocka_unit_test(openblas_is_told_the_kernels_unless_the_user_chose),
        cmocka_unit_test(openblas_runs_the_kernels_of_this_processor),
        cmocka_unit_test(products_do_not_depend_on_what_openblas_takes_the_processor_for),
        cmocka_unit_test(other_kernels_are_the_users_choice_and_are_warned_about),
    };
    if (count == 3 && strcmp(arguments[1], "tell") == 0)
        return tell_blas_kernels(strcmp(arguments[2], "portable") == 0 ? EWC_ISA_PORTABLE : EWC_ISA_AUTO);
    self = arguments[0];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
