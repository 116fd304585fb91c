/* Command-line options: a table per command, one parser, help made from the same table. */
#ifndef CPT_OPTIONS_H
#define CPT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Values of an option that takes several, or the positional arguments; `items` is the caller's to free. */
typedef struct option_list {
    const char **items;
    int64_t count;
} option_list;

typedef enum option_kind {
    OPTION_FLAG,    /* bool */
    OPTION_TEXT,    /* const char * */
    OPTION_INTEGER, /* int64_t, at least `minimum` */
    OPTION_NUMBER,  /* double, finite, at least `minimum` */
    OPTION_SHARE,   /* the same, where 2% is 0.02 */
    OPTION_CHOICE,  /* int: index in `choices`, a NULL-terminated array */
    OPTION_LIST     /* option_list: every value up to the next option; may be given again */
} option_kind;

typedef struct option {
    const char *name; /* without the two dashes */
    option_kind kind;
    void *target;         /* of the type that the kind says; holds the default */
    const char *argument; /* what the help calls the value; NULL for flags and choices */
    const char *help;
    const char *const *choices;
    double minimum;
    bool required;
    bool given; /* set by the parser */
} option;

typedef struct command_line {
    const char *command;  /* "train" */
    const char *synopsis; /* what follows the command's name in the usage line */
    const char *about;    /* paragraphs for the help */
    option *options;
    size_t count;
    const char *positional; /* name of the positional arguments, or NULL if there are none */
    option_list arguments;  /* the positional arguments found */
} command_line;

typedef enum parse_result { PARSE_OK, PARSE_HELP, PARSE_WRONG } parse_result;

/* Fills the targets from argv[0..argc). PARSE_HELP: the help was asked for and printed. PARSE_WRONG: the error was
 * printed to stderr with the option, the value and the remedy. */
parse_result options_parse(command_line *line, int argc, char **argv);

/* The option of that name, which must be in the table. */
const option *options_find(const command_line *line, const char *name);

void option_list_free(option_list *list);

#endif
