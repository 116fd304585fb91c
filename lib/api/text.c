/* ewc_text_*: argument checks in front of lib/io/text.c. */
#include "io/text.h"

#include "api/require.h"
#include "core/sized.h"

ewc_status ewc_text_open(ewc_context *context, const char *path, ewc_text **text)
{
    EWCI_REQUIRE(NULL, context);
    EWCI_REQUIRE(context, path);
    EWCI_REQUIRE(context, text);
    return ewci_text_open(context, path, EWCI_TEXT_LIMIT, text);
}

ewc_status ewc_text_next(ewc_text *text, const char **document, size_t *bytes)
{
    EWCI_REQUIRE(NULL, text);
    EWCI_REQUIRE(ewci_text_context(text), document);
    EWCI_REQUIRE(ewci_text_context(text), bytes);
    return ewci_text_next(text, document, bytes);
}

ewc_status ewc_text_next_choices(ewc_text *text, ewc_choice_line *line)
{
    EWCI_REQUIRE(NULL, text);
    ewc_context *ctx = ewci_text_context(text);
    ewc_choice_line found = {.struct_size = sizeof found};
    EWCI_TRY(ewci_sized_check(ctx, "line", line));
    EWCI_TRY(ewci_text_next_choices(text, &found));
    return ewci_sized_give(ctx, "line", line, &found, sizeof found);
}

void ewc_text_close(ewc_text *text)
{
    ewci_text_close(text);
}
