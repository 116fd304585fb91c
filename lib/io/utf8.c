/* See utf8.h. */
#include "io/utf8.h"

/* Length of the sequence that starts with this byte (0: none does) and the range of its second byte. */
static size_t lead(unsigned char c, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (c < 0x80) return 1;
    if (c >= 0xc2 && c <= 0xdf) return 2;
    if (c == 0xe0) *low = 0xa0;
    if (c == 0xed) *high = 0x9f;
    if (c >= 0xe0 && c <= 0xef) return 3;
    if (c == 0xf0) *low = 0x90;
    if (c == 0xf4) *high = 0x8f;
    return c >= 0xf0 && c <= 0xf4 ? 4 : 0;
}

bool ewci_utf8_valid(const char *text, size_t bytes, size_t *where)
{
    const unsigned char *s = (const unsigned char *)text;
    for (size_t i = 0; i < bytes;) {
        unsigned char low, high;
        size_t length = lead(s[i], &low, &high);
        *where = i;
        if (length == 0 || length > bytes - i) return false;
        for (size_t k = 1; k < length; k++) {
            if (s[i + k] < low || s[i + k] > high) return false;
            low = 0x80;
            high = 0xbf;
        }
        i += length;
    }
    return true;
}
