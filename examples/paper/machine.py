"""What a run was made with: the machine in a few words, the library's version and the repository's commit."""

import os
import subprocess


def lines_with(path, key):
    try:
        with open(path, encoding="utf-8") as file:
            return [line.split(":", 1)[1].strip() for line in file if line.startswith(key)]
    except OSError:
        return []


def output(command, directory=None):
    try:
        done = subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def describe(cpt, root):
    """{"machine", "version", "commit"}: a commit with -dirty had uncommitted changes."""
    model = lines_with("/proc/cpuinfo", "model name")
    flags = set((lines_with("/proc/cpuinfo", "flags") or [""])[0].split())
    units = [name for name, flag in (("AVX2", "avx2"), ("AVX-512", "avx512f"), ("AMX", "amx_bf16")) if flag in flags]
    memory = lines_with("/proc/meminfo", "MemTotal")
    gigabytes = f", {int(memory[0].split()[0]) / 2**20:.0f} GiB" if memory else ""
    return {"machine": f"{model[0] if model else 'unknown processor'}, {len(os.sched_getaffinity(0))} threads, {' '.join(units)}{gigabytes}",
            "version": output([cpt, "--version"]), "commit": output(["git", "describe", "--always", "--tags", "--dirty"], root)}


def products(cpt):
    """bf16 where the processor multiplies in it and the build can, else f32."""
    flags = set((lines_with("/proc/cpuinfo", "flags") or [""])[0].split())
    if "amx_bf16" not in flags:
        return "f32"
    done = subprocess.run([cpt, "eval", "--products", "bf16", "--model", os.devnull, "--data", "x=" + os.devnull, "--length", "2"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return "f32" if "products" in done.stderr else "bf16"
