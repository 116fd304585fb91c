/* Documents from text files, plain and gzipped, and what is refused with its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "io/text.h"
#include "support/bare.h"
#include "support/files.h"

/* Appends one gzip member to `out`; returns its bytes. */
static size_t deflate_member(const char *text, size_t bytes, unsigned char *out, size_t room)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)(uintptr_t)text;
    z.avail_in = (uInt)bytes;
    z.next_out = out;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t written = room - z.avail_out;
    deflateEnd(&z);
    return written;
}

static const char *gzip(const char *name, const char *text)
{
    unsigned char out[4096];
    return files_write(name, out, deflate_member(text, strlen(text), out, sizeof out));
}

/* Reads all documents, joined by '|'; the status of the call that failed, or EWC_OK. */
enum { JOINED = 4096 };
static ewc_status read_all(ewc_context *ctx, const char *path, size_t limit, char *joined)
{
    ewc_text *text;
    const char *document = NULL;
    size_t bytes;
    joined[0] = '\0';
    ewc_status status = ewci_text_open(ctx, path, limit, &text);
    if (status != EWC_OK) return status;
    do {
        status = ewci_text_next(text, &document, &bytes);
        if (status != EWC_OK || document == NULL) break;
        assert_int_equal(strlen(document), bytes);
        files_append(joined, JOINED, document);
        files_append(joined, JOINED, "|");
    } while (strlen(joined) < 3000);
    if (status == EWC_OK) { /* the end stays the end */
        assert_int_equal(ewci_text_next(text, &document, &bytes), EWC_OK);
        assert_null(document);
    }
    ewci_text_close(text);
    return status;
}

#define READS(path, expected)                                                                                 \
    do {                                                                                                      \
        bare b_;                                                                                              \
        char joined_[JOINED];                                                                                 \
        ewc_context *ctx_ = bare_open(&b_);                                                                   \
        if (read_all(ctx_, (path), EWCI_TEXT_LIMIT, joined_) != EWC_OK) fail_msg("%s", ewc_last_error(ctx_)); \
        assert_string_equal(joined_, (expected));                                                             \
        bare_close(&b_);                                                                                      \
    } while (0)

#define TEXT_REFUSED(path, limit, status, ...)                                          \
    do {                                                                                \
        bare b_;                                                                        \
        char joined_[JOINED];                                                           \
        ewc_context *ctx_ = bare_open(&b_);                                             \
        REFUSED(ctx_, read_all(ctx_, (path), (limit), joined_), (status), __VA_ARGS__); \
        bare_close(&b_);                                                                \
    } while (0)

static void a_text_file_is_one_document(void **state)
{
    (void)state;
    READS(files_text("a.txt", "one\r\ntwo\n\xc4\x97\n"), "one\r\ntwo\n\xc4\x97\n|");
    READS(files_text("b.txt", "\xef\xbb\xbfone"), "one|");
    READS(files_text("c.txt", ""), "");
    READS(files_text("d.txt", "\xef\xbb\xbf"), "");
}

static void every_line_of_jsonl_is_a_document(void **state)
{
    (void)state;
    READS(files_text(
              "a.jsonl",
              "{\"text\": \"one\"}\n\n  \t\n{\"id\": 3, \"text\": \"t\\u0117o\\n\", \"more\": {\"text\": \"no\"}}"),
          "one|t\xc4\x97o\n|");
    READS(files_text("b.jsonl", "\xef\xbb\xbf{\"text\": \"one\"}\r\n{\"text\": \"\"}\r\n\r\n"), "one||");
    READS(files_text("c.jsonl", ""), "");
    READS(files_text("d.jsonl", "\n\n"), "");
}

static void gzip_is_read_as_if_it_were_plain(void **state)
{
    (void)state;
    unsigned char two[4096];
    size_t used = deflate_member("{\"text\": \"one\"}\n{\"te", 20, two, sizeof two);
    used += deflate_member("", 0, two + used, sizeof two - used);
    used += deflate_member("xt\": \"two\"}\n", 12, two + used, sizeof two - used);
    READS(gzip("a.txt.gz", "one\n"), "one\n|");
    READS(gzip("b.txt.gz", ""), "");
    READS(gzip("c.jsonl.gz", "{\"text\": \"one\"}\n"), "one|");
    READS(files_write("d.jsonl.gz", two, used), "one|two|");
}

