/* See configs.h. */
#include "support/configs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"

const char *config_changed(const char *text, const char *from, const char *to)
{
    static char buffer[4096];
    const char *at = strstr(text, from);
    if (at == NULL) fail_msg("no %s", from);
    snprintf(buffer, sizeof buffer, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return buffer;
}

bool config_same(const ewc_model_config *x, const ewc_model_config *y)
{
    ewc_model_config a = *x, b = *y;
    memset(a.sliding + a.layers, 0, (size_t)(EWC_MAX_LAYERS - a.layers));
    memset(b.sliding + b.layers, 0, (size_t)(EWC_MAX_LAYERS - b.layers));
    return memcmp(&a, &b, sizeof a) == 0;
}

ewc_status config_parse_and_format(ewc_context *ctx, void *user)
{
    ewc_model_config c;
    char *text;
    ewc_status status = ewci_config_parse(ctx, "F", user, &c);
    if (status == EWC_OK) status = ewci_config_format(ctx, &c, user, EWC_F32, &text);
    if (status == EWC_OK) ewci_free(ctx, text);
    return status;
}
