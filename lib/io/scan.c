/* The strict JSON scanner: RFC 8259 without recursion. See json.h for what it adds to cJSON. */
#include <stdio.h>
#include <string.h>

#include "core/status.h"
#include "io/json.h"
#include "io/utf8.h"

typedef struct scanner {
    ewc_context *ctx;
    const char *file, *text;
    size_t bytes, at;
    int64_t values;
    int depth;
    char open[EWCI_JSON_DEPTH]; /* '{' or '[' of every container around the present place */
} scanner;

/* Names the place: line and column where the text has several lines, else the column alone. */
static ewc_status refuse_at(scanner *s, size_t at, const char *expected, const char *found)
{
    size_t line = 1, start = 0;
    for (size_t i = 0; i < at; i++) {
        if (s->text[i] != '\n') continue;
        line++;
        start = i + 1;
    }
    if (memchr(s->text, '\n', s->bytes) == NULL)
        return ewci_fail(s->ctx, EWC_ERROR_FORMAT, "%s: not valid JSON: column %zu: expected %s, found %s", s->file,
                         at + 1, expected, found);
    return ewci_fail(s->ctx, EWC_ERROR_FORMAT, "%s: not valid JSON: line %zu, column %zu: expected %s, found %s",
                     s->file, line, at - start + 1, expected, found);
}

static ewc_status refuse(scanner *s, const char *expected)
{
    char found[32] = "the end";
    if (s->at < s->bytes) {
        unsigned char c = (unsigned char)s->text[s->at];
        if (c > 0x20 && c < 0x7f)
            snprintf(found, sizeof found, "'%c'", c);
        else
            snprintf(found, sizeof found, "byte 0x%02x", c);
    }
    return refuse_at(s, s->at, expected, found);
}

/* The present character, or NUL at the end: a NUL in the text fits nowhere either. */
static char look(const scanner *s)
{
    return s->at < s->bytes ? s->text[s->at] : '\0';
}

