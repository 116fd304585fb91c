/* Files and directories appear whole or not at all; what was there survives every failure. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/memory.h"
#include "core/status.h"
#include "io/file.h"
#include "support/bare.h"
#include "support/files.h"

#define HAS(path, text)                            \
    do {                                           \
        char *content_ = files_read((path), NULL); \
        assert_string_equal(content_, (text));     \
        free(content_);                            \
    } while (0)

static void writes_and_reads(void **state)
{
    (void)state;
    bare b;
    char *text;
    size_t bytes;
    ewci_map map;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(ewci_file_write(ctx, files_path("f"), "hello", 5, false), EWC_OK);
    assert_int_equal(ewci_file_read(ctx, files_path("f"), 5, &text, &bytes), EWC_OK);
    assert_string_equal(text, "hello");
    assert_int_equal(bytes, 5);
    ewci_free(ctx, text);
    REFUSED(ctx, ewci_file_read(ctx, files_path("f"), 4, &text, &bytes), EWC_ERROR_FORMAT, "/f:", "at most 4",
            "found 5");
    assert_int_equal(ewci_map_open(ctx, files_path("f"), &map), EWC_OK);
    assert_int_equal(map.size, 5);
    assert_memory_equal(map.data, "hello", 5);
    ewci_map_close(&map);
    assert_int_equal(ewci_map_open(ctx, files_text("empty", ""), &map), EWC_OK);
    assert_true(map.size == 0 && map.data == NULL);
    ewci_map_close(&map);
    bare_close(&b);
}

static void checksums_are_those_of_zlib(void **state)
{
    (void)state;
    bare b;
    uint32_t crc;
    uint64_t bytes;
    ewci_writer writer;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(ewci_writer_begin(ctx, files_path("f"), false, &writer), EWC_OK);
    assert_int_equal(ewci_writer_write(&writer, "12345", 5), EWC_OK);
    assert_int_equal(ewci_writer_write(&writer, "6789", 4), EWC_OK);
    assert_int_equal(writer.crc, 0xcbf43926); /* the check value of CRC-32 */
    assert_int_equal(writer.bytes, 9);
    assert_int_equal(ewci_writer_commit(&writer), EWC_OK);
    assert_int_equal(ewci_file_crc(ctx, files_path("f"), &crc, &bytes), EWC_OK);
    assert_int_equal(crc, 0xcbf43926);
    assert_int_equal(bytes, 9);
    char *large = calloc(1, 3 << 16);
    assert_int_equal(ewci_file_crc(ctx, files_write("z", large, 3 << 16), &crc, &bytes), EWC_OK);
    assert_int_equal(bytes, 3 << 16);
    free(large);
    bare_close(&b);
}

static void a_file_is_not_there_before_commit(void **state)
{
    (void)state;
    bare b;
    ewci_writer writer;
    ewc_context *ctx = bare_open(&b);
    files_text("f", "old");
    assert_int_equal(ewci_writer_begin(ctx, files_path("f"), true, &writer), EWC_OK);
    assert_int_equal(ewci_writer_write(&writer, "new", 3), EWC_OK);
    HAS(files_path("f"), "old");
    ewci_writer_abandon(&writer);
    ewci_writer_abandon(&writer);
    HAS(files_path("f"), "old");
    assert_int_equal(files_count(files_directory()), 1);
    bare_close(&b);
}

static void does_not_overwrite_what_appears_meanwhile(void **state)
{
    (void)state;
    bare b;
    ewci_writer writer;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(ewci_writer_begin(ctx, files_path("f"), false, &writer), EWC_OK);
    files_text("f", "somebody else's");
    REFUSED(ctx, ewci_writer_commit(&writer), EWC_ERROR_EXISTS, "/f exists");
    HAS(files_path("f"), "somebody else's");
    assert_int_equal(files_count(files_directory()), 1);
    bare_close(&b);
}

static void two_writers_of_one_file_do_not_disturb_each_other(void **state)
{
    (void)state;
    bare b;
    ewci_writer one, two;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(ewci_writer_begin(ctx, files_path("f"), true, &one), EWC_OK);
    assert_int_equal(ewci_writer_begin(ctx, files_path("f"), true, &two), EWC_OK);
    assert_int_equal(ewci_writer_write(&one, "one", 3), EWC_OK);
    assert_int_equal(ewci_writer_write(&two, "two!", 4), EWC_OK);
    assert_int_equal(ewci_writer_commit(&one), EWC_OK);
    HAS(files_path("f"), "one");
    assert_int_equal(ewci_writer_commit(&two), EWC_OK);
    HAS(files_path("f"), "two!");
    assert_int_equal(files_count(files_directory()), 1);
    bare_close(&b);
}

