#!/usr/bin/env python3
"""Makes the golden files of the tokenizer, with code that shares nothing with src/corpus.

  python3 make.py [--gpt2 FOLDER]

FOLDER holds GPT-2's encoder.json and vocab.bpe. Needs the Python packages `regex` and, for
gpt2_ids.txt, `tiktoken` (0.14.0 was used). Writes beside itself:

  varied.txt         text in many scripts, with whatever may confuse a splitter
  invalid.bin        bytes that are not UTF-8, between text
  training.txt       a text to train a small vocabulary on
  merges.txt         the 323 merges trained on it: 580 tokens with 256 bytes and the end of text
  vocab.json         the ids of that vocabulary
  small_ids.txt      ids of varied.txt in that vocabulary
  invalid_ids.txt    ids of invalid.bin in that vocabulary
  gpt2_ids.txt       ids of varied.txt in GPT-2's vocabulary, by tiktoken
"""
import argparse
import collections
import json
import pathlib

import regex

HERE = pathlib.Path(__file__).resolve().parent
PATTERN = regex.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)
END_OF_TEXT = "<|endoftext|>"


def varied_text():
    parts = [
        "The lighthouse keeper counted eleven ships before breakfast, then wrote: \"All's well.\"\n",
        "I've said we'll go; they'd said she's late, I'm sure you're not, and it isn't MINE'S OR IT'LL.\n",
        "Don't DON'T don’t ‘quoted’ “double” 'tis 'twas o'clock rock'n'roll '' ''' 's 'sss 'reve\n",
        "one  two   three    four     five\ttab\t\ttabs \t mixed\t \t end   \n",
        "\n\n\n  leading spaces after blank lines\n \n  \n   \ntrailing spaces   \n",
        "Windows line\r\nends\r\n\r\nand an old Mac's\rreturn\r\r\n\n\r",
        "0 1 12 123 1234 12345 3.14159 -2.5e-10 1,000,000 0x1F 1st 2nd x86_64 v2.0.1 ½ ² ③ Ⅳ ٣٤٥ १२३ 五\n",
        "int main(int argc, char** argv) { return argc > 1 ? x->y[0] : a&&b || !c; } // 100%\n",
        "    if (i<=n) {\n        sum += w[i]*h[i];\n\t\t}\n#include <vector>\n",
        "https://example.org/path/to?query=a+b&c=%20#frag me@example.org C:\\dir\\file.txt\n",
        "<|endoftext|> and <|endoftext|><|endoftext|> are plain text here, <|not special|>\n",
        "Grüße aus Köln, ÄÖÜ äöü ß; Ça va, élève? Señor Ñandú, ¿qué tal? ¡Olé! Łódź, žluťoučký kůň\n",
        "Ελληνικά: η γρήγορη αλεπού. Русский: съешь ещё этих мягких булок. Українська: ґанок, їжак\n",
        "עברית: שלום עולם, שָׁלוֹם. العربية: مرحبا بالعالم، كيف الحال؟ فارسی: سلام‌ها\n",
        "हिन्दी: नमस्ते दुनिया। বাংলা: ওহে বিশ্ব। தமிழ்: வணக்கம் உலகம். ไทย: สวัสดีชาวโลก\n",
        "中文：你好，世界！今天天气很好。日本語：こんにちは、世界。カタカナ ﾊﾝｶｸ。한국어: 안녕하세요 세계.\n",
        "ქართული: გამარჯობა. Հայերեն: բարեւ. አማርኛ: ሰላም. ᏣᎳᎩ: ᎣᏏᏲ. Монгол: ᠮᠣᠩᠭᠣᠯ. ខ្មែរ: សួស្តី\n",
        "Combining: e\u0301 a\u0308 n\u0303o o\u0302\u0323 Z\u0351\u036b\u0343\u036a\u0302 q\u0307\u0323 "
        "precomposed: \u00e9 \u00e4 \u1ed9; ligatures \ufb01 \ufb02; \u212b \u2126\n",
        "Emoji: 😀😃 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇯🇵🇧🇷 ❤️ ☃ ✈️ 🤷🏻‍♀️ 1️⃣ #️⃣ ©️ ™ 🧑🏿‍🚀end\n",
        "Math: ∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β → γ, ∑ₙ 2⁻ⁿ ≤ 1, ∇·E = ρ/ε₀, 𝔸𝕓𝖈 𝟘𝟙𝟚, x² + y³ ≠ z⁴\n",
        "Spaces: a\u00a0b a\u2003b a\u2009b a\u200ab a\u202fb a\u205fb a\u3000b a\u1680b a\u0085b a\u2028b a\u2029b\n",
        "\u00a0\u00a0two nbsp, \u3000\u3000two wide, \u2003 \u2003mixed \u00a0 \u00a0 x\u3000\n\u3000y \u00a0\n",
        "No space: a\u200bb a\u200cb a\u200db a\u2060b a\ufeffb a\u180eb soft\u00adhyphen a\u034fb\n",
        "Controls: \x00\x01\x02\x1b[31mred\x1b[0m\x7f\x08bell\x07 a\x1cb a\x1db a\x1eb a\x1fb a\x0bb a\x0cb\x80\x9f\n",
        "Private \ue000\uf8ff, replacement \ufffd\ufffd, noncharacters \ufdd0 \ufffe \uffff \U0001ffff, last \U0010ffff\n",
        "Direction: \u202eabc\u202c \u2066def\u2069 \u200f\u05d0\u200e; tags \U000e0041\U000e007f; VS \u2603\ufe0e\n",
        "Punctuation runs: !!! ??? ... --- ___ *** ~~~ ((( ))) [[[ ]]] {{{ }}} <<< >>> $$$ %%% ^^^ &&& @@@\n",
        "———–––……·····•••★★★§§§¶¶¶ ¤¥€£₿ «guillemets» ‹single› „low“ ‚low‘ 「鉤」『二重』【墨】\n",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
        "abababababababababababababababababababababababababababababababababababababababababababababababababab\n",
        "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft pneumonoultramicro"
        "scopicsilicovolcanoconiosis SUPERCALIFRAGILISTICEXPIALIDOCIOUS camelCaseWordsRunTogetherLikeThis\n",
        "=" * 90 + "\n" + "-" * 33 + " " * 70 + "x" + " " * 65 + "\n" + "\n" * 70 + "\t" * 20 + "y\n",
        "| name | value | note |\n|:-----|------:|:----:|\n| alpha | 0.05 | *first* |\n| `beta` | 1e-3 | **2nd** |\n",
        "def mean(values):\n    \"\"\"Mean of the values, or None.\"\"\"\n    total = 0\n    for v in values:\n"
        "        total += v\n\n    return total / len(values) if values else None\n\n\n",
        "It was the third night of the storm, and the harbor had stopped pretending to be calm. Boats leaned on "
        "each other like tired horses; ropes sang. Somewhere a door kept opening and closing, though everyone "
        "swore they'd locked theirs. \"You'll want to see this,\" said the pilot, who hadn't spoken since Tuesday, "
        "and he pointed at the place where, until an hour ago, the breakwater (all 400 metres of it) had been.\n",
        "Wenn die Flut zurückgeht, bleibt der Schlick, und im Schlick bleiben die Spuren der Vögel. Où vont-elles, "
        "ces traces, quand l'eau revient ? Nadie lo sabe; dicen que el mar las lee. Никто не знает, но говорят, что "
        "море их читает. 誰も知らない。海がそれを読むという。没有人知道，据说是海在读它们。아무도 모른다.\n",
        "The end has spaces   \n\n   ",
    ]
    return "".join(parts)


