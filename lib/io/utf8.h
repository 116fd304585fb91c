/* UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef EWCI_IO_UTF8_H
#define EWCI_IO_UTF8_H

#include <stddef.h>

/* Length of the longest valid prefix: `bytes` when all is valid. */
size_t ewci_utf8_valid(const char *text, size_t bytes);

#endif