/* Documents longer than the buffers on the way, at lengths around their sizes. */
static void long_documents_come_whole(void **state)
{
    (void)state;
    static const size_t lengths[] = {65519, 65520, 65535, 65536, 65537, 200000, 1000003};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (int zipped = 0; zipped < 2; zipped++) {
            bare b;
            ewc_text *text;
            const char *document;
            size_t bytes, room = lengths[i] + 64;
            ewc_context *ctx = bare_open(&b);
            char *line = malloc(room);
            unsigned char *packed = malloc(room);
            files_set(line, room, "{\"text\":\"");
            for (size_t k = 0; k < lengths[i]; k++) line[9 + k] = (char)('a' + k * k % 23);
            files_set(line + 9 + lengths[i], room - 9 - lengths[i], "\"}\n{\"text\":\"last\"}");
            size_t length = strlen(line);
            size_t small = zipped ? deflate_member(line, length, packed, room) : 0;
            const char *path = zipped ? files_write("l.jsonl.gz", packed, small) : files_write("l.jsonl", line, length);
            assert_int_equal(ewci_text_open(ctx, path, EWCI_TEXT_LIMIT, &text), EWC_OK);
            assert_int_equal(ewci_text_next(text, &document, &bytes), EWC_OK);
            assert_int_equal(bytes, lengths[i]);
            assert_memory_equal(document, line + 9, bytes);
            assert_int_equal(ewci_text_next(text, &document, &bytes), EWC_OK);
            assert_string_equal(document, "last");
            ewci_text_close(text);
            free(line);
            free(packed);
            bare_close(&b);
        }
    }
}

static void refuses_other_names(void **state)
{
    (void)state;
    TEXT_REFUSED(files_text("a.json", "{}"), 100, EWC_ERROR_UNSUPPORTED, "a.json", ".jsonl.gz");
    TEXT_REFUSED(files_text("a.gz", "{}"), 100, EWC_ERROR_UNSUPPORTED, "a.gz");
    TEXT_REFUSED(files_path("none.txt"), 100, EWC_ERROR_IO, "none.txt", "No such file");
}

static void refuses_bad_utf8_with_its_place(void **state)
{
    (void)state;
    TEXT_REFUSED(files_text("a.txt", "abc\xff"), 100, EWC_ERROR_FORMAT, "a.txt: byte 4", "0xff");
    TEXT_REFUSED(files_text("b.txt", "abc\xc4"), 100, EWC_ERROR_FORMAT, "b.txt: byte 4");
    TEXT_REFUSED(files_text("a.jsonl", "{\"text\":\"a\"}\n\n{\"text\":\"\xe9\"}\n"), 100, EWC_ERROR_FORMAT,
                 "a.jsonl: line 3: byte 24");
    TEXT_REFUSED(gzip("a.jsonl.gz", "{\"text\":\"a\"}\n{\"text\":\"\xe9\"}\n"), 100, EWC_ERROR_FORMAT,
                 "a.jsonl.gz: line 2: byte 23");
}

static void refuses_nul(void **state)
{
    (void)state;
    TEXT_REFUSED(files_write("a.txt", "ab\0c", 4), 100, EWC_ERROR_FORMAT, "a.txt: byte 3", "NUL");
    TEXT_REFUSED(files_write("a.jsonl", "{\"text\":\"a\0\"}\n", 14), 100, EWC_ERROR_FORMAT, "a.jsonl: line 1: byte 11",
                 "NUL");
    TEXT_REFUSED(files_text("b.jsonl", "{\"text\":\"a\\u0000b\"}\n"), 100, EWC_ERROR_FORMAT, "b.jsonl: line 1", "NUL");
}

static void refuses_lines_without_text(void **state)
{
    (void)state;
    TEXT_REFUSED(files_text("a.jsonl", "{\"text\":\"a\"}\n{\"txt\":\"b\"}\n"), 100, EWC_ERROR_FORMAT,
                 "a.jsonl: line 2: text", "nothing");
    TEXT_REFUSED(files_text("b.jsonl", "{\"text\":5}\n"), 100, EWC_ERROR_FORMAT, "b.jsonl: line 1: text", "found 5");
    TEXT_REFUSED(files_text("c.jsonl", "{\"text\":null}\n"), 100, EWC_ERROR_FORMAT, "c.jsonl: line 1: text", "null");
    TEXT_REFUSED(files_text("d.jsonl", "[\"text\"]\n"), 100, EWC_ERROR_FORMAT, "d.jsonl: line 1", "object");
    TEXT_REFUSED(files_text("e.jsonl", "{\"text\":\"a\"} x\n"), 100, EWC_ERROR_FORMAT, "e.jsonl: line 1", "column 14",
                 "'x'");
    TEXT_REFUSED(files_text("f.jsonl", "{\"text\":\n\"a\"}\n"), 100, EWC_ERROR_FORMAT, "f.jsonl: line 1", "the end");
    TEXT_REFUSED(files_text("g.jsonl", "{\"text\":\"a\",\"text\":\"b\"}\n"), 100, EWC_ERROR_FORMAT, "g.jsonl: line 1",
                 "twice");
}

