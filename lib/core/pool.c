/* The threads of a context and its parallel regions.
 *
 * A region is announced in one word: its number, how many indices it has, whether it is still open, and how many workers are in
 * it. A worker enters by adding itself to that word while it is open, takes indices that nobody has, and leaves; the caller does the same,
 * then closes the word and waits until it is empty. So a worker that wakes late neither delays the region nor reads of a later one
 * by mistake: it cannot enter a closed one.
 *
 * Waiting is a short spin, then sleep. Regions follow each other within microseconds, and waking a sleeping processor takes many of them; but
 * on a machine that others use too, long spins would take the time of the very thread that is waited for. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/status.h"
#include "core/threads.h"

#define SPIN_NANOSECONDS 50000

/* The word, from its lowest bit: workers inside (16), closed (1), indices (15), number of the region (32). */
enum { CLOSED = 1 << 16, COUNT_SHIFT = 17, COUNT_MASK = 0x7fff, INSIDE_MASK = 0xffff, NUMBER_SHIFT = 32 };

typedef struct worker {
    ewci_pool *pool;
    int index; /* that it would rather do */
    pthread_t handle;
} worker;

struct ewci_pool {
    _Alignas(64) _Atomic uint64_t word;
    _Alignas(64) ewci_parallel_body body; /* of the region: written before the word opens, read inside */
    void *argument;
    atomic_bool busy; /* a region is open */
    pid_t process;
    int workers;
    _Alignas(64) atomic_int sleepers;
    atomic_bool caller_sleeps, stop;
    pthread_mutex_t mutex;
    pthread_cond_t opened, emptied;
    worker *worker;      /* [threads - 1] */
    atomic_bool taken[]; /* [threads] */
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Spins until until(pool, argument) or time is up; says whether it came true. */
static bool spin(ewci_pool *pool, uint64_t argument, bool (*until)(ewci_pool *, uint64_t))
{
    int64_t start = 0;
    for (int turn = 0; !until(pool, argument); turn++) {
        relax();
        if (turn % 16 != 15) continue;
        if (start == 0) start = nanoseconds();
        if (nanoseconds() - start > SPIN_NANOSECONDS) return false;
    }
    return true;
}

static int count_of(uint64_t word)
{
    return (int)(word >> COUNT_SHIFT & COUNT_MASK);
}

/* Does the indices that nobody else has taken, its own first. */
static void work(ewci_pool *pool, int own, int count)
{
    for (int i = 0; i < count; i++) {
        int index = own + i < count ? own + i : own + i - count;
        if (!atomic_load_explicit(&pool->taken[index], memory_order_relaxed) &&
            !atomic_exchange_explicit(&pool->taken[index], true, memory_order_relaxed))
            pool->body(pool->argument, index, count);
    }
}

/* ---- Workers ---------------------------------------------------------------------------------------------------------- */

static bool new_region(ewci_pool *pool, uint64_t number)
{
    return atomic_load(&pool->word) >> NUMBER_SHIFT != number || atomic_load(&pool->stop);
}

static void sleep_until_opened(ewci_pool *pool, uint64_t number)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!new_region(pool, number)) pthread_cond_wait(&pool->opened, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

/* False when the region is closed, or has no index for this worker. */
static bool enter(ewci_pool *pool, int index, uint64_t *word)
{
    *word = atomic_load(&pool->word);
    while ((*word & CLOSED) == 0 && index < count_of(*word))
        if (atomic_compare_exchange_weak(&pool->word, word, *word + 1)) return true;
    return false;
}

static void leave(ewci_pool *pool)
{
    uint64_t left = atomic_fetch_sub(&pool->word, 1) - 1;
    if ((left & CLOSED) == 0 || (left & INSIDE_MASK) != 0 || !atomic_load(&pool->caller_sleeps)) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_signal(&pool->emptied);
    pthread_mutex_unlock(&pool->mutex);
}

static void *run_worker(void *pointer)
{
    const worker *w = pointer;
    ewci_pool *pool = w->pool;
    uint64_t seen = 0, word;
    for (;;) {
        if (!spin(pool, seen, new_region)) sleep_until_opened(pool, seen);
        if (atomic_load(&pool->stop)) return NULL;
        bool inside = enter(pool, w->index, &word);
        seen = word >> NUMBER_SHIFT;
        if (!inside) continue;
        work(pool, w->index, count_of(word));
        leave(pool);
    }
}

/* ---- The caller ------------------------------------------------------------------------------------------------------- */

static bool empty(ewci_pool *pool, uint64_t unused)
{
    (void)unused;
    return (atomic_load(&pool->word) & INSIDE_MASK) == 0;
}

static void wait_until_empty(ewci_pool *pool)
{
    if (spin(pool, 0, empty)) return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, true);
    while (!empty(pool, 0)) pthread_cond_wait(&pool->emptied, &pool->mutex);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->mutex);
}

