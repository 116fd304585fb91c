/* What the commands share: see program.h. */
#include "program.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

bool program_interrupted(void)
{
    return interrupted != 0;
}

static int cancel(void *user)
{
    (void)user;
    return interrupted;
}

static void print_message(void *user, ewc_log_level level, const char *message)
{
    const char *command = user;
    if (level >= EWC_LOG_WARNING) fprintf(stderr, "ewc-cpt %s: warning: %s\n", command, message);
}

/* A second signal ends the process at once: SA_RESETHAND brings the default back. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int program_parse_exit(parse_result result)
{
    return result == PARSE_HELP ? CPT_OK : CPT_USAGE;
}

const char *const program_products[] = {"f32", "bf16", NULL};

int program_open(const char *command, int64_t threads, int products, ewc_context **context)
{
    ewc_context_options options;
    ewc_context_options_default(&options);
    options.threads = (int)threads;
    options.products = (ewc_products)products;
    options.log = print_message;
    options.cancel = cancel;
    options.user = (void *)(uintptr_t)command;
    catch_signals();
    ewc_status status = ewc_context_create(&options, context);
    return status == EWC_OK ? CPT_OK : program_fail(command, NULL, status);
}

static int exit_code(ewc_status status)
{
    switch (status) {
    case EWC_OK: return CPT_OK;
    case EWC_ERROR_ARGUMENT: return CPT_USAGE;
    case EWC_ERROR_IO:
    case EWC_ERROR_FORMAT:
    case EWC_ERROR_UNSUPPORTED:
    case EWC_ERROR_MISMATCH:
    case EWC_ERROR_EXISTS: return CPT_INPUT;
    case EWC_ERROR_NOT_FINITE: return CPT_NUMERIC;
    case EWC_ERROR_CANCELLED: return CPT_INTERRUPTED;
    case EWC_ERROR_STATE:
    case EWC_ERROR_MEMORY:
    case EWC_ERROR_DEVICE: break;
    }
    return CPT_OTHER;
}

int program_fail(const char *command, const ewc_context *context, ewc_status status)
{
    const char *text = ewc_last_error(context);
    if (status == EWC_ERROR_CANCELLED) text = "interrupted";
    fprintf(stderr, "ewc-cpt %s: %s\n", command, *text ? text : ewc_status_meaning(status));
    if (status == EWC_ERROR_EXISTS) fprintf(stderr, "Give --force to overwrite, or another --out.\n");
    return exit_code(status);
}

int program_error(const char *command, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "ewc-cpt %s: ", command);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return code;
}
