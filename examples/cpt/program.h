/* What the commands share: exit codes, the library's context, error text, interruption. */
#ifndef CPT_PROGRAM_H
#define CPT_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "libewc.h"
#include "options.h"

/* Exit codes, documented in --help and the README. */
enum {
    CPT_OK = 0,
    CPT_OTHER = 1,      /* no memory, device, anything else */
    CPT_USAGE = 2,      /* an option or argument is wrong */
    CPT_INPUT = 3,      /* a file is missing, malformed, does not fit, or exists already */
    CPT_NUMERIC = 4,    /* a NaN or infinity appeared */
    CPT_INTERRUPTED = 5 /* SIGINT or SIGTERM; training state was saved */
};

/* Each command: argv after the command's name; returns an exit code. */
int command_tokenize(int argc, char **argv);
int command_init(int argc, char **argv);
int command_plan(int argc, char **argv);
int command_fisher(int argc, char **argv);
int command_train(int argc, char **argv);
int command_eval(int argc, char **argv);

/* The exit code of a parse that did not end in PARSE_OK. */
int program_parse_exit(parse_result result);

/* Values of --products, in the order of ewc_products, and its line in a command's table. */
extern const char *const program_products[];
#define PROGRAM_PRODUCTS(target)                                                                                      \
    {                                                                                                                 \
        "products", OPTION_CHOICE, target, NULL, "what operands of matrix products are rounded to", program_products, \
            0, false, false                                                                                           \
    }

/* Opens the library with `threads` (0: all processors) and products as in ewc_products; warnings go to stderr, SIGINT and SIGTERM are turned into
 * EWC_ERROR_CANCELLED of the call in progress. On failure prints why and returns an exit code. */
int program_open(const char *command, int64_t threads, int products, ewc_context **context);

/* Prints the last error of the context (or `detail`, if not NULL) and returns the exit code for the status. */
int program_fail(const char *command, const ewc_context *context, ewc_status status);

/* Prints "ewc-cpt COMMAND: " and the text to stderr and returns `code`. */
int program_error(const char *command, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

bool program_interrupted(void);

/* True if something of that name exists. */
bool path_exists(const char *path);
/* True if it is a directory with nothing in it. */
bool path_is_empty_directory(const char *path);
/* directory/name in a new string; NULL when there is no memory. */
char *path_join(const char *directory, const char *name);
/* Both exist and are the same file or directory. */
bool path_same(const char *a, const char *b);
/* Makes a directory and its parents; false with errno set on failure. */
bool path_make_directories(const char *path);
/* Copies a file into a directory under its own name; false with errno set on failure. */
bool path_copy_into(const char *file, const char *directory);

#endif
