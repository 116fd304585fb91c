/* Command-line options: see options.h. */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { HELP_COLUMN = 34 };

static parse_result wrong(const command_line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static parse_result wrong(const command_line *line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "ewc-cpt %s: ", line->command);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\nSee: ewc-cpt %s --help\n", line->command);
    va_end(arguments);
    return PARSE_WRONG;
}

static void print_choices(FILE *file, const char *const *choices)
{
    for (int i = 0; choices[i]; i++) fprintf(file, "%s%s", i ? "|" : "", choices[i]);
}

/* Prints text from column HELP_COLUMN on, its line breaks indented. */
static void print_indented(const char *text)
{
    for (; *text; text++) {
        putchar(*text);
        if (*text == '\n') printf("%*s", HELP_COLUMN, "");
    }
    putchar('\n');
}

static int print_option_name(const option *entry)
{
    int width = printf("  --%s", entry->name);
    if (entry->kind == OPTION_CHOICE) {
        putchar(' ');
        width++;
        for (int i = 0; entry->choices[i]; i++) width += printf("%s%s", i ? "|" : "", entry->choices[i]);
    } else if (entry->argument) {
        width += printf(" %s", entry->argument);
    }
    return width;
}

static void print_default(const option *entry)
{
    if (entry->required)
        printf(" (required)");
    else if (entry->kind == OPTION_CHOICE)
        printf(" (default %s)", entry->choices[*(const int *)entry->target]);
}

static void print_help(const command_line *line)
{
    printf("Usage: ewc-cpt %s %s\n\n%s\n\nOptions:\n", line->command, line->synopsis, line->about);
    for (size_t i = 0; i < line->count; i++) {
        const option *entry = &line->options[i];
        int width = print_option_name(entry);
        print_default(entry);
        if (width >= HELP_COLUMN - 1 || entry->required || entry->kind == OPTION_CHOICE) {
            putchar('\n');
            width = 0;
        }
        printf("%*s", HELP_COLUMN - width, "");
        print_indented(entry->help);
    }
    printf("  --help%*sthis text\n", HELP_COLUMN - 8, "");
}

