/* Opening the CPU device, its memory, and what it says about itself. */
#include "cpu/device.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "core/status.h"
#include "core/system.h"
#include "cpu/gemm_bf16.h"
#include "cpu/gemm_slice.h"
#include "cpu/operations.h"
#include "cpu/processor.h"

enum { SHARE = 8192 };

char *openblas_get_corename(void);
char *openblas_get_config(void);

static ewc_status choose_kernels(ewc_context *ctx, ewc_instruction_set wanted, const ewci_kernels **kernels)
{
#if defined(__x86_64__)
    bool avx512 = ewci_processor_has_avx512(), avx2 = ewci_processor_has_avx2();
    const ewci_kernels *best = avx512 ? &ewci_kernels_avx512 : avx2 ? &ewci_kernels_avx2 : &ewci_kernels_portable;
#else
    bool avx512 = false, avx2 = false;
    const ewci_kernels *best = &ewci_kernels_portable;
#endif
    *kernels = best;
    switch (wanted) {
    case EWC_ISA_AUTO: return EWC_OK;
    case EWC_ISA_PORTABLE: *kernels = &ewci_kernels_portable; return EWC_OK;
#if defined(__x86_64__)
    case EWC_ISA_AVX2: *kernels = &ewci_kernels_avx2; break;
    case EWC_ISA_AVX512: *kernels = &ewci_kernels_avx512; break;
#else
    case EWC_ISA_AVX2:
    case EWC_ISA_AVX512: break;
#endif
    default:
        return ewci_fail(ctx, EWC_ERROR_ARGUMENT, "instruction_set: expected an ewc_instruction_set, found %d",
                         (int)wanted);
    }
    if ((wanted == EWC_ISA_AVX2 && avx2) || (wanted == EWC_ISA_AVX512 && avx512)) return EWC_OK;
    return ewci_fail(ctx, EWC_ERROR_UNSUPPORTED, "instruction_set: this processor has no %s; use EWC_ISA_AUTO",
                     wanted == EWC_ISA_AVX2 ? "AVX2" : "AVX-512");
}

static ewc_status wrong_products(const ewci_device *device, int64_t wrong)
{
    if (device->bf16 != NULL)
        return ewci_fail(device->ctx, EWC_ERROR_DEVICE,
                         "%s computes wrong bf16 products here: %lld elements of a test; use EWC_PRODUCTS_F32",
                         ewci_bf16_name(device->bf16), (long long)wrong);
    if (device->kernels->gemm->preferred)
        return ewci_fail(device->ctx, EWC_ERROR_DEVICE,
                         "the library's %s code computes wrong products here: %lld elements of a test; choose another "
                         "instruction_set, such as EWC_ISA_PORTABLE",
                         device->kernels->name, (long long)wrong);
    return ewci_fail(device->ctx, EWC_ERROR_DEVICE,
                     "OpenBLAS (%s kernels) computes wrong products here: %lld elements of a test; set "
                     "OPENBLAS_CORETYPE to kernels that suit this processor, such as Haswell",
                     openblas_get_corename(), (long long)wrong);
}

/* The numbers are exact in bf16 too. */
static ewc_status check_product(ewci_device *device, int64_t m, int64_t n, int64_t k, int form)
{
    ewc_context *ctx = device->ctx;
    const bool transpose_a = form == 2, transpose_b = form == 1;
    float *a = NULL, *b, *c;
    size_t floats = (size_t)(m * k + n * k + m * n);
    EWCI_TRY(ewci_alloc(ctx, floats * sizeof(float), "the check of products", (void **)&a));
    b = a + m * k;
    c = b + n * k;
    for (int64_t i = 0; i < m * k; i++) a[i] = (float)(i * 7 % 11 - 5);
    for (int64_t i = 0; i < n * k; i++) b[i] = (float)(i * 5 % 13 - 6);
    ewc_status status = ewci_cpu_gemm(device, transpose_a, transpose_b, m, n, k, a, transpose_a ? m : k, b,
                                      transpose_b ? k : n, c, n, false);
    int64_t wrong = 0;
    for (int64_t i = 0; i < m; i += 5) { /* every place in a kernel's register tile is met */
        for (int64_t j = 0; j < n; j++) {
            float sum = 0; /* small integers: exact */
            for (int64_t l = 0; l < k; l++)
                sum += a[transpose_a ? l * m + i : i * k + l] * b[transpose_b ? j * k + l : l * n + j];
            wrong += sum != c[i * n + j];
        }
    }
    ewci_free(ctx, a);
    return status != EWC_OK || wrong == 0 ? status : wrong_products(device, wrong);
}

/* Wrong products mean miscompiled code or a misdetected processor: better refused than trained with. Two sizes, since OpenBLAS has kernels of their
 * own for small matrices, and the three forms that training uses. */
static ewc_status check_products(ewci_device *device)
{
    for (int form = 0; form < 3; form++) {
        EWCI_TRY(check_product(device, 33, 18, 29, form));
        EWCI_TRY(check_product(device, 101, 97, 113, form));
    }
    return EWC_OK;
}

/* Cooperlake is SkylakeX with bf16 products; a user may also have asked for it. */
static bool kernels_as_expected(void)
{
    const char *expected = ewci_processor_openblas_core(), *found = openblas_get_corename();
    if (expected == NULL || strcmp(expected, found) == 0) return true;
    return strcmp(expected, "SkylakeX") == 0 &&
           (strcmp(found, "Cooperlake") == 0 || strcmp(found, "SapphireRapids") == 0);
}

