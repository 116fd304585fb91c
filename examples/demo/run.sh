#!/bin/bash
# The demonstration: a small English model learns Lithuanian, once without a penalty (lambda 0) and with elastic weight
# consolidation of two strengths. Everything it makes lies under build/demo; run again, it makes it anew (packages are
# fetched once). Usage: make demo, or examples/demo/run.sh after make.
#
# Environment: EWC_BUILD (build directory), LAMBDAS ("0 1000 10000": strengths of the penalty),
# STEPS (optimizer steps of a run), THREADS (0: all processors).
set -eu
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${EWC_BUILD:-$root/build}
cpt=$build/ewc-cpt
work=$build/demo
model=$here/model
read -ra lambdas <<< "${LAMBDAS:-0 1000 10000}"
steps=${STEPS:-200}
threads=${THREADS:-0}

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

[ -x "$cpt" ] || fail "$cpt is missing: run make first (or ./bootstrap.sh demo, which installs what that needs)"
[ -f "$model/model.safetensors" ] || fail "$model/model.safetensors is missing: examples/demo/make-model.sh makes it"
command -v python3 > /dev/null || fail "python3 is missing: apt-get install python3"
mkdir -p "$work"

say "English and Lithuanian that say the same things"
python3 "$here/corpora.py" --cache "$work/packages" --out "$work/text"

say "Tokens"
for name in en.train en.heldout lt.train lt.heldout; do
    "$cpt" tokenize --force --tokenizer "$model/tokenizer.model" --out "$work/$name.npy" "$work/text/$name.jsonl"
done

say "What English needs: the Fisher diagonal of the model on English training text"
"$cpt" fisher --force --model "$model" --data "$work/en.train.npy" --length 128 --sequences 384 --batch 16 \
    --estimator empirical --order shuffle --seed 1 --threads "$threads" --out "$work/fisher.safetensors"

# The anchor is the model the runs start from; its files are mapped, not copied.
for lambda in "${lambdas[@]}"; do
    say "Learning Lithuanian, lambda $lambda"
    "$cpt" train --force --model "$model" --anchor "$model" --fisher "$work/fisher.safetensors" \
        --lambda "$lambda" --data "$work/lt.train.npy" --length 128 --batch 8 --steps "$steps" \
        --lr 2e-3 --schedule cosine --warmup 10 --beta2 0.99 --clip 1 --order shuffle --seed 1 --threads "$threads" \
        --eval English="$work/en.heldout.npy" --eval Lithuanian="$work/lt.heldout.npy" --eval-every 40 \
        --log "$work/lambda-$lambda.jsonl" --out "$work/lambda-$lambda"
done

say "What was learned, what was forgotten (held-out text, perplexity per token)"
python3 "$here/table.py" --svg "$work/demo.svg" "${lambdas[@]/#/$work/lambda-}"