def invalid_bytes():
    return b"".join([
        b"plain \xff\xfe text \x80\x80 alone, truncated \xe2\x82 here and \xf0\x9f\x98 there\n",
        b"overlong \xc0\xaf \xe0\x80\xaf \xf0\x80\x80\xaf, surrogates \xed\xa0\x80\xed\xb0\x80, ",
        b"too large \xf4\x90\x80\x80 \xf5\x80\x80\x80 \xf8\x88\x80\x80\x80\n",
        b"latin-1: caf\xe9 na\xefve  \xa0\xa0 \xe9t\xe9\n\nspaces before   \xff   and after\n",
        "mixed é\u00a0".encode() + b"\xc3" + "世界".encode() + b"\xe4\xb8" + "界".encode() + b"\xe4",
    ])


TRAINING = """\
The keeper of the small library at the edge of the harbor had a rule for the new readers: begin with
the shortest book on the shelf, and when it is finished, return it to the same place, with the spine
facing the sea. Nobody remembered who had made the rule, nor why the spine should face the sea, but the
readers kept it, and the keeper kept the readers. In the winter the windows were closed with boards, and
the lamps were lit at three in the afternoon; in the summer the doors stood open and the sand came in.

"It's the sand that reads the most," she said. "It has been through every chapter, and it doesn't skip."
There were 1,204 books, 36 maps, 9 globes and 1 cat. The cat, who wasn't listed in the catalog, slept on
the atlas of the northern islands, between pages 112 and 113, where the ink had worn to a pale gray. When
the inspector came, in 1987, he counted the books twice and the cat three times. He wrote: 1,204; 36; 9; 3.

    for each book in the library:
        if the book is read:
            put the book on the shelf
        otherwise:
            read the book, then put the book on the shelf

Die Bibliothek am Hafen hatte einen Garten, und im Garten stand ein Baum, und unter dem Baum stand eine
Bank. La bibliothèque avait aussi une fenêtre, et derrière la fenêtre était la mer. Библиотека была
открыта каждый день, кроме дня, когда море замерзало. 図書館は海のそばにあった。図書館の猫は眠っていた。

A list of what the readers borrowed in the first week of the year 2003, as the keeper wrote it down:
  - "The Weather of the Harbor", borrowed by the baker, returned with flour between the pages;
  - "A Short History of Rope", borrowed by the sailor's widow, returned with a drawing of a knot;
  - "Arithmetic for Everyone", borrowed by nobody, though somebody had corrected page 41 in pencil;
  - "Songs Without Words", borrowed by the teacher, who said that it wasn't what she had expected;
  - "The Northern Islands", borrowed by the cat, or so it's written, and returned the same evening.

Whether a book is long or short depends on the reader, the keeper explained, and whether a winter is long
or short depends on the book. There had been winters of two chapters and winters of forty. There had been
one winter without an ending, because the last pages had been lost, and the readers had written their own:
seventeen different endings, which were kept in a box under the stairs, and which were better than the book.
The harbor itself was quieter every year. The ships that had brought paper and ink and oranges now went to
the larger harbors in the south, and the water between the boats was smooth enough to show the stars. When
strangers asked for the way to the library, the answer was always the same: follow the wall until it ends,
then follow the sound of pages turning. "And if nobody is reading?" the strangers asked. "Then wait," was
the answer; "somebody is always about to start, and it's usually the person who is asking the question."

The end of the story is that the library is still there. The rule is still there. The keeper's daughter
keeps it now; she'll tell you the same thing, if you ask, and she'd rather you didn't ask. The sand reads on.
"""


