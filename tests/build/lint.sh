#!/bin/bash
# cppcheck and clang-tidy over the library, the examples and the tests: lint.sh [FILE...]
# The checks are chosen in .clang-tidy; a suppression stands, with its reason, at the place it is for.
set -u
cd "$(dirname "$0")/../.." || exit 1
jobs=${LINT_JOBS:-2}
failed=0

cxx_sources=()
if [ $# -gt 0 ]; then
    sources=("$@")
else
    mapfile -t cxx_sources < <(find examples -name '*.cc' 2>/dev/null | sort)
    mapfile -t sources < <(find lib examples tests bench -name '*.c' 2>/dev/null | sort)
fi
[ ${#sources[@]} -gt 0 ] || { echo 'lint: no sources' >&2; exit 1; }

# Both tools see what the compiler sees of the portable build; the threads are the POSIX ones, which need no compiler's own header.
defines=(-D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE -DEWCI_ISA=portable)
read -ra blas <<< "${OPENBLAS_CFLAGS:-}"

# invalidPointerCast: arenas hold arrays of several types, one behind the other.
cppcheck --quiet -j "$jobs" --std=c11 --error-exitcode=1 --inline-suppr --enable=warning,portability \
    --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches --suppress=unmatchedSuppression --suppress=invalidPointerCast \
    -Iinclude -Ilib -Itests -Ibench "${defines[@]}" "${sources[@]}" || failed=1
[ $failed -eq 0 ] && echo "lint: cppcheck clean (${#sources[@]} files)"

# clang-tidy also counts diagnostics it does not show: only what it says about our own files matters.
tidy() { # files...
    local output
    # shellcheck disable=SC2086,SC2154
    output=$(clang-tidy --quiet "$@" -- $flags 2>&1) && ! grep -q 'warning:\|error:' <<< "$output" && return 0
    grep -v 'warnings\? generated\.$\|^Suppressed \|^Use -header-filter' <<< "$output"
    return 1
}
export -f tidy
common="${defines[*]} -Iinclude -Ilib -Itests -Ibench ${blas[*]}"

tidy_failed=0
printf '%s\0' "${sources[@]}" | flags="-std=c11 $common" xargs -0 -n 4 -P "$jobs" bash -c 'tidy "$@"' bash || tidy_failed=1
if [ ${#cxx_sources[@]} -gt 0 ]; then
    flags="-std=c++17 $common" tidy "${cxx_sources[@]}" || tidy_failed=1
fi
[ $tidy_failed -eq 0 ] && echo "lint: clang-tidy clean ($((${#sources[@]} + ${#cxx_sources[@]})) files)"
exit $((failed | tidy_failed))
