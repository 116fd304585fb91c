#!/bin/bash
# The library's BLAS is its own: beside a host's OpenBLAS neither takes the other's symbols, and the host's environment and
# thread setting stay as they are, with the shared library as with the static one.
set -u
. tests/build/tap.sh
cc=${CC:-gcc}
blas=/usr/lib/$("$cc" -print-multiarch)/openblas-serial
if [ ! -e "$blas/libopenblas.so" ]; then
    echo "skipped: no shared OpenBLAS here to link beside the library"
    exit 77
fi

cat > "$TMPDIR/host.c" << 'EOF'
#define _GNU_SOURCE
#include <cblas.h>
#include <dlfcn.h>
#include <libewc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int train(void) {
    ewc_context *context = NULL;
    ewc_model *model = NULL;
    ewc_model_config config;
    ewc_batch batch;
    ewc_evaluation evaluation;
    ewc_context_info info;
    int32_t tokens[16], targets[16];
    evaluation.struct_size = sizeof evaluation;
    info.struct_size = sizeof info;
    ewc_model_config_default(&config);
    config.vocab_size = 8, config.hidden_size = 32, config.intermediate_size = 64, config.layers = 2;
    config.heads = 2, config.kv_heads = 1, config.head_dim = 16;
    ewc_batch_default(&batch);
    batch.sequences = 1, batch.length = 16, batch.tokens = tokens, batch.targets = targets;
    for (int i = 0; i < 16; i++) tokens[i] = i % 8, targets[i] = (i + 1) % 8;
    ewc_status status = ewc_context_create(NULL, &context);
    if (status == EWC_OK) status = ewc_context_describe(context, &info);
    if (status == EWC_OK) status = ewc_model_create(context, &config, 1, &model);
    if (status == EWC_OK) status = ewc_model_evaluate(model, &batch, &evaluation, NULL);
    if (status != EWC_OK) printf("%s: %s\n", ewc_status_name(status), ewc_last_error(context));
    if (status == EWC_OK) printf("library: %s, expected %d\n", info.blas_kernels, info.blas_kernels_expected);
    int learned = status == EWC_OK && evaluation.nll > 0 && info.blas_kernels_expected;
    ewc_model_destroy(model);
    ewc_context_destroy(context);
    return learned;
}

int main(void) {
    float a[4] = {1, 2, 3, 4}, c[4] = {0};
    char *(*host_corename)(void) = openblas_get_corename;
    char before[64];
    Dl_info place;
    snprintf(before, sizeof before, "%s", host_corename());
    openblas_set_num_threads(1);
    int works = train();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, 2, 2, 2, 1, a, 2, a, 2, 0, c, 2);
    int shared = dladdr((void *)(size_t)host_corename, &place) != 0 && strstr(place.dli_fname, "openblas") != NULL;
    printf("host: %s in %s\n", host_corename(), place.dli_fname);
    return works && shared && c[0] == 7 && c[3] == 22 && strcmp(before, host_corename()) == 0 &&
                   getenv("OPENBLAS_CORETYPE") == NULL
               ? 0
               : 1;
}
EOF

build() { # output, library...
    local output=$1
    shift
    "$cc" -std=c11 -Iinclude -I"/usr/include/$("$cc" -print-multiarch)/openblas-serial" "$TMPDIR/host.c" -o "$output" \
        "$@" -L"$blas" -Wl,-rpath,"$blas" -lopenblas -ldl -lm
}
unset OPENBLAS_CORETYPE
expect "the shared library links beside the host's OpenBLAS" build "$TMPDIR/shared" -L"$EWC_BUILD" -lewc \
    -Wl,-rpath,"$EWC_BUILD"
expect "each has its own BLAS (shared)" "$TMPDIR/shared"
expect "the static library links beside the host's OpenBLAS" build "$TMPDIR/static" "$EWC_BUILD/libewc.a" -lcjson -lz \
    -lpthread
expect "each has its own BLAS (static)" "$TMPDIR/static"
expect "the order of linking does not matter" build "$TMPDIR/first" -L"$blas" -lopenblas -L"$EWC_BUILD" -lewc \
    -Wl,-rpath,"$EWC_BUILD"
expect "each has its own BLAS (shared, host's first)" "$TMPDIR/first"
finish
