"""Fetching Debian packages into a private folder, without installing anything and without being root.

`apt-get download` verifies the archive's signatures and checksums; `dpkg -x` only unpacks. The package lists of the
machine are used when it has them; otherwise a private copy of the lists is made in the cache folder."""

import glob
import os
import re
import shutil
import subprocess
import sys


def run(command, directory):
    """Runs a command quietly; returns (succeeded, its output)."""
    environment = dict(os.environ, LC_ALL="C", DEBIAN_FRONTEND="noninteractive")
    done = subprocess.run(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    return done.returncode == 0, done.stdout


def private_lists(cache):
    """Options that make apt-get keep its lists under the cache folder, and one `update` into them."""
    state = os.path.join(cache, "apt")
    for folder in ("lists/partial", "archives/partial"):
        os.makedirs(os.path.join(state, folder), exist_ok=True)
    options = ["-o", f"Dir::State::Lists={state}/lists", "-o", f"Dir::Cache={state}", "-o", "APT::Sandbox::User=root"]
    succeeded, output = run(["apt-get", *options, "update"], state)
    if not succeeded:
        print("corpora: apt-get update into a private folder failed:\n" + output, file=sys.stderr)
    return options


class Packages:
    """Unpacked packages under cache/; each is downloaded once."""

    def __init__(self, cache):
        self.cache = os.path.abspath(cache)
        self.options = ["-o", "APT::Sandbox::User=root"]
        self.lists_made = False
        os.makedirs(self.cache, exist_ok=True)
        for tool in ("apt-get", "dpkg"):
            if not shutil.which(tool):
                sys.exit(f"corpora: {tool} is not here: the text comes from Debian packages, so Debian (or a derivative) is needed")

    def archives(self, name):
        return sorted(glob.glob(os.path.join(self.cache, glob.escape(name) + "_*.deb")))

    def download(self, name):
        """The .deb of a package, or None when it cannot be had."""
        if self.archives(name):
            return self.archives(name)[-1]
        succeeded, output = run(["apt-get", *self.options, "download", name], self.cache)
        if not succeeded and not self.lists_made:
            self.options += private_lists(self.cache)
            self.lists_made = True
            succeeded, output = run(["apt-get", *self.options, "download", name], self.cache)
        if not succeeded or not self.archives(name):
            print(f"corpora: package {name} could not be downloaded:\n{output}", file=sys.stderr)
            return None
        return self.archives(name)[-1]

    def unpack(self, name):
        """The folder that holds a package's files, or None."""
        folder = os.path.join(self.cache, name)
        if os.path.isdir(folder):
            return folder
        archive = self.download(name)
        if archive is None:
            return None
        partial = folder + ".partial"
        shutil.rmtree(partial, ignore_errors=True)
        succeeded, output = run(["dpkg", "-x", archive, partial], self.cache)
        if not succeeded:
            os.unlink(archive)
            print(f"corpora: {archive} could not be unpacked (removed; run again):\n{output}", file=sys.stderr)
            return None
        os.rename(partial, folder)
        return folder

    def version_and_size(self, name):
        archive = self.download(name)
        return os.path.basename(archive).split("_")[1].replace("%3a", ":"), os.path.getsize(archive)

    def source_options(self):
        """Options under which apt-get knows the source packages of the archives that this machine knows."""
        state = os.path.join(self.cache, "apt-source")
        for folder in ("lists/partial", "archives/partial", "sources"):
            os.makedirs(os.path.join(state, folder), exist_ok=True)
        for path in glob.glob("/etc/apt/sources.list") + glob.glob("/etc/apt/sources.list.d/*"):
            if path.endswith((".list", ".sources")):
                with open(path, encoding="utf-8") as file:
                    text = re.sub(r"^deb\s", "deb-src ", file.read(), flags=re.M)
                with open(os.path.join(state, "sources", os.path.basename(path)), "w", encoding="utf-8") as file:
                    file.write(re.sub(r"^Types:.*$", "Types: deb-src", text, flags=re.M))
        return ["-o", f"Dir::Etc::SourceList={state}/none", "-o", f"Dir::Etc::SourceParts={state}/sources",
                "-o", f"Dir::State::Lists={state}/lists", "-o", f"Dir::Cache={state}", "-o", "APT::Sandbox::User=root"]

    def source_file(self, name, ending):
        """The one file of a source package whose name ends so; the others are not downloaded. Ends the program without it."""
        pattern = os.path.join(self.cache, f"{glob.escape(name)}_*{glob.escape(ending)}")
        if glob.glob(pattern):
            return sorted(glob.glob(pattern))[-1]
        options = self.source_options()
        _, update = run(["apt-get", *options, "update"], self.cache)
        _, output = run(["apt-get", *options, "source", "--print-uris", "--download-only", name], self.cache)
        found = re.search(r"^'([^']+)' (\S+" + re.escape(ending) + r") \d+ (\S+)$", output, re.M)
        if not found:
            sys.exit(f"{update}{output}corpora: the file *{ending} of Debian's source package {name} was not found (above: "
                     "why). Does the machine name a Debian archive in /etc/apt, and is it reachable?")
        address, file, checksum = found.groups()
        path = os.path.join(self.cache, file)
        # apt-helper downloads with apt's settings and verifies the checksum of the signed list.
        succeeded, output = run(["/usr/lib/apt/apt-helper", "-o", "APT::Sandbox::User=root", "download-file", address,
                                 path + ".partial", checksum], self.cache)
        if not succeeded:
            sys.exit(f"{output}corpora: {file} could not be downloaded (above: why); run again when the archive can be reached")
        os.rename(path + ".partial", path)
        return path


def licences(folder, name):
    """Names of the licences in a package's copyright file, or where to read them."""
    path = os.path.join(folder, "usr/share/doc", name, "copyright")
    found = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("License:"):
                    licence = line[len("License:"):].strip()
                    if licence and licence not in found:
                        found.append(licence)
    except OSError:
        return "see the package's page"
    return ", ".join(found[:6]) + (", ..." if len(found) > 6 else "") if found else "see " + path