static void refuses_places_that_are_no_files(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    files_make_directory("d");
    REFUSED(ctx, ewci_file_write(ctx, files_path("d"), "x", 1, true), EWC_ERROR_IO, "/d:", "a directory");
    /* Not one of the machine's own devices: a library that is broken here would replace it when the tests run as root. */
    assert_int_equal(mkfifo(files_path("pipe"), 0600), 0);
    REFUSED(ctx, ewci_file_write(ctx, files_path("pipe"), "x", 1, true), EWC_ERROR_IO, "/pipe:", "device");
    REFUSED(ctx, ewci_file_write(ctx, files_path("no/f"), "x", 1, true), EWC_ERROR_IO, "no/f", "cannot create",
            "directory exist");
    files_text("file", "");
    REFUSED(ctx, ewci_file_write(ctx, files_path("file/f"), "x", 1, true), EWC_ERROR_IO, "file/f", "cannot create");
    struct stat info;
    assert_int_equal(stat(files_path("pipe"), &info), 0);
    assert_true(S_ISFIFO(info.st_mode));
    bare_close(&b);
}

static void follows_a_symbolic_link(void **state)
{
    (void)state;
    bare b;
    struct stat info;
    ewc_context *ctx = bare_open(&b);
    files_make_directory("elsewhere");
    files_text("elsewhere/f", "old");
    assert_int_equal(symlink("elsewhere/f", files_path("link")), 0);
    assert_int_equal(ewci_file_write(ctx, files_path("link"), "new", 3, true), EWC_OK);
    assert_int_equal(lstat(files_path("link"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    HAS(files_path("elsewhere/f"), "new");
    REFUSED(ctx, ewci_file_write(ctx, files_path("link"), "x", 1, false), EWC_ERROR_EXISTS, "link exists");
    assert_int_equal(symlink("nowhere", files_path("dangling")), 0);
    REFUSED(ctx, ewci_file_write(ctx, files_path("dangling"), "x", 1, false), EWC_ERROR_EXISTS, "dangling exists");
    bare_close(&b);
}

/* A limit on file sizes stands for a full disk: the write ends short, then fails. */
static int write_beyond_limit(const char *path)
{
    bare b;
    ewci_writer writer;
    struct rlimit limit = {70000, 70000};
    ewc_context *ctx = bare_open(&b);
    static const char data[100000];
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0 || ewci_writer_begin(ctx, path, true, &writer) != EWC_OK) return 1;
    ewc_status status = ewci_writer_write(&writer, data, 100000);
    ewci_writer_abandon(&writer);
    if (status != EWC_ERROR_IO || b.live != 0) return 2;
    return strstr(ewc_last_error(ctx), "cannot write") != NULL && strstr(ewc_last_error(ctx), path) != NULL ? 0 : 3;
}

static void a_full_disk_leaves_the_old_file(void **state)
{
    (void)state;
    int status = -1;
    files_text("f", "old");
    pid_t child = fork();
    if (child == 0) _exit(write_beyond_limit(files_path("f")));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    HAS(files_path("f"), "old");
    assert_int_equal(files_count(files_directory()), 1);
}

/* Root may write everywhere, so it becomes somebody else; the paths are then relative, as those above may be closed
 * to him. */
static int write_into_closed(void)
{
    bare b;
    ewc_context *ctx = bare_open(&b);
    if (geteuid() == 0 && (setegid(65534) != 0 || seteuid(65534) != 0)) return 77;
    ewc_status status = ewci_file_write(ctx, "closed/f", "x", 1, true);
    bool named = strstr(ewc_last_error(ctx), "closed/f: cannot create") != NULL &&
                 strstr(ewc_last_error(ctx), "permissions") != NULL;
    return status == EWC_ERROR_IO && named && b.live == 0 ? 0 : 1;
}

static void a_directory_that_cannot_be_written_is_named(void **state)
{
    (void)state;
    int status = -1;
    files_make_directory("closed");
    files_text("closed/f", "old");
    assert_int_equal(chmod(files_path("closed"), 0555), 0);
    assert_int_equal(chmod(files_directory(), 0755), 0);
    pid_t child = fork();
    if (child == 0) _exit(chdir(files_directory()) == 0 ? write_into_closed() : 2);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(chmod(files_path("closed"), 0777), 0);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) skip();
    assert_int_equal(WEXITSTATUS(status), 0);
    HAS(files_path("closed/f"), "old");
}

static void copies_a_file_if_it_is_there(void **state)
{
    (void)state;
    bare b;
    bool copied = true;
    ewc_context *ctx = bare_open(&b);
    assert_int_equal(ewci_file_copy(ctx, files_path("a"), files_path("b"), &copied), EWC_OK);
    assert_false(copied);
    char *large = malloc(200001);
    memset(large, 'x', 200000);
    large[200000] = '\0';
    files_text("a", large);
    assert_int_equal(ewci_file_copy(ctx, files_path("a"), files_path("b"), &copied), EWC_OK);
    assert_true(copied);
    HAS(files_path("b"), large);
    free(large);
    bare_close(&b);
}

static void plain_names_stay_in_their_directory(void **state)
{
    (void)state;
    static const char *const bad[] = {"", ".", "..", "/etc/passwd", "../x", "a/b", "a/"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(ewci_name_is_plain(bad[i]));
    assert_true(ewci_name_is_plain("model-00001-of-00002.safetensors"));
    assert_true(ewci_name_is_plain("..."));
}

/* Makes a stage with a file a = "new a" and, if wanted, a file last = "new last". */
static char *make_stage(ewc_context *ctx, const char *target, bool last)
{
    char *stage, *path;
    assert_int_equal(ewci_stage_begin(ctx, target, &stage), EWC_OK);
    assert_int_equal(ewci_path_join(ctx, stage, "a", &path), EWC_OK);
    assert_int_equal(ewci_file_write(ctx, path, "new a", 5, false), EWC_OK);
    ewci_free(ctx, path);
    assert_int_equal(ewci_path_join(ctx, stage, "last", &path), EWC_OK);
    if (last) assert_int_equal(ewci_file_write(ctx, path, "new last", 8, false), EWC_OK);
    ewci_free(ctx, path);
    return stage;
}

static void a_stage_becomes_a_directory(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    char *stage = make_stage(ctx, files_path("d/"), false);
    assert_false(ewci_path_exists(files_path("d")));
    assert_int_equal(ewci_stage_replace(ctx, stage, files_path("d/")), EWC_OK);
    HAS(files_path("d/a"), "new a");
    assert_int_equal(files_count(files_directory()), 1);
    ewci_free(ctx, stage);
    bare_close(&b);
}

static void a_stage_replaces_a_directory_whole(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    files_make_directory("d");
    files_text("d/old", "old");
    char *stage = make_stage(ctx, files_path("d"), true);
    assert_int_equal(ewci_stage_replace(ctx, stage, files_path("d")), EWC_OK);
    assert_int_equal(files_count(files_path("d")), 2);
    HAS(files_path("d/last"), "new last");
    assert_int_equal(files_count(files_directory()), 1);
    ewci_free(ctx, stage);
    bare_close(&b);
}

static void a_stage_replaces_what_a_link_points_to(void **state)
{
    (void)state;
    bare b;
    struct stat info;
    ewc_context *ctx = bare_open(&b);
    files_make_directory("real");
    files_make_directory("real/d");
    files_text("real/d/old", "old");
    assert_int_equal(symlink("real/d", files_path("link")), 0);
    char *stage = make_stage(ctx, files_path("link/"), false);
    assert_int_equal(ewci_stage_replace(ctx, stage, files_path("link/")), EWC_OK);
    assert_int_equal(lstat(files_path("link"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    HAS(files_path("real/d/a"), "new a");
    assert_int_equal(files_count(files_path("real")), 1);
    ewci_free(ctx, stage);
    bare_close(&b);
}

static void a_stage_replaces_the_working_directory(void **state)
{
    (void)state;
    bare b;
    char before[4096];
    ewc_context *ctx = bare_open(&b);
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(files_make_directory("d")), 0);
    files_text("d/old", "old");
    char *stage = make_stage(ctx, ".", false);
    assert_int_equal(ewci_stage_replace(ctx, stage, "."), EWC_OK);
    assert_int_equal(chdir(before), 0);
    HAS(files_path("d/a"), "new a");
    assert_int_equal(files_count(files_path("d")), 1);
    assert_int_equal(files_count(files_directory()), 1);
    ewci_free(ctx, stage);
    bare_close(&b);
}

static bool is_stale(const char *name)
{
    return strncmp(name, "stale", 5) == 0 || strcmp(name, "last") == 0;
}

static void a_stage_joins_a_directory(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    files_make_directory("d");
    files_make_directory("d/below");
    files_text("d/kept", "kept");
    files_text("d/a", "old a");
    files_text("d/last", "old last");
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "d/stale%d", i);
        files_text(name, "");
    }
    char *stage = make_stage(ctx, files_path("d"), true);
    assert_int_equal(ewci_stage_merge(ctx, stage, files_path("d"), "last", is_stale), EWC_OK);
    assert_int_equal(files_count(files_path("d")), 4);
    HAS(files_path("d/kept"), "kept");
    HAS(files_path("d/a"), "new a");
    HAS(files_path("d/last"), "new last");
    assert_int_equal(files_count(files_directory()), 1);
    ewci_free(ctx, stage);
    bare_close(&b);
}

/* A directory in the place of the first file makes the rename fail. */
static void a_failed_join_keeps_what_makes_the_old_files_count(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    files_make_directory("d");
    files_make_directory("d/a");
    files_text("d/last", "old last");
    files_text("d/stale", "needed by the old last");
    char *stage = make_stage(ctx, files_path("d"), true);
    REFUSED(ctx, ewci_stage_merge(ctx, stage, files_path("d"), "last", is_stale), EWC_ERROR_IO, "d/a",
            "put into place");
    HAS(files_path("d/last"), "old last");
    HAS(files_path("d/stale"), "needed by the old last");
    assert_int_equal(files_count(files_directory()), 1);
    ewci_free(ctx, stage);
    bare_close(&b);
}

/* What is stale may still count, so that it must not stay unnoticed: here it is a directory. */
static void a_stale_file_that_cannot_be_removed_is_named(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    files_make_directory("d");
    files_make_directory("d/stale");
    char *stage = make_stage(ctx, files_path("d"), false);
    REFUSED(ctx, ewci_stage_merge(ctx, stage, files_path("d"), NULL, is_stale), EWC_ERROR_IO, "d/stale", "remove");
    ewci_free(ctx, stage);
    bare_close(&b);
}

static void a_file_in_the_directorys_place_is_refused(void **state)
{
    (void)state;
    bare b;
    ewc_context *ctx = bare_open(&b);
    files_text("d", "a file");
    char *stage = make_stage(ctx, files_path("d"), false);
    REFUSED(ctx, ewci_stage_merge(ctx, stage, files_path("d"), NULL, NULL), EWC_ERROR_IO,
            "/d:", "expected a directory");
    ewci_free(ctx, stage);
    stage = make_stage(ctx, files_path("d"), false);
    REFUSED(ctx, ewci_stage_replace(ctx, stage, files_path("d")), EWC_ERROR_IO, "/d:", "expected a directory");
    ewci_free(ctx, stage);
    HAS(files_path("d"), "a file");
    assert_int_equal(files_count(files_directory()), 1);
    bare_close(&b);
}

static ewc_status write_merge_and_replace(ewc_context *ctx, void *user)
{
    char *stage = NULL, *path = NULL;
    ewc_status status = ewci_stage_begin(ctx, user, &stage);
    if (status != EWC_OK) return status;
    status = ewci_path_join(ctx, stage, "a", &path);
    if (status == EWC_OK) status = ewci_file_write(ctx, path, "x", 1, false);
    ewci_free(ctx, path);
    if (status == EWC_OK)
        status = ewci_stage_merge(ctx, stage, user, "a", is_stale);
    else
        ewci_stage_abandon(ctx, stage);
    ewci_free(ctx, stage);
    if (status != EWC_OK) return status;
    files_text("d/stale", "");
    status = ewci_stage_begin(ctx, user, &stage);
    if (status != EWC_OK) return status;
    status = ewci_stage_replace(ctx, stage, user);
    ewci_free(ctx, stage);
    return status;
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    char path[4200];
    files_make_directory("d");
    files_set(path, sizeof path, files_path("d"));
    assert_in_range(bare_starve(write_merge_and_replace, path), 10, 100);
    assert_int_equal(files_count(files_directory()), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILES_TEST(writes_and_reads),
        FILES_TEST(checksums_are_those_of_zlib),
        FILES_TEST(a_file_is_not_there_before_commit),
        FILES_TEST(does_not_overwrite_what_appears_meanwhile),
        FILES_TEST(two_writers_of_one_file_do_not_disturb_each_other),
        FILES_TEST(refuses_places_that_are_no_files),
        FILES_TEST(follows_a_symbolic_link),
        FILES_TEST(a_full_disk_leaves_the_old_file),
        FILES_TEST(a_directory_that_cannot_be_written_is_named),
        FILES_TEST(copies_a_file_if_it_is_there),
        FILES_TEST(plain_names_stay_in_their_directory),
        FILES_TEST(a_stage_becomes_a_directory),
        FILES_TEST(a_stage_replaces_a_directory_whole),
        FILES_TEST(a_stage_replaces_what_a_link_points_to),
        FILES_TEST(a_stage_replaces_the_working_directory),
        FILES_TEST(a_stage_joins_a_directory),
        FILES_TEST(a_failed_join_keeps_what_makes_the_old_files_count),
        FILES_TEST(a_stale_file_that_cannot_be_removed_is_named),
        FILES_TEST(a_file_in_the_directorys_place_is_refused),
        FILES_TEST(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
