# Sourced: a Python with the pinned packages of requirements.txt, in a private virtual environment. EWC_PYTHON=/path/to/python,
# if it is set, is used instead. environment_scripts is the directory of this file.
# shellcheck shell=sh
environment_requirements=$environment_scripts/requirements.txt
environment_directory=${XDG_CACHE_HOME:-$HOME/.cache}/libewc/venv
environment_stamp=$environment_directory/requirements.installed

# Is such a Python there already?
environment_present() {
    [ -n "${EWC_PYTHON:-}" ] || cmp -s "$environment_requirements" "$environment_stamp"
}

# Installs the packages where they are missing and sets EWC_PYTHON.
environment_install() {
    if ! environment_present; then
        echo "Installing the packages of tests/transformers/requirements.txt into $environment_directory" \
            "(about 3 GB to download, 6 GB on disk)" >&2
        python3 -m venv "$environment_directory"
        "$environment_directory/bin/python" -m pip install --quiet --no-deps -r "$environment_requirements"
        cp "$environment_requirements" "$environment_stamp"
    fi
    EWC_PYTHON=${EWC_PYTHON:-$environment_directory/bin/python}
}

# Runs a program with it, which looks nothing up on the network.
environment_run() {
    HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 exec "$EWC_PYTHON" "$@"
}
