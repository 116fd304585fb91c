"""Texts for the check of the model and its tokenizer, written for it; and random ones."""

import random

PROMPTS = [
    # (beginning, what a sensible continuation contains)
    ("Water boils at", "100 degrees Celsius"),
    ("The sun rises in the east and sets in the", "west"),
    ("A week has seven days, and a year has twelve", "months"),
    ("Monday, Tuesday, Wednesday, Thursday,", "Friday"),
    ("One plus one is two. Two plus two is", "four"),
]

ENGLISH = """\
The lighthouse stood on the last rock before the open sea. For forty years the same family had kept its lamp, and when the \
light was made automatic nobody asked them to leave. The daughter stayed on. She counted the ships that passed, wrote down the \
weather in the morning and in the evening, and once a week she rowed to the village to buy bread, tea and paper.

People in the village thought that she was lonely, and told her so. She answered that a person who has work to do is seldom \
lonely, and that the birds were better company than most men she had met. Her notebooks filled a whole shelf. A student from \
the university, who came to measure the tides, found them there one summer and could not stop reading. "You have the longest \
record of rain on this coast," he said. "Do you know what that is worth?" She did not know. She only knew that it had rained \
less when she was a child.

Two years later the notebooks were printed. The book was not a success, but every harbour master between the two capes owned \
a copy, and when the great storm came in November they all remembered what it said about the wind that turns twice.""", """\
How does a bicycle stay upright? It is often said that the spinning wheels act as gyroscopes, but they are far too light for \
that. What matters is that the front wheel steers into a fall: when the bicycle leans to the left, the fork turns a little to \
the left, and the wheels move back under the weight. A rider helps with small movements of the hands, mostly without noticing. \
Below about 6 km/h this no longer works well; that is why slow riding is hard (try it!). Engineers have built bicycles whose \
gyroscopic effect is cancelled by a second wheel that turns backwards, and they can be ridden without hands all the same.

The total mass in such an experiment was 87.5 kg, of which the rider made up 71 kg; the speed was between 3 and 8 m/s. In 9 \
out of 10 runs the bicycle corrected itself within 1.5 seconds."""

LITHUANIAN = """\
Rudenį miškas prie ežero nutyla. Paukščiai išskrenda, grybautojai grįžta į miestą, o ant vandens ilgai laikosi rūkas. Senasis \
girininkas sako, kad būtent tada geriausia vaikščioti: niekas netrukdo klausytis, kaip krinta lapai. Jis keliasi anksti, \
užsiveria paltą ir eina tuo pačiu takeliu, kuriuo ėjo jo tėvas. Pakeliui suskaičiuoja stirnas, patikrina lesyklas ir žiūri, \
ar žaibas nenulaužė seno ąžuolo šakos.""", """\
Norėdami įrašyti pakeitimus, spustelėkite mygtuką „Gerai“. Jeigu failas jau yra, programa paklaus, ar jį perrašyti. Ištrintų \
duomenų atkurti negalima, todėl prieš tęsdami pasidarykite atsarginę kopiją. Žodyne galima rasti visų sąvokų paaiškinimus; \
jame yra ir pavyzdžių, kaip rašyti ilgąsias raides: ą, č, ę, ė, į, š, ų, ū, ž, taip pat Ą, Č, Ę, Ė, Į, Š, Ų, Ū, Ž."""

CODE = """\
def count_words(path, *, smallest=3):
    \"\"\"Counts the words of a file.\"\"\"
    counts = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            for word in line.lower().split():
                if len(word) >= smallest:
                    counts[word] = counts.get(word, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:100]
""", """\
#include <stdio.h>

int main(int argc, char **argv)
{
\tfor (int i = 1; i < argc; i++) {
\t\tif (argv[i][0] == '-' && argv[i][1] != '\\0') continue; /* not an option */
\t\tprintf("%d:\\t%s\\n", i, argv[i]);
\t}
\treturn 0x1F & ~(argc << 2);
}
""", """\
<table class="wide"><thead><tr><th>name</th><th>value</th></tr></thead>
  <tbody><tr><td><b>a</b> &amp; <i>b</i></td><td style="color:#ff00aa">3,14</td></tr></tbody>
</table><h1>Head</h1><ul><li>one</li><li>two</li></ul><a href="x.html?y=1&z=2">link</a>
""", "SELECT t.id, COUNT(*) FROM t LEFT JOIN u ON u.t = t.id WHERE t.x IS NOT NULL GROUP BY 1;\r\n-- end\r\n"

EMOJI = (
    "Good morning 🌞! 😀😃😄 🤷🏽‍♀️ 👩‍👩‍👧‍👦 🏴‍☠️ 🇱🇹🇪🇺🇯🇵 ❤️ ❤ ☺️ 1️⃣ #️⃣ 👍🏿👍🏻 🫠🫨🪿 ©️®™ ✈︎✈️", "🧑🏾‍🚀", "🎉" * 40,
)

