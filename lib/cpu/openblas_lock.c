/* Makes the library's private OpenBLAS safe for concurrent calls.
 *
 * The serial build of OpenBLAS takes the buffer into which a product packs its operands from one table without a lock (it is
 * made for processes with one thread), so that two products at the same time can get the same buffer and spoil each other's
 * result. The link replaces the two functions by these inside the private copy (ld --wrap); the products themselves run
 * side by side. OpenBLAS has 50 buffers and prints a warning when they are not enough: products beyond wait for a buffer. */
#include <pthread.h>

void *__real_blas_memory_alloc(int position); // NOLINT(bugprone-reserved-identifier): the linker's names
void __real_blas_memory_free(void *buffer);   // NOLINT(bugprone-reserved-identifier)
void *__wrap_blas_memory_alloc(int position); // NOLINT(bugprone-reserved-identifier)
void __wrap_blas_memory_free(void *buffer);   // NOLINT(bugprone-reserved-identifier)

enum { BUFFERS = 50 };

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t returned = PTHREAD_COND_INITIALIZER;
static int in_use;

void *__wrap_blas_memory_alloc(int position) // NOLINT(bugprone-reserved-identifier)
{
    pthread_mutex_lock(&table);
    while (in_use == BUFFERS) pthread_cond_wait(&returned, &table);
    in_use++;
    void *buffer = __real_blas_memory_alloc(position);
    pthread_mutex_unlock(&table);
    return buffer;
}

void __wrap_blas_memory_free(void *buffer) // NOLINT(bugprone-reserved-identifier)
{
    pthread_mutex_lock(&table);
    __real_blas_memory_free(buffer);
    in_use--;
    pthread_cond_signal(&returned);
    pthread_mutex_unlock(&table);
}
