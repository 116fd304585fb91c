/* Progress of a long command on stderr: one line that is rewritten on a terminal, a line every few seconds elsewhere. */
#ifndef CPT_PROGRESS_H
#define CPT_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct progress {
    const char *label; /* "train" */
    const char *unit;  /* "step" */
    int64_t first;     /* done before this run started */
    int64_t total;
    int64_t tokens; /* in this run */
    double started, shown;
    bool terminal, quiet, line_open;
} progress;

progress progress_start(const char *label, const char *unit, int64_t first, int64_t total, bool quiet);
/* `done` of total are finished, `tokens` more than at the last call; loss NaN: none to show. */
void progress_update(progress *state, int64_t done, int64_t tokens, double loss);
/* Ends an open line, so that other output starts on a line of its own. */
void progress_clear(progress *state);

double seconds_now(void);

#endif
