#!/bin/bash
# A runner that cannot fail proves nothing: tests/run must notice every way in which a program can go wrong.
set -u
. tests/build/tap.sh
unset EWC_TEST_COUNTS EWC_TEST_WRAPPER
cc=${CC:-gcc}
export BUILD=$TMPDIR/build
mkdir -p "$BUILD/tests"

program() { # name, bodies of test functions...
    local name=$1 body n=0 list=
    shift
    {
        printf '#include <setjmp.h>\n#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n'
        printf '#include <cmocka.h>\n#include <stdlib.h>\n#include <unistd.h>\n'
        for body in "$@"; do
            n=$((n + 1))
            printf 'static void test_%d(void **state) {\n    (void)state;\n    %s\n}\n' $n "$body"
            list="$list cmocka_unit_test(test_$n),"
        done
        printf 'int main(void) {\n    const struct CMUnitTest tests[] = {%s};\n' "$list"
        printf '    return cmocka_run_group_tests(tests, NULL, NULL);\n}\n'
    } > "$TMPDIR/$name.c"
    "$cc" -o "$BUILD/tests/$name" "$TMPDIR/$name.c" -lcmocka
}

# run STATUS LAST_LINE FILES...
run() {
    local wanted=$1 last=$2 output status
    shift 2
    output=$(tests/run "$@" 2>&1)
    status=$?
    if [ "$status" -ne "$wanted" ] || [ "$(printf '%s\n' "$output" | tail -n 1)" != "$last" ]; then
        printf 'wanted status %d and "%s", got status %d and:\n%s\n' "$wanted" "$last" "$status" "$output"
        return 1
    fi
}
shows() { contains "$(tests/run "${@:2}" 2>&1)" "$1"; }

program good 'assert_int_equal(1, 1);' 'assert_true(1);'
program bad 'assert_int_equal(1, 1);' 'assert_int_equal(1, 2);'
program crash 'assert_true(1);' 'abort();' 'assert_true(1);'
program stops 'assert_true(1);' '_exit(0);' 'assert_true(1);'
program sleeps 'sleep(60);'
program skips 'assert_true(1);' 'skip();'
printf 'int main(void) { return 0; }\n' > "$TMPDIR/nothing.c"
"$cc" -o "$BUILD/tests/nothing" "$TMPDIR/nothing.c"
printf 'exit 0\n' > "$TMPDIR/good.sh"
printf 'exit 1\n' > "$TMPDIR/bad.sh"
printf 'exit 77\n' > "$TMPDIR/skip.sh"
printf 'echo "ok - one"; echo "ok - two"; echo "not ok - three"\n' > "$TMPDIR/tap.sh"
printf '[ -d "$TMPDIR" ] && [ -z "$(ls -A "$TMPDIR")" ] && [ -n "$EWC_BUILD" ] && [ -f tests/run ]\n' > "$TMPDIR/place.sh"

expect "passing tests are counted one by one" run 0 "2 passed, 0 failed" "$BUILD/tests/good"
expect "a failing assertion fails the run" run 1 "1 passed, 1 failed" "$BUILD/tests/bad"
expect "the output of a failing program is shown" shows "0x1 != 0x2" "$BUILD/tests/bad"
expect "a crash fails the run" run 1 "1 passed, 1 failed" "$BUILD/tests/crash"
expect "the signal of a crash is named" shows "signal 6" "$BUILD/tests/crash"
expect "a program that stops halfway fails the run" run 1 "1 passed, 1 failed" "$BUILD/tests/stops"
expect "a program without tests fails the run" run 1 "0 passed, 1 failed" "$BUILD/tests/nothing"
expect "a program that is not there fails the run" run 1 "0 passed, 1 failed" "$BUILD/tests/absent"
expect "no programs at all fail the run" run 1 "0 passed, 0 failed"
expect "skipped tests are neither passed nor failed" run 0 "1 passed, 0 failed" "$BUILD/tests/skips"
expect "skipped tests are named" shows "1 skipped" "$BUILD/tests/skips"
expect "a script is one test" run 0 "1 passed, 0 failed" "$TMPDIR/good.sh"
expect "a failing script fails the run" run 1 "0 passed, 1 failed" "$TMPDIR/bad.sh"
expect "a script can be skipped" run 0 "0 passed, 0 failed" "$TMPDIR/skip.sh"
expect "a script can report several tests" run 1 "2 passed, 1 failed" "$TMPDIR/tap.sh"
expect "a program has a place of its own" run 0 "1 passed, 0 failed" "$TMPDIR/place.sh"
expect "counts add up over programs" run 1 "6 passed, 2 failed" "$BUILD/tests/good" "$BUILD/tests/bad" \
    "$BUILD/tests/crash" "$TMPDIR/good.sh" "$BUILD/tests/skips"
export EWC_TEST_TIMEOUT=1
expect "a program that hangs is ended and fails the run" run 1 "0 passed, 1 failed" "$BUILD/tests/sleeps"
expect "the time limit is named" shows "time limit of 1 s" "$BUILD/tests/sleeps"
finish