static void refuses_more_than_the_limit(void **state)
{
    (void)state;
    char many[20001];
    memset(many, ' ', sizeof many - 1);
    many[sizeof many - 1] = '\0';
    READS(files_text("fits.txt", "0123456789"), "0123456789|");
    TEXT_REFUSED(files_text("a.txt", "0123456789x"), 10, EWC_ERROR_FORMAT, "a.txt: document 1", "at most 10 bytes");
    TEXT_REFUSED(files_text("a.jsonl", "{\"text\":\"a\"}\n{\"text\":\"aaaaaaaaaaaa\"}\n"), 20, EWC_ERROR_FORMAT,
                 "a.jsonl: line 2", "at most 20 bytes");
    TEXT_REFUSED(gzip("bomb.txt.gz", many), 10000, EWC_ERROR_FORMAT, "bomb.txt.gz", "at most 10000 bytes");
}

static void refuses_gzip_that_is_cut_short_or_corrupt(void **state)
{
    (void)state;
    size_t count;
    int accepted = 0;
    char *whole = files_read(gzip("w.txt.gz", "a text long enough to be squeezed, squeezed, squeezed\n"), &count);
    for (size_t n = 0; n < count; n++)
        TEXT_REFUSED(files_write("short.txt.gz", whole, n), 100, EWC_ERROR_FORMAT, "short.txt.gz", "cut short");
    for (size_t n = 10; n < count; n++) { /* every change behind the header shows, at the latest in the checksum ... */
        bare b;
        char kept = whole[n], joined[JOINED];
        ewc_context *ctx = bare_open(&b);
        whole[n] = (char)(kept ^ 0x40);
        ewc_status status = read_all(ctx, files_write("bad.txt.gz", whole, count), 1000, joined);
        if (status == EWC_OK) /* ... or is in a bit that pads the last byte of the data */
            assert_string_equal(joined, "a text long enough to be squeezed, squeezed, squeezed\n|");
        else
            REFUSED(ctx, status, EWC_ERROR_FORMAT, "bad.txt.gz");
        accepted += status == EWC_OK;
        bare_close(&b);
        whole[n] = kept;
    }
    assert_true(accepted <= 1);
    free(whole);
    TEXT_REFUSED(files_text("plain.txt.gz", "not compressed"), 100, EWC_ERROR_FORMAT, "plain.txt.gz", "gzip");
    unsigned char out[200];
    size_t used = deflate_member("x", 1, out, sizeof out);
    for (size_t i = 0; i < 7; i++) out[used + i] = (unsigned char)"rubbish"[i];
    TEXT_REFUSED(files_write("more.txt.gz", out, used + 7), 100, EWC_ERROR_FORMAT, "more.txt.gz", "gzip");
}

static ewc_status read_whole_file(ewc_context *ctx, void *path)
{
    char joined[JOINED];
    return read_all(ctx, path, EWCI_TEXT_LIMIT, joined);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    char path[4200];
    files_set(path, sizeof path, gzip("a.jsonl.gz", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n"));
    assert_in_range(bare_starve(read_whole_file, path), 5, 50);
    files_set(path, sizeof path, files_text("a.txt", "one"));
    assert_in_range(bare_starve(read_whole_file, path), 4, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILES_TEST(a_text_file_is_one_document),
        FILES_TEST(every_line_of_jsonl_is_a_document),
        FILES_TEST(gzip_is_read_as_if_it_were_plain),
        FILES_TEST(long_documents_come_whole),
        FILES_TEST(refuses_other_names),
        FILES_TEST(refuses_bad_utf8_with_its_place),
        FILES_TEST(refuses_nul),
        FILES_TEST(refuses_lines_without_text),
        FILES_TEST(refuses_more_than_the_limit),
        FILES_TEST(refuses_gzip_that_is_cut_short_or_corrupt),
        FILES_TEST(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
