/* ewc_text_*: argument checks in front of lib/io/text.c. */
#include "io/text.h"

#include "api/require.h"

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

void ewc_text_close(ewc_text *text)
{
    ewci_text_close(text);
}
