#!/bin/bash
# Makes the demo's small English model (model/ beside this file) from nothing: text, tokenizer, random weights, training.
# Everything is done by ewc-cpt but the tokenizer (spm_train). About 100 MB of packages are downloaded; the training takes
# some ten minutes on two idle cores. Usage: examples/demo/make-model.sh [OUTPUT FOLDER]
set -eu
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${EWC_BUILD:-$root/build}
cpt=$build/ewc-cpt
work=$build/model
out=${1:-$here/model}

[ -x "$cpt" ] || { echo "make-model.sh: $cpt is missing: run make first" >&2; exit 1; }
command -v spm_train > /dev/null || { echo "make-model.sh: spm_train is missing: apt-get install sentencepiece" >&2; exit 1; }
mkdir -p "$work"
cd "$work"

echo "== Text"
python3 "$here/corpora.py" --cache "$build/demo/packages" --out text
python3 "$here/pretraining_text.py" --cache "$build/demo/packages" --out text

echo "== Tokenizer: SentencePiece BPE with byte fallback, ids of the special pieces as in Gemma"
spm_train --input=text/tokenizer.txt --model_prefix=tokenizer --model_type=bpe --vocab_size=4096 \
    --byte_fallback=true --character_coverage=0.9999 --split_digits=true --max_sentence_length=16384 \
    --normalization_rule_name=identity --add_dummy_prefix=false --remove_extra_whitespaces=false \
    --pad_id=0 --eos_id=1 --bos_id=2 --unk_id=3 \
    --pad_piece='<pad>' --eos_piece='<eos>' --bos_piece='<bos>' --unk_piece='<unk>' --minloglevel=2
for name in en.pretrain en.recent en.heldout lt.heldout; do
    "$cpt" tokenize --force --tokenizer tokenizer.model --out "$name.npy" "text/$name.jsonl"
done

echo "== Training on English: once over all of it; the program messages come again at the end, at a low rate"
"$cpt" init --force --config "$here/config.json" --seed 1 --out initial
cp tokenizer.model "$here/tokenizer_config.json" initial/
tokens=$(($(python3 -c 'import os; print(sum((os.path.getsize(f) - 128) // 2 for f in ("en.pretrain.npy", "en.recent.npy")))')))
"$cpt" train --model initial --data en.pretrain.npy en.recent.npy --length 128 --batch 16 --steps $((tokens / 2048)) \
    --threads 1 --lr 3e-3 --schedule linear --warmup 100 --beta2 0.95 --weight-decay 0.1 --clip 1 \
    --eval en=en.heldout.npy --eval lt=lt.heldout.npy --eval-every 500 --save-every 500 \
    --save-dtype bf16 --log train.jsonl --force --out trained

mkdir -p "$out"
cp trained/config.json trained/model.safetensors trained/tokenizer.model trained/tokenizer_config.json "$out/"
du -sh "$out"
