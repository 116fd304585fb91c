"""SOURCES.md: what the text is, whose it is and what was dropped of it."""

import os

HEADER = """# Sources of this text

Third-party text, fetched by package name; it is not part of libewc, and each source's licence applies to what is made of it.
A document is held out by the hash of its name. A line is dropped when its words were seen before, when four fifths of its
three-word runs were, and, if held out, when a training line of its language has half of its three-word runs or any of its
eight-word runs. Words are split at spaces; bytes are UTF-8.

| file | package and version | licence | documents | lines | words | bytes |
|---|---|---|---|---|---|---|
"""


def describe(origins):
    return ("; ".join(dict.fromkeys(f"{origin['package']} {origin['version']}".strip() for origin in origins)),
            "; ".join(dict.fromkeys(origin["licence"] for origin in origins)))


def write_page(path, records):
    """Writes the page aside and renames it; prints the sources and licences."""
    lines = [HEADER]
    print("Text of others (not part of this project; their licences apply):")
    for record in records:
        package, licence = describe(record["origin"])
        print(f"  {record['name']}: {package}: {licence}")
        for file, counts in record["counts"].items():
            numbers = " | ".join(str(counts.get(key, "")) for key in ("documents", "lines", "words", "bytes"))
            lines.append(f"| {file} | {package} | {licence} | {numbers} |\n")
    lines.append("\n## What was dropped, in lines\n\n| source | why | lines |\n|---|---|---|\n")
    for record in records:
        lines.extend(f"| {record['name']} | {why} | {count} |\n" for why, count in sorted(record["dropped"].items()) if count)
    with open(path + ".partial", "w", encoding="utf-8") as file:
        file.writelines(lines)
    os.replace(path + ".partial", path)
