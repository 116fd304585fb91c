/* Read before each file of the library by clang-tidy alone: tells it that ewci_fail returns the status it is given, which it
 * cannot see from another translation unit and without which it follows paths on which a failure looks like success. */
#include "core/status.h"
#define ewci_fail(ctx, status, ...) ((void)ewci_fail(ctx, status, __VA_ARGS__), (status))
#define ewci_fail_in(ctx, status, prefix) ((void)ewci_fail_in(ctx, status, prefix), (status))