/* Levenshtein distance of two short names; long ones count as far apart. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 40 };
    size_t n = strlen(a), m = strlen(b), row[LONGEST + 1];
    if (n > LONGEST || m > LONGEST) return LONGEST;
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

static parse_result unknown(const command_line *line, const char *name)
{
    const option *nearest = NULL;
    size_t distance = strlen(name) > 4 ? 3 : 2;
    for (size_t i = 0; i < line->count; i++) {
        size_t d = edit_distance(name, line->options[i].name);
        if (d < distance) {
            distance = d;
            nearest = &line->options[i];
        }
    }
    if (nearest) return wrong(line, "unknown option --%s (did you mean --%s?)", name, nearest->name);
    return wrong(line, "unknown option --%s", name);
}

static parse_result read_integer(const command_line *line, const option *entry, const char *value)
{
    char *end = NULL;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (end == value || *end || errno) return wrong(line, "--%s takes a whole number, not '%s'", entry->name, value);
    if ((double)number < entry->minimum) {
        return wrong(line, "--%s must be at least %.0f, not %s", entry->name, entry->minimum, value);
    }
    *(int64_t *)entry->target = number;
    return PARSE_OK;
}

static parse_result read_number(const command_line *line, const option *entry, const char *value)
{
    char *end = NULL;
    double number = strtod(value, &end);
    if (entry->kind == OPTION_SHARE && end != value && strcmp(end, "%") == 0) {
        number /= 100;
        end++;
    }
    if (end == value || *end) return wrong(line, "--%s takes a number, not '%s'", entry->name, value);
    if (!isfinite(number)) return wrong(line, "--%s must be finite, not '%s'", entry->name, value);
    if (number < entry->minimum) {
        return wrong(line, "--%s must be at least %g, not %s", entry->name, entry->minimum, value);
    }
    *(double *)entry->target = number;
    return PARSE_OK;
}

static parse_result read_choice(const command_line *line, const option *entry, const char *value)
{
    for (int i = 0; entry->choices[i]; i++) {
        if (strcmp(entry->choices[i], value) == 0) {
            *(int *)entry->target = i;
            return PARSE_OK;
        }
    }
    fprintf(stderr, "ewc-cpt %s: --%s is one of ", line->command, entry->name);
    print_choices(stderr, entry->choices);
    fprintf(stderr, ", not '%s'\nSee: ewc-cpt %s --help\n", value, line->command);
    return PARSE_WRONG;
}

static parse_result append(const command_line *line, option_list *list, const char *value)
{
    const char **items = realloc(list->items, (size_t)(list->count + 1) * sizeof *items);
    if (!items) return wrong(line, "out of memory");
    list->items = items;
    list->items[list->count++] = value;
    return PARSE_OK;
}

static parse_result read_value(const command_line *line, option *entry, const char *value)
{
    if (entry->kind != OPTION_LIST && entry->given) return wrong(line, "--%s is given twice: leave one", entry->name);
    if (*value == '\0') return wrong(line, "--%s has an empty value", entry->name);
    entry->given = true;
    switch (entry->kind) {
    case OPTION_TEXT: *(const char **)entry->target = value; return PARSE_OK;
    case OPTION_INTEGER: return read_integer(line, entry, value);
    case OPTION_NUMBER:
    case OPTION_SHARE: return read_number(line, entry, value);
    case OPTION_CHOICE: return read_choice(line, entry, value);
    case OPTION_LIST: return append(line, entry->target, value);
    case OPTION_FLAG: break;
    }
    return wrong(line, "--%s takes no value", entry->name);
}

static option *find(const command_line *line, const char *name, size_t length)
{
    for (size_t i = 0; i < line->count; i++) {
        if (strlen(line->options[i].name) == length && strncmp(line->options[i].name, name, length) == 0) {
            return &line->options[i];
        }
    }
    return NULL;
}

/* Reads the option at argv[*index] with its values and moves *index to the last argument used. */
static parse_result read_option(command_line *line, int argc, char **argv, int *index)
{
    const char *name = argv[*index] + 2, *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    option *entry = find(line, name, length);
    if (!entry) {
        char shown[64];
        snprintf(shown, sizeof shown, "%.*s", (int)(length < 60 ? length : 60), name);
        return unknown(line, shown);
    }
    if (entry->kind == OPTION_FLAG) {
        if (equals) return wrong(line, "--%s takes no value", entry->name);
        *(bool *)entry->target = entry->given = true;
        return PARSE_OK;
    }
    if (equals) return read_value(line, entry, equals + 1);
    if (*index + 1 >= argc || strncmp(argv[*index + 1], "--", 2) == 0) {
        return wrong(line, "--%s needs a value%s%s", entry->name, entry->argument ? ": " : "",
                     entry->argument ? entry->argument : "");
    }
    do {
        parse_result result = read_value(line, entry, argv[++*index]);
        if (result != PARSE_OK) return result;
    } while (entry->kind == OPTION_LIST && *index + 1 < argc && strncmp(argv[*index + 1], "--", 2) != 0);
    return PARSE_OK;
}

static parse_result check_required(const command_line *line)
{
    for (size_t i = 0; i < line->count; i++) {
        const option *entry = &line->options[i];
        if (entry->required && !entry->given) {
            return wrong(line, "--%s %s is missing", entry->name, entry->argument ? entry->argument : "");
        }
    }
    if (line->positional && line->arguments.count == 0) return wrong(line, "no %s is given", line->positional);
    return PARSE_OK;
}

parse_result options_parse(command_line *line, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(line);
            return PARSE_HELP;
        }
    }
    for (int i = 0; i < argc; i++) {
        parse_result result = PARSE_OK;
        if (strncmp(argv[i], "--", 2) == 0)
            result = read_option(line, argc, argv, &i);
        else if (line->positional)
            result = append(line, &line->arguments, argv[i]);
        else
            result = wrong(line, "unexpected argument '%s': options start with two dashes", argv[i]);
        if (result != PARSE_OK) return result;
    }
    return check_required(line);
}

const option *options_find(const command_line *line, const char *name)
{
    return find(line, name, strlen(name));
}

void option_list_free(option_list *list)
{
    free(list->items);
    *list = (option_list){0};
}
