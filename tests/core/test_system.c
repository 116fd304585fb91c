/* Available memory, from made-up /proc and /sys trees in the test's own directory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/system.h"

static char root[4096];

static void put(const char *path, const char *text)
{
    char full[8192];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        assert_true(mkdir(full, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* A tree of its own for each test, with 1000 KiB available to the machine. */
static int set_up(void **state)
{
    static int number;
    const char *directory = getenv("TMPDIR");
    (void)state;
    snprintf(root, sizeof root, "%s/system-%ld-%d", directory != NULL ? directory : "/tmp", (long)time(NULL), number++);
    if (mkdir(root, 0700) != 0) return -1;
    put("/proc/meminfo", "MemTotal:  5000 kB\nMemFree:  10 kB\nMemAvailable:  1000 kB\nBuffers: 1 kB\n");
    return 0;
}

static void without_control_groups_it_is_what_the_machine_has(void **state)
{
    (void)state;
    assert_int_equal(ewci_memory_available_under(root), 1024000);
    put("/proc/self/cgroup", "0::/\n");
    assert_int_equal(ewci_memory_available_under(root), 1024000);
    put("/sys/fs/cgroup/memory.max", "max\n");
    put("/sys/fs/cgroup/memory.current", "7\n");
    assert_int_equal(ewci_memory_available_under(root), 1024000);
}

static void a_container_has_what_its_limit_leaves(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/memory.max", "600000\n");
    put("/sys/fs/cgroup/memory.current", "400000\n");
    assert_int_equal(ewci_memory_available_under(root), 200000);
    put("/sys/fs/cgroup/memory.stat", "anon 300000\ninactive_file 50000\nactive_file 1000\n");
    assert_int_equal(ewci_memory_available_under(root), 250000);
    put("/sys/fs/cgroup/memory.current", "900000\n");
    put("/sys/fs/cgroup/memory.stat", "anon 900000\n");
    assert_int_equal(ewci_memory_available_under(root), 0);
}

static void limits_of_containing_groups_count(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/user/job\n");
    put("/sys/fs/cgroup/user/job/memory.max", "max\n");
    put("/sys/fs/cgroup/user/job/memory.current", "10\n");
    put("/sys/fs/cgroup/user/memory.max", "5000\n");
    put("/sys/fs/cgroup/user/memory.current", "2000\n");
    assert_int_equal(ewci_memory_available_under(root), 3000);
}

static void the_older_control_groups_count_too(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "5:pids:/a\n4:cpu,memory:/a\n0::/\n");
    put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "10\n");
    assert_int_equal(ewci_memory_available_under(root), 1024000);
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "8000\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "7000\n");
    put("/sys/fs/cgroup/memory/memory.stat", "cache 5\ntotal_inactive_file 100\n");
    assert_int_equal(ewci_memory_available_under(root), 1100);
}

static void a_system_that_says_nothing_gives_zero(void **state)
{
    (void)state;
    assert_int_equal(ewci_memory_available_under("/nowhere"), 0);
}

static void this_machine_has_memory(void **state)
{
    (void)state;
    assert_true(ewci_memory_total() > 0);
    assert_true(ewci_memory_available() > 0);
    assert_true(ewci_memory_available() <= ewci_memory_total());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(without_control_groups_it_is_what_the_machine_has, set_up),
        cmocka_unit_test_setup(a_container_has_what_its_limit_leaves, set_up),
        cmocka_unit_test_setup(limits_of_containing_groups_count, set_up),
        cmocka_unit_test_setup(the_older_control_groups_count_too, set_up),
        cmocka_unit_test(a_system_that_says_nothing_gives_zero),
        cmocka_unit_test(this_machine_has_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
