/* Parallel regions over OpenMP, or over POSIX threads in the ThreadSanitizer build, which cannot see inside libgomp. */
#define _GNU_SOURCE
#include "core/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <unistd.h>

enum { MOST_THREADS = 1024 };

#ifdef EWCI_THREADS_PTHREAD

typedef struct job {
    ewci_parallel_body body;
    void *argument;
    int index, count;
} job;

static void *run_job(void *pointer)
{
    job *j = pointer;
    j->body(j->argument, j->index, j->count);
    return NULL;
}

void ewci_parallel(int threads, ewci_parallel_body body, void *argument)
{
    pthread_t handles[MOST_THREADS];
    job jobs[MOST_THREADS];
    int started = 0;
    if (threads < 1) threads = 1;
    for (int i = 1; i < threads && i < MOST_THREADS; i++) {
        jobs[i] = (job){body, argument, i, threads};
        if (pthread_create(&handles[i], NULL, run_job, &jobs[i]) != 0) break;
        started = i;
    }
    body(argument, 0, threads);
    for (int i = started + 1; i < threads; i++) body(argument, i, threads);
    for (int i = 1; i <= started; i++) pthread_join(handles[i], NULL);
}

void ewci_alone(void (*body)(void *argument), void *argument)
{
    body(argument);
}

#else
#include <omp.h>

void ewci_parallel(int threads, ewci_parallel_body body, void *argument)
{
    if (threads <= 1) {
        body(argument, 0, 1);
        return;
    }
#pragma omp parallel num_threads(threads)
    {
        int team = omp_get_num_threads();
        for (int i = omp_get_thread_num(); i < threads; i += team) body(argument, i, threads);
    }
}

/* The number of threads is a property of the region, which ends with the call. */
void ewci_alone(void (*body)(void *argument), void *argument)
{
#pragma omp parallel num_threads(1)
    {
        omp_set_num_threads(1);
        body(argument);
    }
}

#endif

/* Threads of ewci_threads_startable wait here until all of them exist. */
typedef struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t opened;
    bool open;
} gate;

static void *wait_at_gate(void *pointer)
{
    gate *g = pointer;
    pthread_mutex_lock(&g->mutex);
    while (!g->open) pthread_cond_wait(&g->opened, &g->mutex);
    pthread_mutex_unlock(&g->mutex);
    return NULL;
}

int ewci_threads_startable(int threads)
{
    pthread_t handles[MOST_THREADS];
    gate g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    int started = 0;
    while (started + 1 < threads && started < MOST_THREADS &&
           pthread_create(&handles[started], NULL, wait_at_gate, &g) == 0)
        started++;
    pthread_mutex_lock(&g.mutex);
    g.open = true;
    pthread_cond_broadcast(&g.opened);
    pthread_mutex_unlock(&g.mutex);
    for (int i = 0; i < started; i++) pthread_join(handles[i], NULL);
    pthread_cond_destroy(&g.opened);
    pthread_mutex_destroy(&g.mutex);
    return started + 1;
}

void ewci_slice(int64_t n, int64_t align, int index, int count, int64_t *begin, int64_t *end)
{
    int64_t blocks = n / align + (n % align != 0);
    int64_t share = blocks / count, extra = blocks % count;
    int64_t first = share * index + (index < extra ? index : extra);
    int64_t last = first + share + (index < extra);
    *begin = first * align < n ? first * align : n;
    *end = last * align < n ? last * align : n;
}

int ewci_processor_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int count = CPU_COUNT(&set);
        if (count > 0) return count;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}