def byte_characters():
    """GPT-2's table: one printable character per byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(printable))
    return table


def train(text, vocab_size):
    """The merges of `text`: most frequent pair first, the smaller ids among equals."""
    table = byte_characters()
    order = sorted(range(256), key=lambda byte: table[byte])
    tokens = [bytes([byte]) for byte in order]
    ids = {token: i for i, token in enumerate(tokens)}
    words = collections.Counter(m.group().encode() for m in PATTERN.finditer(text))
    rows = [([ids[bytes([b])] for b in word], count) for word, count in words.items()]
    merges = []
    while len(tokens) + 1 < vocab_size:
        pairs = collections.Counter()
        for row, count in rows:
            for pair in zip(row, row[1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < 2:
            break
        token = tokens[best[0]] + tokens[best[1]]
        if token not in ids:
            ids[token] = len(tokens)
            tokens.append(token)
        merges.append((tokens[best[0]], tokens[best[1]]))
        rows = [(replace(row, best, ids[token]), count) for row, count in rows]
    return tokens, merges


def replace(row, pair, token):
    out, i = [], 0
    while i < len(row):
        if tuple(row[i : i + 2]) == pair:
            out.append(token)
            i += 2
        else:
            out.append(row[i])
            i += 1
    return out


def encode_piece(piece, ids, ranks):
    """Merges the pair of lowest rank everywhere, until no pair has one."""
    parts = [bytes([b]) for b in piece]
    while len(parts) > 1:
        best = min(zip(parts, parts[1:]), key=lambda pair: ranks.get(pair, 1 << 60))
        if best not in ranks:
            break
        parts = replace(parts, best, best[0] + best[1])
    return [ids[part] for part in parts]


def pieces(data):
    """Pre-tokens of bytes: the pattern on what is UTF-8, runs of other bytes as they are."""
    bad = b""
    while data:
        try:
            good, rest = data.decode(), b""
        except UnicodeDecodeError as error:
            good, rest = data[: error.start].decode(), data[error.start :]
        if good:
            if bad:
                yield bad
            bad = b""
            for match in PATTERN.finditer(good):
                yield match.group().encode()
        bad, data = bad + rest[:1], rest[1:]
    if bad:
        yield bad


def write_ids(name, ids):
    lines = [" ".join(map(str, ids[i : i + 24])) for i in range(0, len(ids), 24)]
    (HERE / name).write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gpt2", type=pathlib.Path, help="folder of encoder.json and vocab.bpe")
    arguments = parser.parse_args()

    text, invalid = varied_text(), invalid_bytes()
    (HERE / "varied.txt").write_bytes(text.encode())
    (HERE / "invalid.bin").write_bytes(invalid)
    (HERE / "training.txt").write_bytes(TRAINING.encode())

    tokens, merges = train(TRAINING, 580)
    table = byte_characters()
    written = lambda token: "".join(table[b] for b in token)
    vocabulary = {written(token): i for i, token in enumerate(tokens)}
    vocabulary[END_OF_TEXT] = len(tokens)
    (HERE / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n")
    (HERE / "merges.txt").write_text(
        "#version: 0.2\n" + "".join(f"{written(a)} {written(b)}\n" for a, b in merges)
    )
    ids = {token: i for i, token in enumerate(tokens)}
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    small = lambda data: [i for piece in pieces(data) for i in encode_piece(piece, ids, ranks)]
    write_ids("small_ids.txt", small(text.encode()))
    write_ids("invalid_ids.txt", small(invalid))

    if arguments.gpt2:
        import tiktoken
        from tiktoken.load import data_gym_to_mergeable_bpe_ranks

        files = [str(arguments.gpt2 / name) for name in ("vocab.bpe", "encoder.json")]
        encoding = tiktoken.Encoding(
            "gpt2",
            pat_str=r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
            mergeable_ranks=data_gym_to_mergeable_bpe_ranks(*files),
            special_tokens={END_OF_TEXT: 50256},
        )
        gpt2 = encoding.encode_ordinary(text)
        assert encoding.decode(gpt2) == text
        write_ids("gpt2_ids.txt", gpt2)


if __name__ == "__main__":
    main()
