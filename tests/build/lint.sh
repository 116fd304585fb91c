#!/bin/bash
# cppcheck and clang-tidy over the library, the examples and the tests: lint.sh [FILE...]
# The checks are chosen in .clang-tidy; a suppression stands, with its reason, at the place it is for.
set -u
cd "$(dirname "$0")/../.." || exit 1
jobs=${LINT_JOBS:-2}
failed=0

if [ $# -gt 0 ]; then
    sources=("$@")
else
    mapfile -t sources < <(find lib examples tests bench -name '*.c' 2>/dev/null | sort)
fi
[ ${#sources[@]} -gt 0 ] || { echo 'lint: no sources' >&2; exit 1; }

# Both tools see what the compiler sees of the portable build; the threads are the POSIX ones, which need no compiler's own header.
defines=(-D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE -DEWCI_THREADS_PTHREAD -DEWCI_ISA=portable)
read -ra blas <<< "${OPENBLAS_CFLAGS:-}"

cppcheck --quiet -j "$jobs" --std=c11 --error-exitcode=1 --inline-suppr --enable=warning,portability \
    --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches --suppress=unmatchedSuppression \
    -Iinclude -Ilib -Itests "${defines[@]}" "${sources[@]}" || failed=1
[ $failed -eq 0 ] && echo "lint: cppcheck clean (${#sources[@]} files)"

tidy_failed=0
printf '%s\0' "${sources[@]}" | xargs -0 -n 4 -P "$jobs" sh -c '
    flags=$1; shift
    output=$(clang-tidy --quiet "$@" -- $flags 2>&1) && ! printf "%s" "$output" | grep -q "warning:\|error:" && exit 0
    printf "%s\n" "$output" | grep -v "warnings generated\.\|^Suppressed \|^Use -header-filter"
    exit 1' sh "-std=c11 ${defines[*]} -Iinclude -Ilib -Itests ${blas[*]}" || tidy_failed=1
[ $tidy_failed -eq 0 ] && echo "lint: clang-tidy clean (${#sources[@]} files)"
exit $((failed | tidy_failed))
