/* Texts of config.json: with a piece exchanged, refused, and what was read from them compared. */
#ifndef TESTS_SUPPORT_CONFIGS_H
#define TESTS_SUPPORT_CONFIGS_H

#include <stdbool.h>

#include "io/config.h"
#include "support/bare.h"

/* The text with the first occurrence of `from` replaced by `to`; a static buffer. */
const char *config_changed(const char *text, const char *from, const char *to);

/* The same in every field, of the layers that there are. */
bool config_same(const ewc_model_config *a, const ewc_model_config *b);

/* The changed text is refused: the status, "F: " and words of the message; the config is not touched. */
#define CHANGED_REFUSED(text, from, to, status, ...)                                                     \
    do {                                                                                                 \
        bare b_;                                                                                         \
        ewc_model_config c_ = {.layers = -7};                                                            \
        ewc_context *ctx_ = bare_open(&b_);                                                              \
        REFUSED(ctx_, ewci_config_parse(ctx_, "F", config_changed((text), (from), (to)), &c_), (status), \
                "F: ", __VA_ARGS__);                                                                     \
        assert_int_equal(c_.layers, -7);                                                                 \
        bare_close(&b_);                                                                                 \
    } while (0)

/* Reads the text at `user` and writes it back, for bare_starve. */
ewc_status config_parse_and_format(ewc_context *ctx, void *user);

#endif
