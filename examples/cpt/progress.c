/* Progress of a long command: see progress.h. */
#include "progress.h"

#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const double TERMINAL_SECONDS = 0.2, FILE_SECONDS = 5.0;

double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

progress progress_start(const char *label, const char *unit, int64_t first, int64_t total, bool quiet)
{
    double now = seconds_now();
    return (progress){.label = label,
                      .unit = unit,
                      .first = first,
                      .total = total,
                      .started = now,
                      .shown = now,
                      .terminal = isatty(STDERR_FILENO),
                      .quiet = quiet};
}

static void print_time(double seconds)
{
    long long whole = llround(seconds);
    if (whole >= 3600)
        fprintf(stderr, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        fprintf(stderr, "%lld:%02lld", whole / 60, whole % 60);
}

void progress_update(progress *state, int64_t done, int64_t tokens, double loss)
{
    state->tokens += tokens;
    double now = seconds_now(), elapsed = now - state->started;
    bool last = done >= state->total;
    if (state->quiet || done <= state->first || elapsed <= 0.0) return;
    if (!last && now - state->shown < (state->terminal ? TERMINAL_SECONDS : FILE_SECONDS)) return;
    state->shown = now;
    double left = elapsed * (double)(state->total - done) / (double)(done - state->first);
    if (state->terminal) fputs("\r\033[K", stderr);
    fprintf(stderr, "%s: %s %lld/%lld", state->label, state->unit, (long long)done, (long long)state->total);
    if (!isnan(loss)) fprintf(stderr, "  loss %.4f", loss);
    fprintf(stderr, "  %.0f tokens/s  ", (double)state->tokens / elapsed);
    fputs(last ? "took " : "time left ", stderr);
    print_time(last ? elapsed : left);
    state->line_open = state->terminal && !last;
    if (!state->line_open) fputc('\n', stderr);
    fflush(stderr);
}

void progress_clear(progress *state)
{
    if (state->line_open) fputc('\n', stderr);
    state->line_open = false;
}