static void skip_space(scanner *s)
{
    while (s->at < s->bytes &&
           (s->text[s->at] == ' ' || s->text[s->at] == '\n' || s->text[s->at] == '\r' || s->text[s->at] == '\t'))
        s->at++;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Four hexadecimal digits at the present place. */
static ewc_status scan_hex(scanner *s, unsigned *code)
{
    unsigned sum = 0;
    for (int i = 0; i < 4; i++, s->at++) {
        char c = look(s);
        unsigned digit = is_digit(c)              ? (unsigned)(c - '0')
                         : (c >= 'a' && c <= 'f') ? (unsigned)(c - 'a' + 10)
                         : (c >= 'A' && c <= 'F') ? (unsigned)(c - 'A' + 10)
                                                  : 16U;
        if (digit > 15) return refuse(s, "a hexadecimal digit");
        sum = sum * 16 + digit;
    }
    *code = sum;
    return EWC_OK;
}

/* \u and four digits, the backslash and u read already: surrogates must come as a pair, and U+0000 would cut C strings short. */
static ewc_status scan_code(scanner *s)
{
    unsigned high = 0, low = 0;
    size_t start = s->at - 2;
    EWCI_TRY(scan_hex(s, &high));
    if (high == 0) return refuse_at(s, start, "text without NUL", "\\u0000");
    if (high < 0xd800 || high > 0xdfff) return EWC_OK;
    bool pair = high < 0xdc00 && s->bytes - s->at >= 2 && s->text[s->at] == '\\' && s->text[s->at + 1] == 'u';
    if (!pair) return refuse_at(s, start, "a pair of surrogates", "half of one");
    s->at += 2;
    EWCI_TRY(scan_hex(s, &low));
    if (low < 0xdc00 || low > 0xdfff) return refuse_at(s, start, "a pair of surrogates", "half of one");
    return EWC_OK;
}

static ewc_status scan_string(scanner *s)
{
    s->at++; /* the quote */
    for (;;) {
        while (s->at < s->bytes && s->text[s->at] != '"' && s->text[s->at] != '\\' &&
               (unsigned char)s->text[s->at] >= 0x20)
            s->at++;
        if (s->at == s->bytes || (unsigned char)s->text[s->at] < 0x20)
            return refuse(s, "the rest of a string (control characters are written as escapes)");
        if (s->text[s->at++] == '"') return EWC_OK;
        char escape = look(s);
        if (escape == '\0' || strchr("\"\\/bfnrtu", escape) == NULL) return refuse(s, "one of \"\\/bfnrtu after \\");
        s->at++;
        if (escape == 'u') EWCI_TRY(scan_code(s));
    }
}

static ewc_status scan_digits(scanner *s)
{
    if (!is_digit(look(s))) return refuse(s, "a digit");
    while (is_digit(look(s))) s->at++;
    return EWC_OK;
}

static ewc_status scan_number(scanner *s)
{
    if (look(s) == '-') s->at++;
    if (look(s) == '0')
        s->at++;
    else
        EWCI_TRY(scan_digits(s));
    if (look(s) == '.') {
        s->at++;
        EWCI_TRY(scan_digits(s));
    }
    if (look(s) == 'e' || look(s) == 'E') {
        s->at++;
        if (look(s) == '+' || look(s) == '-') s->at++;
        EWCI_TRY(scan_digits(s));
    }
    return EWC_OK;
}

static ewc_status scan_word(scanner *s, const char *word)
{
    for (; *word != '\0'; word++, s->at++)
        if (look(s) != *word) return refuse(s, "true, false or null");
    return EWC_OK;
}

/* A value that is not a container. */
static ewc_status scan_scalar(scanner *s)
{
    char c = look(s);
    if (c == '"') return scan_string(s);
    if (c == '-' || is_digit(c)) return scan_number(s);
    if (c == 't') return scan_word(s, "true");
    if (c == 'f') return scan_word(s, "false");
    if (c == 'n') return scan_word(s, "null");
    return refuse(s, "a value");
}

/* "name" : */
static ewc_status scan_name(scanner *s)
{
    skip_space(s);
    if (look(s) != '"') return refuse(s, "a name in quotes");
    EWCI_TRY(scan_string(s));
    skip_space(s);
    if (look(s) != ':') return refuse(s, "':'");
    s->at++;
    return EWC_OK;
}

/* Enters a container; *empty when it closes at once, otherwise the place is before its first value. */
static ewc_status enter(scanner *s, char open, bool *empty)
{
    if (s->depth == EWCI_JSON_DEPTH) return refuse(s, "at most 64 levels of nesting");
    s->open[s->depth++] = open;
    s->at++;
    skip_space(s);
    *empty = look(s) == (open == '{' ? '}' : ']');
    if (*empty) return EWC_OK;
    return open == '{' ? scan_name(s) : EWC_OK;
}

/* After a value: closes what ends here. *more when another value follows. */
static ewc_status leave(scanner *s, bool *more)
{
    for (; s->depth > 0; s->depth--) {
        bool object = s->open[s->depth - 1] == '{';
        skip_space(s);
        if (look(s) == ',') {
            s->at++;
            *more = true;
            return object ? scan_name(s) : EWC_OK;
        }
        if (look(s) != (object ? '}' : ']')) return refuse(s, object ? "',' or '}'" : "',' or ']'");
        s->at++;
    }
    *more = false;
    return EWC_OK;
}

ewc_status ewci_json_scan(ewc_context *ctx, const char *file, const char *text, size_t bytes)
{
    scanner s = {.ctx = ctx, .file = file, .text = text, .bytes = bytes};
    bool more = true;
    size_t valid = ewci_utf8_valid(text, bytes);
    if (valid < bytes) {
        s.at = valid;
        return refuse(&s, "UTF-8");
    }
    while (more) {
        bool empty = true;
        skip_space(&s);
        if (++s.values > EWCI_JSON_VALUES) return refuse(&s, "at most 8388608 values");
        char c = look(&s);
        if (c != '{' && c != '[') {
            EWCI_TRY(scan_scalar(&s));
        } else {
            EWCI_TRY(enter(&s, c, &empty));
            if (!empty) continue;
        }
        EWCI_TRY(leave(&s, &more));
    }
    skip_space(&s);
    return s.at == bytes ? EWC_OK : refuse(&s, "the end");
}