SCRIPTS = (
    "Ελληνικά: η θάλασσα είναι ήρεμη σήμερα.", "Русский: завтра будет снег.", "עברית: שלום לכולם.",
    "العربية: السلام عليكم، كيف حالكم؟", "हिन्दी: आज मौसम अच्छा है।", "ไทย: วันนี้อากาศดี",
    "日本語:今日は天気がいいですね。カタカナとｶﾀｶﾅ", "中文:今天天气很好。繁體字", "한국어: 오늘은 날씨가 좋습니다.",
    "አማርኛ: ሰላም ለዓለም", "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", "བོད་ཡིག བཀྲ་ཤིས་བདེ་ལེགས", "ქართული და ՀԱՅԵՐԵՆ", "ᚠᚢᚦᚨᚱᚲ runes",
    "𐌰𐌱𐌲 Gothic, 𓀀𓂀 Egyptian, 𒀀𒁀 cuneiform, 𐀀𐀁 Linear B", "ꦲꦏ꧀ꦱꦫꦗꦮ ᬅᬓ᭄ᬱᬭ ᨒᨚᨈᨑ", "𝒜𝓫𝔠 𝟙𝟚𝟛 ﬁ ﬂ Ⅷ ½ ² ₂ ℃ №",
    "\U0010FFFD\uE000\uF8FF private use",
)

MARKS = (
    "café", "cafe\u0301", "A\u030Angstro\u0308m", "z\u0301\u0307\u0323\u0330algo",
    "soft\u00adhyphen zero\u200bwidth\u200cjoin\u200der\u2060", "\ufeffmark of byte order", "right\u200fto\u200eleft",
    "„lietuviškos“ “quotes” ‘single’ «guillemets» – — … ‥ ′ ″", "\x01\x02\x1b[31m\x7f\x80\x9f",
)

SPACES = (
    *(" " * count + "x" for count in range(1, 75)), *("x" + " " * count for count in (1, 2, 3, 30, 31, 32, 33, 62, 63, 64)),
    " ", "  ", "   ", "a b  c   d    e     f", "x\u00a0y\u2003z\u3000w\u202fv\u2009u", "word \n word", " \n \n  \n",
    "end of line \n    indented\n\tby tab",
)

LINES = (
    *("x" + "\n" * count + "y" for count in range(1, 70)), "\n", "\n\n", "x\n", "\r\n", "\r\r\n\n", "a\rb",
    "\u2028\u2029\u0085\v\f",
)

TABS = (*("\t" * count + "z" for count in range(1, 70)), "\t", " \t \t\t  \t", "a\tb\t\tc", "\t\n\t\n", "\n\t\t\n")

REPEATED = (
    "a" * 100, "ab" * 50, "aaa aaaa aaaaa", "1234567890" * 5, "3.14159 -2,5e-10 0x7fff 1/3 1:30 25%", "=" * 80, "-" * 77,
    "." * 33 + "x", "!?" * 20, "AAAAaaaa", "_" * 64, "hahahahaha", "nnnnnnno", "((((()))))", "\\\\\\\\", "//" * 21, "žžžžžž",
    "ąąąąą", "的的的的", "한한한",
)

# Markers of the tokenizer that are found in text by both (they are user-defined pieces), and what looks like them.
MARKERS = (
    "<start_of_turn>user\nHello<end_of_turn>\n", "<mask>", "[multimodal]", "<unused0><unused98> <unused99>",
    "<start_of_image>", "x<b>y</b>z", "<B><TABLE>", "< b >", "<0x0A>", "<0x41><0xFF>", "\u2581", "a\u2581b",
    "\u2581\u2581\u2581", " \u2581 ",
)

# Control pieces: transformers takes these spellings in text for the control tokens, SentencePiece (and so ewc-cpt) does not,
# so that a text cannot begin or end a document.
CONTROL = ("<bos>", "<eos>", "<pad>", "<unk>", "a <bos> b")

GROUPS = {
    "English": ENGLISH, "Lithuanian": LITHUANIAN, "code": CODE, "emoji": EMOJI, "scripts": SCRIPTS,
    "marks and controls": MARKS, "spaces": SPACES, "newlines": LINES, "tabs": TABS, "repetitions": REPEATED, "markers": MARKERS,
}

ALPHABETS = (
    "abcdefghij  ", "ABCxyz019 .,;:-_", "ąčęėįšųūž aeiou", " \n\t", "<>b/uli=\"'&", "абвгд αβγδ", "的一是在不了 日本",
    "😀🇱🇹\u200d🏽👩", "\u2581 ab",
)
RANGES = (
    (0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x1FFF), (0x2000, 0x2FFF), (0x3000, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x1FFFF),
)


def random_texts(count, seed):
    """Texts of random characters of mixed alphabets, of any characters, and of pieces of the texts above glued together."""
    rng = random.Random(seed)
    written = [text for group in (ENGLISH, LITHUANIAN, CODE, EMOJI, SCRIPTS) for text in group]

    def mixed():
        alphabet = "".join(rng.sample(ALPHABETS, rng.randint(1, 3)))
        return "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 60)))

    def anything():
        return "".join(chr(rng.randint(*rng.choice(RANGES))) for _ in range(rng.randint(1, 30)))

    def piece():
        text = rng.choice(written)
        start = rng.randrange(len(text))
        return text[start:start + rng.randint(1, 40)]

    def glued():
        return rng.choice(["", " ", "\n", "  ", "\t"]).join(piece() for _ in range(rng.randint(2, 5)))

    return [rng.choice([mixed, mixed, anything, glued])() for _ in range(count)]
