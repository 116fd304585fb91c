/* See utf8.h. */
#include "io/utf8.h"

#include <stdint.h>
#include <string.h>

/* Bytes of the sequence that starts at text, or 0. The second byte's range excludes overlong forms, surrogates and
 * numbers above U+10FFFF (RFC 3629, section 4). */
static size_t sequence(const unsigned char *text, size_t bytes)
{
    unsigned char first = text[0], low = 0x80, high = 0xbf;
    size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (length < 2) return length;
    if (length > bytes) return 0;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    if (text[1] < low || text[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if (text[i] < 0x80 || text[i] > 0xbf) return 0;
    return length;
}

size_t ewci_utf8_valid(const char *text, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        uint64_t eight;
        if (bytes - at >= sizeof eight) { /* most text is ASCII */
            memcpy(&eight, text + at, sizeof eight);
            if ((eight & 0x8080808080808080ULL) == 0) {
                at += sizeof eight;
                continue;
            }
        }
        size_t length = sequence((const unsigned char *)text + at, bytes - at);
        if (length == 0) return at;
        at += length;
    }
    return at;
}