static void wake(ewci_pool *pool)
{
    if (atomic_load(&pool->sleepers) == 0) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->opened);
    pthread_mutex_unlock(&pool->mutex);
}

void ewci_parallel(ewci_pool *pool, int count, ewci_parallel_body body, void *argument)
{
    if (count < 1) count = 1;
    if (count == 1 || pool == NULL || pool->workers == 0 || count > pool->workers + 1 || atomic_load(&pool->busy) ||
        pool->process != getpid()) {
        for (int i = 0; i < count; i++) body(argument, i, count);
        return;
    }
    pool->body = body;
    pool->argument = argument;
    for (int i = 0; i < count; i++) atomic_store_explicit(&pool->taken[i], false, memory_order_relaxed);
    atomic_store(&pool->busy, true);
    uint64_t number = (uint32_t)(atomic_load(&pool->word) >> NUMBER_SHIFT) + UINT64_C(1);
    atomic_store(&pool->word, number << NUMBER_SHIFT | (uint64_t)count << COUNT_SHIFT);
    wake(pool);
    work(pool, 0, count);
    atomic_fetch_or(&pool->word, CLOSED);
    wait_until_empty(pool);
    atomic_store(&pool->busy, false);
}

/* ---- Creation --------------------------------------------------------------------------------------------------------- */

/* The host's signals are for the host's threads. */
static int start_worker(worker *w)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&w->handle, NULL, run_worker, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

ewc_status ewci_pool_create(ewc_context *ctx, int threads, ewci_pool **out)
{
    void *memory, *workers;
    size_t bytes = sizeof(ewci_pool) + (size_t)threads * sizeof(atomic_bool);
    EWCI_TRY(ewci_alloc_zero(ctx, bytes, "the threads", &memory));
    ewc_status status = ewci_alloc_array(ctx, threads, sizeof(worker), "the threads", &workers);
    if (status != EWC_OK) {
        ewci_free(ctx, memory);
        return status;
    }
    ewci_pool *pool = memory;
    pool->worker = workers;
    pool->process = getpid();
    atomic_store(&pool->word, CLOSED);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->opened, NULL);
    pthread_cond_init(&pool->emptied, NULL);
    for (; pool->workers < threads - 1; pool->workers++) {
        worker *w = &pool->worker[pool->workers];
        *w = (worker){.pool = pool, .index = pool->workers + 1};
        if (start_worker(w) != 0) break;
    }
    int started = pool->workers + 1;
    if (started == threads) {
        *out = pool;
        return EWC_OK;
    }
    ewci_pool_destroy(ctx, pool);
    return ewci_fail(ctx, EWC_ERROR_DEVICE,
                     "threads: expected %d, the system starts %d: ask for fewer or raise its limits (ulimit -u, the "
                     "container's pids limit, memory for stacks)",
                     threads, started);
}

void ewci_pool_destroy(ewc_context *ctx, ewci_pool *pool)
{
    if (pool == NULL) return;
    bool here = pool->process == getpid(); /* a forked child has no workers */
    atomic_store(&pool->stop, true);
    if (here) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->opened);
        pthread_mutex_unlock(&pool->mutex);
        for (int i = 0; i < pool->workers; i++) pthread_join(pool->worker[i].handle, NULL);
        pthread_cond_destroy(&pool->opened);
        pthread_cond_destroy(&pool->emptied);
        pthread_mutex_destroy(&pool->mutex);
    }
    ewci_free(ctx, pool->worker);
    ewci_free(ctx, pool);
}