ewc_status ewci_cpu_open(ewc_context *ctx, const ewc_context_options *options, ewci_device **out)
{
    const ewci_kernels *kernels;
    void *memory;
    EWCI_TRY(choose_kernels(ctx, options->instruction_set, &kernels));
    EWCI_TRY(ewci_alloc_array(ctx, 1, sizeof(ewci_device), "the device", &memory));
    ewci_device *device = memory;
    *device = (ewci_device){.ctx = ctx, .threads = ctx->threads, .share = SHARE, .kernels = kernels};
    size_t floats = EWCI_TILE + EWCI_GEMM_PANELS;
    ewc_status status = ewci_alloc(ctx, (size_t)ctx->threads * floats * sizeof(float), "the threads' tiles", &memory);
    if (status == EWC_OK) {
        device->tiles = memory;
        device->panels = device->tiles + (size_t)ctx->threads * EWCI_TILE;
        status = ewci_pool_create(ctx, ctx->threads, &device->pool);
    }
    if (status == EWC_OK && options->products == EWC_PRODUCTS_BF16) status = ewci_bf16_open(ctx, &device->bf16);
    if (status == EWC_OK) status = check_products(device);
    if (status != EWC_OK) {
        ewci_cpu_close(device);
        return status;
    }
    device->blas_kernels_expected = kernels_as_expected();
    if (!device->blas_kernels_expected && !kernels->gemm->preferred)
        ewci_log(ctx, EWC_LOG_WARNING,
                 "OpenBLAS runs its %s kernels, this processor should run %s: products will be slow; unset "
                 "OPENBLAS_CORETYPE or set it to %s",
                 openblas_get_corename(), ewci_processor_openblas_core(), ewci_processor_openblas_core());
    *out = device;
    return EWC_OK;
}

int ewci_team(const ewci_device *device, int64_t elements)
{
    int64_t worth = elements / device->share;
    return worth >= device->threads ? device->threads : worth < 1 ? 1 : (int)worth;
}

void ewci_cpu_close(ewci_device *device)
{
    if (device == NULL) return;
    ewci_bf16_close(device->ctx, device->bf16);
    ewci_pool_destroy(device->ctx, device->pool);
    ewci_free(device->ctx, device->tiles);
    ewci_free(device->ctx, device);
}

void ewci_cpu_describe(const ewci_device *device, ewc_context_info *info)
{
    snprintf(info->device, sizeof info->device, "cpu");
    ewci_processor_name(info->processor, sizeof info->processor);
    snprintf(info->instruction_set, sizeof info->instruction_set, "%s", device->kernels->name);
    snprintf(info->blas, sizeof info->blas, "%.90s", openblas_get_config());
    snprintf(info->blas_kernels, sizeof info->blas_kernels, "%.30s", openblas_get_corename());
    info->blas_kernels_expected = device->blas_kernels_expected;
    info->threads = device->threads;
    info->products = device->bf16 != NULL ? EWC_PRODUCTS_BF16 : EWC_PRODUCTS_F32;
    if (device->bf16 != NULL) {
        snprintf(info->products_through, sizeof info->products_through, "%s", ewci_bf16_name(device->bf16));
        info->products_bytes = ewci_bf16_bytes(device);
    } else if (device->kernels->gemm->preferred) {
        snprintf(info->products_through, sizeof info->products_through, "libewc %s", device->kernels->name);
    } else {
        snprintf(info->products_through, sizeof info->products_through, "OpenBLAS %.40s", openblas_get_corename());
    }
    info->memory_bytes = ewci_memory_total();
    info->memory_available_bytes = ewci_memory_available();
}

ewc_status ewci_cpu_alloc(ewci_device *device, size_t bytes, const char *what, void **out)
{
    return ewci_alloc(device->ctx, bytes, what, out);
}

void ewci_cpu_free(ewci_device *device, void *pointer)
{
    ewci_free(device->ctx, pointer);
}

ewc_status ewci_cpu_copy(ewci_device *device, void *destination, const void *source, size_t bytes)
{
    (void)device;
    if (bytes > 0) memmove(destination, source, bytes);
    return EWC_OK;
}

ewc_status ewci_cpu_copy_in(ewci_device *device, void *destination, const void *host_source, size_t bytes)
{
    return ewci_cpu_copy(device, destination, host_source, bytes);
}

ewc_status ewci_cpu_copy_out(ewci_device *device, void *host_destination, const void *source, size_t bytes)
{
    return ewci_cpu_copy(device, host_destination, source, bytes);
}

typedef struct zero_job {
    char *destination;
    int64_t bytes;
} zero_job;

static void zero_slice(void *argument, int index, int count)
{
    const zero_job *job = argument;
    int64_t begin, end;
    ewci_slice(job->bytes, 4096, index, count, &begin, &end);
    memset(job->destination + begin, 0, (size_t)(end - begin));
}

ewc_status ewci_cpu_zero(ewci_device *device, void *destination, size_t bytes)
{
    zero_job job = {destination, (int64_t)bytes};
    ewci_parallel(device->pool, ewci_team(device, (int64_t)(bytes / 16)), zero_slice, &job);
    return EWC_OK;
}

ewc_status ewci_cpu_sync(ewci_device *device)
{
    (void)device;
    return EWC_OK;
}
